//! A relation's definition with what is derived from it, built once.

use std::sync::{Arc, OnceLock};

use arrow_schema::{Field, Schema, SchemaRef};

use crate::table::{Oid, TableDefinition, TableKind};

/// Immutable; ALTER makes a new one. The Arrow schema is made at first use and lives as long as the entry.
#[derive(Debug)]
pub struct CachedTableData {
    pub definition: TableDefinition,
    arrow: OnceLock<SchemaRef>,
}

impl CachedTableData {
    pub fn new(definition: TableDefinition) -> Self {
        CachedTableData { definition, arrow: OnceLock::new() }
    }

    /// One field per live column, in order. All fields are nullable: NOT NULL is the constraint's business, and an
    /// outer join would need it undone.
    pub fn arrow_schema(&self) -> &SchemaRef {
        self.arrow.get_or_init(|| {
            let fields: Vec<Field> =
                self.definition.live_columns().map(|(_, c)| Field::new(&c.name, c.ty.arrow(), true)).collect();
            Arc::new(Schema::new(fields))
        })
    }

    /// True for a view that reads relation `oid`.
    pub fn reads(&self, oid: Oid) -> bool {
        match &self.definition.kind {
            TableKind::View { depends_on, .. } => depends_on.iter().any(|d| d.oid == oid),
            _ => false,
        }
    }

    /// The highest OID this definition holds.
    pub fn max_oid(&self) -> Oid {
        let d = &self.definition;
        let key = d.primary_key.as_ref().map_or(0, |k| k.constraint_oid.max(k.index_oid));
        let indexes = d.indexes.iter().map(|i| i.oid).max().unwrap_or(0);
        let key = key.max(indexes).max(d.constraints.iter().map(|c| c.oid).max().unwrap_or(0));
        let defaults = d.columns.iter().map(|c| c.default_oid).max().unwrap_or(0);
        // The array type of the row type is the next OID.
        d.oid.max(d.row_type_oid + 1).max(key).max(defaults)
    }
}
