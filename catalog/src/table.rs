//! Definitions: databases, schemas, and relations with their columns and keys.

use serde::{Deserialize, Serialize};

use crate::builtin::VirtualId;
use crate::types::PgType;

/// An object id as in pg_class.oid; from 16384 for what users create, PostgreSQL's own for builtins.
pub type Oid = u32;

/// The first OID given to user objects.
pub const FIRST_USER_OID: Oid = 16384;

/// Where a table's rows are in storage: the `table_id` of a key. A rewrite (ADD PRIMARY KEY, TRUNCATE, ALTER TYPE)
/// gives a table a fresh one.
pub type StorageId = u32;

/// A database (pg_database).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DatabaseDefinition {
    pub oid: Oid,
    pub name: String,
    pub owner: String,
}

/// A schema, KalamDB's namespace (pg_namespace).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SchemaDefinition {
    pub oid: Oid,
    pub database: Oid,
    pub name: String,
    pub owner: String,
    /// Microseconds since 1970.
    pub created_at: i64,
}

/// What a relation is. Its name in upper case is `system.tables.table_type`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum TableKind {
    /// An ordinary table.
    Shared,
    /// A table of schema `system`: stored as a shared table, read-only to DML.
    System,
    /// A view; `sql` is its SELECT with every relation schema-qualified.
    View { sql: String, depends_on: Vec<Dependency> },
    /// A builtin whose rows the engine makes when asked. Never stored.
    Virtual(VirtualId),
}

/// What a view reads: a relation, by OID and by name (the name serves the error once the relation is gone).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Dependency {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// Attribute numbers of the columns it uses.
    pub columns: Vec<i16>,
}

impl TableKind {
    /// `system.tables.table_type`
    pub fn name(&self) -> &'static str {
        match self {
            TableKind::Shared => "SHARED",
            TableKind::System => "SYSTEM",
            TableKind::View { .. } => "VIEW",
            TableKind::Virtual(_) => "VIRTUAL",
        }
    }
}

/// A column (pg_attribute). Dropped columns stay in place, so that attribute numbers and stored rows keep their meaning.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ColumnDefinition {
    pub name: String,
    pub ty: PgType,
    pub typmod: i32,
    pub not_null: bool,
    /// DEFAULT expression as SQL text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// OID of the pg_attrdef row, 0 without a default.
    #[serde(default)]
    pub default_oid: Oid,
    #[serde(default)]
    pub dropped: bool,
    /// The value, in text form, of this column in rows stored before it was added (pg_attribute.attmissingval).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// The schema version from which stored rows have this column.
    #[serde(default)]
    pub since_version: u16,
}

/// PRIMARY KEY: a unique constraint and its index under one name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PrimaryKey {
    /// OID of the pg_constraint row.
    pub constraint_oid: Oid,
    /// OID of the pg_class row of its index.
    pub index_oid: Oid,
    pub name: String,
    /// Positions in `columns` (attribute number - 1), in key order.
    pub columns: Vec<usize>,
}

/// A relation: table or view.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TableDefinition {
    pub oid: Oid,
    /// pg_type row type and its array.
    pub row_type_oid: Oid,
    pub schema: Oid,
    pub name: String,
    pub owner: String,
    pub kind: TableKind,
    /// 0 for views.
    pub storage: StorageId,
    /// Grows with every change of the stored form of rows; a stored row carries the one it was written with.
    pub schema_version: u16,
    /// All columns, dropped ones too; attribute number = position + 1.
    pub columns: Vec<ColumnDefinition>,
    pub primary_key: Option<PrimaryKey>,
    /// WITH (fillfactor = 100): kept and shown in reloptions.
    pub options: Vec<(String, String)>,
    /// Microseconds since 1970.
    pub created_at: i64,
}

impl TableDefinition {
    /// The columns that exist, with their positions.
    pub fn live_columns(&self) -> impl Iterator<Item = (usize, &ColumnDefinition)> {
        self.columns.iter().enumerate().filter(|(_, c)| !c.dropped)
    }

    /// Position of a column that exists.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| !c.dropped && c.name == name)
    }

    pub fn is_view(&self) -> bool {
        matches!(self.kind, TableKind::View { .. })
    }

    /// True for what is not the users' to change, be it stored or virtual.
    pub fn is_system(&self) -> bool {
        matches!(self.kind, TableKind::System | TableKind::Virtual(_)) || self.oid < FIRST_USER_OID
    }
}
