//! Secondary indexes of a table.

use serde::{Deserialize, Serialize};

use crate::table::{Oid, PrimaryKey, StorageId, TableDefinition};
use crate::types::PgType;

/// An index besides the primary key (pg_index). A row has one entry in it, none if the predicate does not hold for it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct IndexDefinition {
    /// OID of its pg_class row.
    pub oid: Oid,
    pub name: String,
    /// Where its entries are.
    pub storage: StorageId,
    /// What it sorts by.
    pub columns: Vec<IndexColumn>,
    /// INCLUDE: positions in the table's columns. Kept and shown; rows are read from the table all the same.
    #[serde(default)]
    pub include: Vec<usize>,
    pub unique: bool,
    /// NULLS NOT DISTINCT: two NULLs are a duplicate.
    #[serde(default)]
    pub nulls_not_distinct: bool,
    /// WHERE, as SQL text.
    #[serde(default)]
    pub predicate: Option<String>,
    /// False for the index of a DEFERRABLE constraint: two rows may have one key until the constraint is checked.
    pub immediate: bool,
    /// WITH (fillfactor = 70): kept and shown.
    #[serde(default)]
    pub options: Vec<(String, String)>,
}

/// One of the things an index sorts by.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct IndexColumn {
    pub key: IndexKey,
    pub descending: bool,
    pub nulls_first: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum IndexKey {
    /// Position in the table's columns.
    Column(usize),
    /// SQL text over the table's columns, and its type.
    Expression(String, PgType),
}

impl IndexColumn {
    /// The position of a plain column.
    pub fn position(&self) -> Option<usize> {
        match self.key {
            IndexKey::Column(position) => Some(position),
            IndexKey::Expression(..) => None,
        }
    }

    pub fn ty(&self, table: &TableDefinition) -> PgType {
        match &self.key {
            IndexKey::Column(position) => table.columns[*position].ty,
            IndexKey::Expression(_, ty) => *ty,
        }
    }
}

impl IndexDefinition {
    /// The positions of its columns if all are plain.
    pub fn plain_columns(&self) -> Option<Vec<usize>> {
        self.columns.iter().map(IndexColumn::position).collect()
    }

    /// True if it names the column, in a key or in INCLUDE. Expressions are the caller's to read.
    pub fn has_column(&self, position: usize) -> bool {
        self.columns.iter().any(|c| c.position() == Some(position)) || self.include.contains(&position)
    }

    /// True if a foreign key can refer to it: unique, immediately, in every row, over plain columns.
    pub fn identifies_rows(&self) -> bool {
        self.unique && self.immediate && self.predicate.is_none() && self.plain_columns().is_some()
    }
}

impl PrimaryKey {
    /// Itself as an index. Its entries are the table's own rows: it has no storage.
    pub fn as_index(&self) -> IndexDefinition {
        let column = |c: &usize| IndexColumn { key: IndexKey::Column(*c), descending: false, nulls_first: false };
        IndexDefinition {
            oid: self.index_oid,
            name: self.name.clone(),
            storage: 0,
            columns: self.columns.iter().map(column).collect(),
            include: Vec::new(),
            unique: true,
            nulls_not_distinct: false,
            predicate: None,
            immediate: true,
            options: Vec::new(),
        }
    }
}
