//! The data directory: one RocksDB, keys, rows, and the reads at a snapshot.
//!
//! README.md beside this file gives the format byte by byte. Nothing outside this module names RocksDB; `txn` writes
//! through [`Batch`] and reads through [`Storage::get`] and [`Storage::scan`].

mod batch;
mod bulk;
pub mod catalog_store;
mod cell;
mod change_log;
mod error;
mod gaps;
mod gc;
mod iter;
pub mod keys;
mod lent;
mod log_room;
mod open;
pub mod row_codec;
mod run;
mod store;

pub use batch::{UNCOMMITTED, ctid, xmin};
pub use bulk::{BulkOutcome, BulkWriter};
pub use change_log::{Change, ChangeIter, ChangeOp};
pub use iter::{RowIter, RowRef};
pub use keys::{encode_key, row_id_key};
pub use row_codec::{BatchDecoder, RowLayout, RowMeta, ScanColumn};
pub(crate) use run::SortedRows;
pub(crate) use store::sequence_meta;
pub use store::{Batch, Storage, StorageOptions, Version};

#[cfg(test)]
mod tests;
