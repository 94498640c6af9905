//! Transactions: the only door to data and catalog.
//!
//! README.md beside this file shows a statement as the calls it becomes, and the invariants.

mod checks;
mod commit;
mod export;
mod janitor;
mod locks;
mod manager;
mod reader;
mod row_ids;
mod row_lock;
mod run;
pub(crate) mod sequences;
mod serial;
mod snapshots;
mod statement;
mod transaction;
mod write_set;

pub use checks::{ConstraintModes, PendingCheck, PendingKind};
pub use export::Exporter;
pub use locks::{AdvisoryKey, IfLocked, LockClient, LockInfo, LockMode, LockTag, Locked, Owner, SessionLocks};
pub use manager::{ChangeLogOptions, TxnManager, TxnOptions};
pub use reader::{TxnReader, TxnScan};
pub use row_lock::{RowLocker, RowState};
pub use sequences::SequenceState;
pub use statement::{ApplyOutcome, Busy, Claim, Existing, IndexEntry, InsertOutcome, StatementWrites, TableRef};
pub use transaction::{CatalogWrite, Isolation, ReadPoint, Transaction};

#[cfg(test)]
pub(crate) mod tests;
