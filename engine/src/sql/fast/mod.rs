//! Statements that need no query engine: a row read, changed or deleted by its whole primary key, and rows inserted.
//!
//! They are a server's daily bread, and planning one with DataFusion takes longer than everything else together. What is
//! not understood to the letter is declined when the statement is bound, and goes the generic way; the answers of both
//! ways are the same (`testdata/sql/kalamdb/fast_path.slt` compares them).
//!
//! - `compile`: expressions made ready once
//! - `point`: WHERE as one key and what else the row has to fulfil
//! - `statement`: the four statements

mod compile;
mod point;
mod statement;
mod walk;

pub(super) use statement::Fast;
