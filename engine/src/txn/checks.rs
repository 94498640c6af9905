//! Constraints that are looked at after a statement, or only when the transaction commits.

use std::collections::HashMap;

use bytes::Bytes;
use kalamdb_catalog::Oid;

/// What is still to be checked, or carried out, for a constraint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingCheck {
    pub constraint: Oid,
    pub what: PendingKind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PendingKind {
    /// A row refers to a key of another table's index.
    Reference { key: Bytes, row_key: Bytes, row: Bytes },
    /// A row that may be referred to has been deleted, or has another key now.
    Referenced { old: Bytes, new: Option<Bytes> },
    /// A row has come to a key of a DEFERRABLE unique constraint.
    Unique { key: Bytes, row_key: Bytes, row: Bytes },
}

/// SET CONSTRAINTS: what of the deferrable constraints is deferred in a transaction.
#[derive(Clone, Default, Debug)]
pub struct ConstraintModes {
    all: Option<bool>,
    named: HashMap<Oid, bool>,
}

impl ConstraintModes {
    /// SET CONSTRAINTS ALL
    pub fn set_all(&mut self, deferred: bool) {
        self.all = Some(deferred);
        self.named.clear();
    }

    pub fn set(&mut self, constraint: Oid, deferred: bool) {
        self.named.insert(constraint, deferred);
    }

    /// True if a deferrable constraint, which is declared so, is checked at commit only.
    pub fn is_deferred(&self, constraint: Oid, initially: bool) -> bool {
        self.named.get(&constraint).copied().or(self.all).unwrap_or(initially)
    }
}
