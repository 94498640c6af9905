//! The catalog as one immutable value, and the changes that lead from one to the next.
//!
//! A statement works on an `Arc<Catalog>`: consistent, lock-free, as old as the statement's start. DDL clones the value
//! (definitions are shared, so a clone copies pointers), applies a [`CatalogChange`], and hands both to the transaction;
//! commit applies the same change to the newest committed catalog and stores it in the registry.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::builtin::system::RESERVED_STORAGE;
use crate::cached::CachedTableData;
use crate::table::{DatabaseDefinition, FIRST_USER_OID, Oid, SchemaDefinition, StorageId, TableDefinition};

/// Schema OIDs that are the same in every database.
pub const PG_CATALOG_OID: Oid = 11;
pub const PUBLIC_OID: Oid = 2200;
pub const INFORMATION_SCHEMA_OID: Oid = 13000;
pub const SYSTEM_OID: Oid = 13001;
/// OID of the database that always exists, PostgreSQL's own for it.
pub const DEFAULT_DATABASE_OID: Oid = 5;
pub const DEFAULT_DATABASE: &str = "postgres";

/// One step of DDL. Whole definitions, not deltas: applying one cannot fail.
// Few at a time, and mostly of the large kind.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum CatalogChange {
    PutDatabase(DatabaseDefinition),
    DropDatabase(Oid),
    PutSchema(SchemaDefinition),
    DropSchema(Oid),
    /// Creates or replaces a relation.
    PutTable(TableDefinition),
    DropTable(Oid),
}

/// All definitions at one moment.
#[derive(Clone, Default, Debug)]
pub struct Catalog {
    /// Grows by one with every committed change; a plan made for one version is good only for it.
    pub version: u64,
    databases: BTreeMap<Oid, Arc<DatabaseDefinition>>,
    schemas: BTreeMap<Oid, Arc<SchemaDefinition>>,
    tables: HashMap<Oid, Arc<CachedTableData>>,
    /// (schema, name) to relation
    names: HashMap<(Oid, String), Oid>,
    /// (schema, index name) to the index's relation
    index_names: HashMap<(Oid, String), Oid>,
    /// Table to those with foreign keys to it
    referenced: HashMap<Oid, Vec<Oid>>,
    /// What a relation has under OIDs of its own (row type and its array, index, constraint) to the relation
    owned: HashMap<Oid, Oid>,
}

impl Catalog {
    /// Applies one change and moves `version` on.
    pub fn apply(&mut self, change: &CatalogChange) {
        self.version += 1;
        match change {
            CatalogChange::PutDatabase(d) => {
                self.databases.insert(d.oid, Arc::new(d.clone()));
            }
            CatalogChange::DropDatabase(oid) => {
                self.databases.remove(oid);
            }
            CatalogChange::PutSchema(s) => {
                self.schemas.insert(s.oid, Arc::new(s.clone()));
            }
            CatalogChange::DropSchema(oid) => {
                self.schemas.remove(oid);
            }
            CatalogChange::PutTable(t) => {
                self.remove_table(t.oid);
                self.names.insert((t.schema, t.name.clone()), t.oid);
                for name in index_names(t) {
                    self.index_names.insert((t.schema, name.to_owned()), t.oid);
                }
                for target in targets(t) {
                    let referencing = self.referenced.entry(target).or_default();
                    if !referencing.contains(&t.oid) {
                        referencing.push(t.oid);
                    }
                }
                self.owned.extend(owned_oids(t).map(|oid| (oid, t.oid)));
                self.tables.insert(t.oid, Arc::new(CachedTableData::new(t.clone())));
            }
            CatalogChange::DropTable(oid) => self.remove_table(*oid),
        }
    }

    fn remove_table(&mut self, oid: Oid) {
        if let Some(old) = self.tables.remove(&oid) {
            let t = &old.definition;
            self.names.remove(&(t.schema, t.name.clone()));
            for name in index_names(t) {
                self.index_names.remove(&(t.schema, name.to_owned()));
            }
            for target in targets(t) {
                if let Some(referencing) = self.referenced.get_mut(&target) {
                    referencing.retain(|r| *r != oid);
                }
            }
            for oid in owned_oids(t) {
                self.owned.remove(&oid);
            }
        }
    }

    pub fn database(&self, oid: Oid) -> Option<&Arc<DatabaseDefinition>> {
        self.databases.get(&oid)
    }

    pub fn database_by_name(&self, name: &str) -> Option<&Arc<DatabaseDefinition>> {
        self.databases.values().find(|d| d.name == name)
    }

    pub fn databases(&self) -> impl Iterator<Item = &Arc<DatabaseDefinition>> {
        self.databases.values()
    }

    pub fn schema(&self, oid: Oid) -> Option<&Arc<SchemaDefinition>> {
        self.schemas.get(&oid)
    }

    /// A schema of a database; builtin schemas (`database` 0) are in every one.
    pub fn schema_by_name(&self, database: Oid, name: &str) -> Option<&Arc<SchemaDefinition>> {
        self.schemas.values().find(|s| s.name == name && (s.database == database || s.database == 0))
    }

    pub fn schemas(&self, database: Oid) -> impl Iterator<Item = &Arc<SchemaDefinition>> {
        self.schemas.values().filter(move |s| s.database == database || s.database == 0)
    }

    pub fn table(&self, oid: Oid) -> Option<&Arc<CachedTableData>> {
        self.tables.get(&oid)
    }

    pub fn table_by_name(&self, schema: Oid, name: &str) -> Option<&Arc<CachedTableData>> {
        // A lookup by (Oid, &str) without an owned key would need hashbrown's Equivalent.
        self.names.get(&(schema, name.to_owned())).and_then(|oid| self.tables.get(oid))
    }

    /// The relation with the index of this name. Indexes share the relations' names: CREATE checks both.
    pub fn index_by_name(&self, schema: Oid, name: &str) -> Option<&Arc<CachedTableData>> {
        self.index_names.get(&(schema, name.to_owned())).and_then(|oid| self.tables.get(oid))
    }

    /// The relation that the row type, array of it, index or constraint with this OID belongs to.
    pub fn owner_of(&self, oid: Oid) -> Option<&Arc<CachedTableData>> {
        self.owned.get(&oid).and_then(|owner| self.tables.get(owner))
    }

    /// The relation with the index of this OID.
    pub fn table_of_index(&self, oid: Oid) -> Option<&Arc<CachedTableData>> {
        self.owner_of(oid).filter(|t| t.definition.index(oid).is_some())
    }

    /// The relation with the constraint of this OID.
    pub fn table_of_constraint(&self, oid: Oid) -> Option<&Arc<CachedTableData>> {
        self.owner_of(oid).filter(|t| t.definition.constraint(oid).is_some())
    }

    /// The tables with foreign keys to a table, itself if it has one.
    pub fn referencing(&self, oid: Oid) -> impl Iterator<Item = &Arc<CachedTableData>> {
        self.referenced.get(&oid).into_iter().flatten().filter_map(|oid| self.tables.get(oid))
    }

    /// The sequences that go with a table's columns.
    pub fn owned_sequences(&self, table: Oid) -> impl Iterator<Item = &Arc<CachedTableData>> {
        self.tables
            .values()
            .filter(move |t| t.definition.sequence().and_then(|s| s.owner).is_some_and(|owner| owner.table == table))
    }

    /// Every relation, in no order.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<CachedTableData>> {
        self.tables.values()
    }

    /// The views that read relation `oid`.
    pub fn dependents(&self, oid: Oid) -> Vec<Arc<CachedTableData>> {
        let mut found: Vec<_> = self.tables.values().filter(|t| t.reads(oid)).cloned().collect();
        found.sort_by_key(|t| t.definition.oid);
        found
    }

    /// The highest OID in use, for the OID counter at start.
    pub fn max_oid(&self) -> Oid {
        let tables = self.tables.values().map(|t| t.max_oid());
        let schemas = self.schemas.keys().copied();
        let databases = self.databases.keys().copied();
        tables.chain(schemas).chain(databases).max().unwrap_or(0).max(FIRST_USER_OID - 1)
    }

    /// The highest storage id in use or reserved.
    pub fn max_storage(&self) -> StorageId {
        self.tables.values().flat_map(|t| t.definition.storages()).max().unwrap_or(0).max(RESERVED_STORAGE)
    }
}

/// The names of a table's indexes.
fn index_names(t: &TableDefinition) -> impl Iterator<Item = &str> {
    t.primary_key.iter().map(|k| k.name.as_str()).chain(t.indexes.iter().map(|i| i.name.as_str()))
}

/// The tables that a table's foreign keys refer to.
fn targets(t: &TableDefinition) -> impl Iterator<Item = Oid> {
    t.constraints.iter().filter_map(|c| c.foreign_key()).map(|key| key.target)
}

/// OIDs besides its own that a relation takes. Builtin row types have no array.
fn owned_oids(t: &TableDefinition) -> impl Iterator<Item = Oid> {
    let array = (t.oid >= FIRST_USER_OID).then_some(t.row_type_oid + 1);
    let key = t.primary_key.as_ref().map(|k| [k.index_oid, k.constraint_oid]);
    let others = t.indexes.iter().map(|i| i.oid).chain(t.constraints.iter().map(|c| c.oid));
    [t.row_type_oid].into_iter().chain(array).chain(key.into_iter().flatten()).chain(others)
}
