//! The engine as a connection drives it, without the protocol. The one integration binary of this crate.
//!
//! The scripts' format and the form of answers are those of the server's tests, and so are the files.

#![expect(clippy::print_stdout, reason = "the runners report every failing case and go on")]

#[path = "../../../server/tests/it/answer.rs"]
#[expect(dead_code, reason = "other messages than these are on the wire only")]
mod answer;
mod bugs;
mod client;
#[path = "../../../server/tests/it/files.rs"]
mod files;
mod fuzz;
mod mutate;
#[path = "../../../server/tests/it/script.rs"]
#[expect(dead_code, reason = "only the server's runner rewrites scripts")]
mod script;
mod scripts;
#[path = "../../../server/tests/it/types.rs"]
#[expect(dead_code, reason = "only wire scripts name types by hand")]
mod types;
