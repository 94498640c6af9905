//! SQL, sessions, transactions and storage of KalamDB.
//!
//! # Life of a statement
//!
//! A connection calls `Session::parse`, `Session::prepare`, `Session::bind` and `Session::execute`. `prepare` runs the
//! `Binder`, which turns sqlparser's tree into a DataFusion plan with PostgreSQL's types; `execute` gives the statement a
//! snapshot (`Transaction::reader`) and runs the plan with `Engine::run`, whose leaves are `ScanExec`s. INSERT, UPDATE and
//! DELETE run a query too and put its rows into the transaction's `StatementWrites`; DDL puts a `CatalogChange` there.
//! `Session::finish_implicit`, or COMMIT, calls `Transaction::commit`, which ends in one batch and one fsync.

pub mod check;
pub mod clock;
pub mod context;
pub mod limits;
pub mod live;
pub mod providers;
pub mod session;
mod settings;
pub mod sql;
pub mod storage;
pub mod txn;
pub mod types;

pub use settings::{LiveLimits, Settings};
