//! The server as its users meet it: the built binary, over a socket. The one integration binary of this crate.
//!
//! Behaviour is in scripts (`testdata/sql`, `testdata/wire`), which need no Rust; what is about the process itself
//! (start, stop, crash, command line) is in `ops`.

#![expect(clippy::print_stdout, reason = "the runners report every failing case and go on")]

mod answer;
mod client;
mod files;
mod history;
mod isolation;
mod live;
mod ops;
mod script;
mod sql;
mod support;
mod tidy;
mod types;
mod wire;
