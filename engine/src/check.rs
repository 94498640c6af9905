//! `kalamdb-server admin check`: reads a data directory from end to end and tells what does not fit together.
//!
//! Every row of every table is decoded and held against its constraints; every index has just the entries that its table's rows
//! have, and none else; every foreign key finds its row.

use std::sync::Arc;

use kalamdb_catalog::{CachedTableData, Catalog, Result, TableKind};

use crate::context::AppContext;
use crate::session::{Session, StartupParameters};
use crate::sql::handlers::foreign::referred_to;
use crate::sql::handlers::target::Target;
use crate::sql::index_entries::RowValues;
use crate::storage::keys;
use crate::txn::TxnReader;

/// What a check has come to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CheckReport {
    pub tables: usize,
    pub rows: u64,
    pub entries: u64,
    /// One line each; no more than [`FAULTS_MAX`].
    pub faults: Vec<String>,
}

/// Faults that are told; a directory with more is not better for a longer list.
pub const FAULTS_MAX: usize = 100;

/// Checks all databases. `progress` is told of each table before its turn.
pub fn check(app: &Arc<AppContext>, progress: &mut dyn FnMut(&str)) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    let catalog = app.registry.current();
    for database in catalog.databases() {
        let startup = StartupParameters {
            user: database.owner.clone(),
            database: database.name.clone(),
            settings: Vec::new(),
            pid: 0,
            client_address: None,
            peers: None,
        };
        let session = Session::open(Arc::clone(app), startup)?;
        for (schema, table) in tables(&catalog, database.oid) {
            let name = format!("{}.{schema}.{}", database.name, table.definition.name);
            progress(&name);
            let mut check = Check { session: &session, name, report: &mut report };
            if let Err(error) = check.table(app, &table) {
                check.fault(error.message().to_owned());
            }
        }
    }
    Ok(report)
}

/// The tables of a database with the names of their schemas, by name.
fn tables(catalog: &Catalog, database: u32) -> Vec<(String, Arc<CachedTableData>)> {
    let mut found: Vec<(String, Arc<CachedTableData>)> = catalog
        .tables()
        .filter(|t| matches!(t.definition.kind, TableKind::Shared))
        .filter_map(|t| {
            let schema = catalog.schema(t.definition.schema).filter(|s| s.database == database)?;
            Some((schema.name.clone(), Arc::clone(t)))
        })
        .collect();
    found.sort_by(|a, b| (&a.0, &a.1.definition.name).cmp(&(&b.0, &b.1.definition.name)));
    found
}

struct Check<'a> {
    session: &'a Session,
    name: String,
    report: &'a mut CheckReport,
}

impl Check<'_> {
    fn fault(&mut self, what: String) {
        if self.report.faults.len() < FAULTS_MAX {
            self.report.faults.push(format!("{}: {what}", self.name));
        }
    }

    fn table(&mut self, app: &Arc<AppContext>, table: &Arc<CachedTableData>) -> Result<()> {
        self.report.tables += 1;
        let target = Target::new(self.session, table)?;
        let reader = app.txns.begin().reader();
        let mut expected = vec![0u64; target.indexes.len()];
        let (start, end) = keys::storage_range(table.definition.storage);
        let mut rows = reader.scan(start, end, false);
        while let Some(found) = rows.next()? {
            self.report.rows += 1;
            match target.layout().decode(found.row) {
                Ok(values) => {
                    let key = found.key.to_vec();
                    self.row(&reader, &target, &RowValues::Values(&values), &key, &mut expected)?;
                }
                Err(error) => self.fault(format!("row {}: {}", hex(found.key), error.message())),
            }
        }
        drop(rows);
        for (index, expected) in target.indexes.iter().zip(expected) {
            let (start, end) = keys::storage_range(index.definition.storage);
            let mut entries = reader.scan(start, end, false);
            let mut found = 0u64;
            while entries.next()?.is_some() {
                found += 1;
            }
            self.report.entries += found;
            if found != expected {
                let name = &index.definition.name;
                self.fault(format!("index \"{name}\" has {found} entries, the rows have {expected}"));
            }
        }
        Ok(())
    }

    fn row(
        &mut self,
        reader: &TxnReader,
        target: &Target,
        row: &RowValues<'_>,
        key: &[u8],
        expected: &mut [u64],
    ) -> Result<()> {
        if let Err(error) = target.check_stored(row) {
            self.fault(error.message().to_owned());
        }
        if !target.key_columns().is_empty() && target.key_of(row, 0) != key {
            self.fault(format!("row {} is stored under another row's key", hex(key)));
        }
        for (index, count) in target.indexes.iter().zip(expected) {
            let Some(entry) = index.entry(row, key)? else { continue };
            *count += 1;
            match reader.get(&entry.key)? {
                Some(value) if value == entry.value => {}
                Some(_) => {
                    self.fault(format!("index \"{}\" leads to another row than {}", index.definition.name, hex(key)))
                }
                None => self.fault(format!("index \"{}\" has no entry for row {}", index.definition.name, hex(key))),
            }
        }
        for reference in &target.references {
            if !referred_to(reader, target, reference, row)? {
                self.fault(format!("row {} breaks foreign key \"{}\"", hex(key), reference.name));
            }
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
