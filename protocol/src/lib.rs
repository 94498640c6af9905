//! The PostgreSQL wire protocol of KalamDB: messages, encodings, connections.
//!
//! [`Server::bind`] takes the addresses, [`Server::serve`] accepts until it is told to stop. A connection is one task
//! (`connection`) that owns its socket, its buffers and its [`Session`](kalamdb_engine::session::Session): it reads a
//! batch of messages, carries them out one by one (`simple_query`, `extended`, `copy`), appends the answers to one
//! output buffer and writes that once per batch. While it waits for the client it also listens on a bounded channel,
//! so that the server can speak first; while a statement runs it watches the socket, so that a client that goes away
//! ends its statement.
//!
//! Invariants: no message is read whose length has not been checked; no result is held in memory beyond one batch
//! and one output buffer; nothing a client sends makes this crate panic.

mod cancel;
mod connection;
mod copy;
mod decode;
mod encode;
mod error;
mod extended;
mod limits;
mod listener;
mod names;
mod rows;
mod simple_query;
mod startup;
mod transport;
mod workers;

pub use cancel::{Backend, Backends};
pub use error::Error;
pub use listener::{Server, Settings};
