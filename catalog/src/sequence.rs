//! Sequences.

use serde::{Deserialize, Serialize};

use crate::table::Oid;
use crate::types::PgType;

/// A sequence (pg_sequence). Its state is not here: it moves outside transactions.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SequenceDefinition {
    /// smallint, integer or bigint.
    pub ty: PgType,
    pub start: i64,
    pub increment: i64,
    pub min: i64,
    pub max: i64,
    pub cache: i64,
    pub cycle: bool,
    /// What a state begins with, if nothing is stored of it: the last value, and whether it has been given out.
    pub initial: (i64, bool),
    /// OWNED BY, or the identity column.
    pub owner: Option<SequenceOwner>,
}

/// The column that a sequence goes with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SequenceOwner {
    pub table: Oid,
    /// Position in the table's columns.
    pub column: usize,
    /// The column is GENERATED AS IDENTITY: the sequence is a part of it.
    pub identity: bool,
}
