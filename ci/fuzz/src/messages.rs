//! The protocol's decoder: any type byte with any body is decoded or refused, and a Bind is read to its end.
#![no_main]

#[path = "../../../protocol/src/decode.rs"]
#[allow(dead_code, reason = "a message's fields are the connection's to read")]
mod decode;
#[path = "../../../protocol/src/limits.rs"]
#[allow(dead_code, reason = "the decoder needs one of them")]
mod limits;

/// What the decoder uses of `protocol::error`.
mod error {
    use kalamdb_catalog::{SqlError, SqlState};

    pub(crate) fn violation(message: impl Into<String>) -> SqlError {
        SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
    }
}

use decode::{Frontend, body_bytes_max, decode};
use kalamdb_catalog::{Result, SqlState};
use libfuzzer_sys::fuzz_target;

fn read(tag: u8, body: &[u8]) -> Result<()> {
    body_bytes_max(tag, body.len())?;
    if let Frontend::Bind(mut bind) = decode(tag, body)? {
        let (formats, count) = bind.counts()?;
        for i in 0..count {
            bind.parameter(formats.binary(i))?;
        }
        bind.result_formats()?;
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    if let Some((&tag, body)) = data.split_first()
        && let Err(error) = read(tag, body)
    {
        assert_ne!(error.code(), SqlState::INTERNAL_ERROR, "{error:?}");
    }
});
