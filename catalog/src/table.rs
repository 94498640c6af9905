//! Definitions: databases, schemas, and relations with their columns and keys.

use serde::{Deserialize, Serialize};

use crate::builtin::VirtualId;
use crate::constraint::{Constraint, ConstraintKind};
use crate::index::IndexDefinition;
use crate::sequence::SequenceDefinition;
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
    /// A sequence; its storage id names its state.
    Sequence(SequenceDefinition),
    /// A builtin whose rows the engine makes when asked. Never stored.
    Virtual(VirtualId),
}

/// How long a table's rows live.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum Persistence {
    #[default]
    Permanent,
    /// A hint: kept like any other.
    Unlogged,
    /// Of one session.
    Temporary(OnCommit),
}

/// What becomes of a temporary table when a transaction commits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OnCommit {
    PreserveRows,
    DeleteRows,
    Drop,
}

impl Persistence {
    /// pg_class.relpersistence
    pub fn letter(self) -> char {
        match self {
            Persistence::Permanent => 'p',
            Persistence::Unlogged => 'u',
            Persistence::Temporary(_) => 't',
        }
    }

    pub fn is_temporary(self) -> bool {
        matches!(self, Persistence::Temporary(_))
    }
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
            TableKind::Sequence(_) => "SEQUENCE",
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
    /// DEFAULT expression as SQL text, or that of a generated column. A sequence in it is named by its OID:
    /// `nextval('16390'::regclass)`.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
}

/// GENERATED ... AS
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Generated {
    /// AS IDENTITY, from the sequence that the default names: only it may give values, unless INSERT says OVERRIDING.
    Always,
    /// AS IDENTITY
    ByDefault,
    /// AS (expression) STORED
    Stored,
}

impl ColumnDefinition {
    /// A nullable column without a default.
    pub fn new(name: String, ty: PgType, typmod: i32) -> ColumnDefinition {
        ColumnDefinition {
            name,
            ty,
            typmod,
            not_null: false,
            default: None,
            default_oid: 0,
            dropped: false,
            missing: None,
            since_version: 0,
            generated: None,
        }
    }

    pub fn is_stored(&self) -> bool {
        self.generated == Some(Generated::Stored)
    }

    pub fn is_identity(&self) -> bool {
        matches!(self.generated, Some(Generated::Always | Generated::ByDefault))
    }
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
    #[serde(default)]
    pub persistence: Persistence,
    /// Grows with every change of the stored form of rows; a stored row carries the one it was written with.
    pub schema_version: u16,
    /// All columns, dropped ones too; attribute number = position + 1.
    pub columns: Vec<ColumnDefinition>,
    /// What rows are stored by. A DEFERRABLE primary key is among the constraints, with an index of its own.
    pub primary_key: Option<PrimaryKey>,
    /// Besides the primary key, in the order they were made.
    #[serde(default)]
    pub indexes: Vec<IndexDefinition>,
    /// Besides the primary key and NOT NULL, in the order they were made.
    #[serde(default)]
    pub constraints: Vec<Constraint>,
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

    /// Every storage that is the relation's.
    pub fn storages(&self) -> impl Iterator<Item = StorageId> + '_ {
        let own = (self.storage != 0).then_some(self.storage);
        own.into_iter().chain(self.indexes.iter().map(|i| i.storage))
    }

    /// The primary key and the other indexes.
    pub fn all_indexes(&self) -> Vec<IndexDefinition> {
        self.primary_key.iter().map(PrimaryKey::as_index).chain(self.indexes.iter().cloned()).collect()
    }

    /// The primary key and the other constraints.
    pub fn all_constraints(&self) -> Vec<Constraint> {
        self.primary_key.iter().map(PrimaryKey::as_constraint).chain(self.constraints.iter().cloned()).collect()
    }

    /// True if it has a primary key: the one that rows are stored by, or a DEFERRABLE one, which is an index.
    pub fn has_key(&self) -> bool {
        self.key_columns().is_some()
    }

    /// The columns of its primary key, of either sort.
    pub fn key_columns(&self) -> Option<Vec<usize>> {
        self.all_constraints().into_iter().find_map(|c| match c.kind {
            ConstraintKind::Primary(_, columns) => Some(columns),
            ConstraintKind::Unique(_) | ConstraintKind::Check(..) | ConstraintKind::Foreign(_) => None,
        })
    }

    /// The index with this OID, the primary key's too.
    pub fn index(&self, oid: Oid) -> Option<IndexDefinition> {
        match &self.primary_key {
            Some(key) if key.index_oid == oid => Some(key.as_index()),
            _ => self.indexes.iter().find(|i| i.oid == oid).cloned(),
        }
    }

    /// True for the index of the primary key.
    pub fn is_primary(&self, index: Oid) -> bool {
        self.constraint_of_index(index).is_some_and(|c| matches!(c.kind, ConstraintKind::Primary(..)))
    }

    /// The constraint with this OID, the primary key too.
    pub fn constraint(&self, oid: Oid) -> Option<Constraint> {
        match &self.primary_key {
            Some(key) if key.constraint_oid == oid => Some(key.as_constraint()),
            _ => self.constraints.iter().find(|c| c.oid == oid).cloned(),
        }
    }

    /// The constraint that an index keeps.
    pub fn constraint_of_index(&self, index: Oid) -> Option<Constraint> {
        self.all_constraints().into_iter().find(|c| match &c.kind {
            ConstraintKind::Primary(own, _) | ConstraintKind::Unique(own) => *own == index,
            ConstraintKind::Check(..) | ConstraintKind::Foreign(_) => false,
        })
    }

    pub fn sequence(&self) -> Option<&SequenceDefinition> {
        match &self.kind {
            TableKind::Sequence(sequence) => Some(sequence),
            _ => None,
        }
    }

    pub fn is_view(&self) -> bool {
        matches!(self.kind, TableKind::View { .. })
    }

    /// True for what is not the users' to change, be it stored or virtual.
    pub fn is_system(&self) -> bool {
        matches!(self.kind, TableKind::System | TableKind::Virtual(_)) || self.oid < FIRST_USER_OID
    }
}
