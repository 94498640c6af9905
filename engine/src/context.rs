//! [`AppContext`]: everything there is one of, built once in dependency order.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kalamdb_catalog::{Catalog, Oid, Result, SchemaRegistry, SqlError, SqlState, StorageId, upgrade};

use crate::clock;
use crate::limits;
use crate::live::{LiveQueries, LiveQueryManager};
use crate::providers::ColumnCache;
use crate::settings::Settings;
use crate::sql::handlers::temporary::SCHEMA_PREFIX as TEMPORARY_PREFIX;
use crate::sql::plan::Engine;
use crate::storage::{Batch, Storage, StorageOptions, catalog_store};
use crate::txn::{ChangeLogOptions, TxnManager, TxnOptions};

/// Plain fields; what it owns gets narrow handles of each other, never the context.
pub struct AppContext {
    pub node_id: String,
    pub settings: Settings,
    pub registry: Arc<SchemaRegistry>,
    pub storage: Arc<Storage>,
    pub txns: Arc<TxnManager>,
    pub engine: Arc<Engine>,
    pub live: Arc<LiveQueryManager>,
    pub queries: Arc<LiveQueries>,
    /// Microseconds since 1970.
    pub started_at: i64,
    next_oid: AtomicU32,
    next_storage: AtomicU32,
}

/// Storage ids below are the system tables'.
const FIRST_USER_STORAGE: StorageId = 16;

const META_CATALOG_VERSION: &str = "system:schema_version";

impl AppContext {
    /// Opens a data directory: makes a fresh one, refuses one of another version or in use, drops what a crash left.
    pub fn open(settings: Settings) -> Result<Arc<AppContext>> {
        let options = StorageOptions {
            block_cache_bytes: settings.block_cache_bytes,
            write_buffer_bytes: settings.write_buffer_bytes,
            ..StorageOptions::default()
        };
        let storage = Arc::new(Storage::open(&settings.data_dir, options)?);
        check_catalog_version(&storage)?;
        let catalog = catalog_store::load(&storage)?;
        let catalog = catalog_store::without_temporary(&storage, catalog, TEMPORARY_PREFIX)?;
        let next_oid = AtomicU32::new(catalog.max_oid() + 1);
        let next_storage = AtomicU32::new((catalog.max_storage() + 1).max(FIRST_USER_STORAGE));
        let registry = Arc::new(SchemaRegistry::new(catalog.clone()));
        let txn_options = TxnOptions {
            max_transaction_bytes: limits::TRANSACTION_BYTES_MAX,
            change_log: ChangeLogOptions {
                max_bytes: settings.change_log_bytes_max,
                max_age: settings.change_log_age_max,
            },
            ..TxnOptions::default()
        };
        let live = LiveQueryManager::open(settings.data_dir.join("notify"), settings.notify_queue_bytes_max)?;
        let txns = TxnManager::open(Arc::clone(&storage), Arc::clone(&registry), Arc::clone(&live), txn_options)?;
        let referenced: HashSet<StorageId> = catalog.tables().flat_map(|t| t.definition.storages()).collect();
        storage.drop_unreferenced(&referenced)?;
        let columns = Arc::new(ColumnCache::new(settings.column_cache_bytes));
        let engine = Arc::new(Engine::new(settings.query_memory_bytes, &settings.data_dir.join("spill"), columns)?);
        let queries =
            Arc::new(LiveQueries::open(Arc::clone(&live), Arc::clone(&txns), Arc::clone(&engine), settings.live)?);
        Ok(Arc::new(AppContext {
            node_id: settings.node_id.clone(),
            settings,
            registry,
            storage,
            txns,
            engine,
            live,
            queries,
            started_at: clock::now_micros(),
            next_oid,
            next_storage,
        }))
    }

    /// Stops the background threads and flushes. Statements that still run fail with 57P01.
    pub fn close(&self) {
        self.queries.close();
        self.engine.close();
        self.txns.close();
    }

    /// `count` consecutive OIDs never given before.
    pub fn take_oids(&self, count: u32) -> Oid {
        self.next_oid.fetch_add(count, Ordering::Relaxed)
    }

    /// A storage id never given before.
    pub fn take_storage(&self) -> StorageId {
        self.next_storage.fetch_add(1, Ordering::Relaxed)
    }
}

fn check_catalog_version(storage: &Storage) -> Result<()> {
    match storage.meta_get(META_CATALOG_VERSION)? {
        Some(stored) => {
            let stored = std::str::from_utf8(&stored).ok().and_then(|s| s.parse().ok()).ok_or_else(|| {
                SqlError::new(SqlState::DATA_CORRUPTED, "invalid system:schema_version in the data directory")
            })?;
            upgrade::check(stored)
        }
        None => {
            let mut batch = Batch::default();
            batch.put_meta(storage, META_CATALOG_VERSION, upgrade::CATALOG_VERSION.to_string().as_bytes());
            catalog_store::initialize(storage, &mut batch, &initial(clock::now_micros()))?;
            storage.write(batch, true)
        }
    }
}

fn initial(now: i64) -> (Catalog, Vec<kalamdb_catalog::CatalogChange>) {
    (kalamdb_catalog::bootstrap(), kalamdb_catalog::initial_changes(now))
}
