//! Constraints of a table besides NOT NULL.

use serde::{Deserialize, Serialize};

use crate::table::{Oid, PrimaryKey};

/// A constraint (pg_constraint).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Constraint {
    pub oid: Oid,
    pub name: String,
    pub kind: ConstraintKind,
    /// False from NOT VALID to VALIDATE CONSTRAINT: rows from before may break it.
    pub validated: bool,
    pub deferrable: bool,
    /// INITIALLY DEFERRED
    pub deferred: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ConstraintKind {
    /// Made from [`PrimaryKey`], never stored: the OID of its index, and its columns.
    Primary(Oid, Vec<usize>),
    /// A condition as SQL text, and the positions of the columns it reads.
    Check(String, Vec<usize>),
    /// The index that keeps it.
    Unique(Oid),
    Foreign(ForeignKey),
}

/// FOREIGN KEY (columns) REFERENCES table (columns).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Positions in the table's columns.
    pub columns: Vec<usize>,
    /// The table referred to.
    pub target: Oid,
    /// Positions in its columns, in the order of `columns`.
    pub target_columns: Vec<usize>,
    /// The unique index over them.
    pub index: Oid,
    /// MATCH FULL: all columns are NULL or none.
    pub full: bool,
    pub on_update: ForeignAction,
    pub on_delete: ForeignAction,
    /// ON DELETE SET NULL (columns), or SET DEFAULT; empty: all.
    #[serde(default)]
    pub set_columns: Vec<usize>,
}

/// What becomes of a row whose reference goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ForeignAction {
    NoAction,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

impl ForeignAction {
    /// pg_constraint.confupdtype
    pub fn letter(self) -> char {
        match self {
            ForeignAction::NoAction => 'a',
            ForeignAction::Restrict => 'r',
            ForeignAction::Cascade => 'c',
            ForeignAction::SetNull => 'n',
            ForeignAction::SetDefault => 'd',
        }
    }

    /// As it is written.
    pub fn sql(self) -> &'static str {
        match self {
            ForeignAction::NoAction => "NO ACTION",
            ForeignAction::Restrict => "RESTRICT",
            ForeignAction::Cascade => "CASCADE",
            ForeignAction::SetNull => "SET NULL",
            ForeignAction::SetDefault => "SET DEFAULT",
        }
    }
}

impl Constraint {
    pub fn foreign_key(&self) -> Option<&ForeignKey> {
        match &self.kind {
            ConstraintKind::Foreign(key) => Some(key),
            _ => None,
        }
    }
}

impl PrimaryKey {
    /// Itself as a constraint.
    pub fn as_constraint(&self) -> Constraint {
        Constraint {
            oid: self.constraint_oid,
            name: self.name.clone(),
            kind: ConstraintKind::Primary(self.index_oid, self.columns.clone()),
            validated: true,
            deferrable: false,
            deferred: false,
        }
    }
}
