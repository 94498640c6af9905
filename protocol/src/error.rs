//! What can go wrong in this crate, and how an error reads on the wire.
//!
//! [`Error`] is for the process (binding an address). Inside a connection a handler stops with [`Stop`]: an error that
//! the client survives, one that ends the connection, or a client that is gone. The SQL error carries its own
//! PostgreSQL face; this file only copies its fields (manual, section 55.8).

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use kalamdb_catalog::{SqlError, SqlState};

use crate::encode::message;

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not listen on {address}: {source}")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("could not create Unix socket {path}: {source}")]
    Unix { path: PathBuf, source: io::Error },
    #[error("another server already listens on Unix socket {path}")]
    UnixInUse { path: PathBuf },
}

/// Why a message was not carried out.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Told to the client; the connection goes on.
    Error(SqlError),
    /// Told to the client as FATAL; the connection ends.
    Fatal(SqlError),
    /// The client is gone.
    Closed,
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Self {
        // Whoever asks for the end of a session ends it wherever it is.
        if error.code() == SqlState::ADMIN_SHUTDOWN { Stop::Fatal(error) } else { Stop::Error(error) }
    }
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Stop::Closed
    }
}

/// `08P01`, an error the client survives.
pub(crate) fn violation(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
}

/// Appends an ErrorResponse.
pub(crate) fn write_error(out: &mut Vec<u8>, severity: &str, error: &SqlError) {
    message(out, b'E', |out| write_fields(out, severity, error));
}

/// True for the classes of warnings and of transaction state: told as WARNING, what is not as NOTICE.
fn is_warning(notice: &SqlError) -> bool {
    matches!(&notice.code().0[..2], "01" | "25")
}

/// Whether client_min_messages, which is `least`, lets a notice through.
pub(crate) fn is_wanted(notice: &SqlError, least: &str) -> bool {
    match least {
        "error" => false,
        "warning" => is_warning(notice),
        _ => true,
    }
}

/// Appends a NoticeResponse.
pub(crate) fn write_notice(out: &mut Vec<u8>, notice: &SqlError) {
    let severity = if is_warning(notice) { "WARNING" } else { "NOTICE" };
    message(out, b'N', |out| write_fields(out, severity, notice));
}

fn write_fields(out: &mut Vec<u8>, severity: &str, error: &SqlError) {
    let fields = error.fields();
    let position = fields.position.map(|p| p.to_string());
    let list = [
        (b'S', Some(severity)),
        (b'V', Some(severity)),
        (b'C', Some(fields.code.0)),
        (b'M', Some(fields.message.as_str())),
        (b'D', fields.detail.as_deref()),
        (b'H', fields.hint.as_deref()),
        (b'P', position.as_deref()),
        (b'W', fields.context.as_deref()),
        (b's', fields.schema.as_deref()),
        (b't', fields.table.as_deref()),
        (b'c', fields.column.as_deref()),
        (b'd', fields.datatype.as_deref()),
        (b'n', fields.constraint.as_deref()),
    ];
    for (code, text) in list {
        if let Some(text) = text {
            out.push(code);
            // A NUL would end the field early and shift the rest of the message.
            out.extend(text.bytes().filter(|&b| b != 0));
            out.push(0);
        }
    }
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_postgresqls_order() {
        let error = SqlError::new(SqlState::UNIQUE_VIOLATION, "a\0b").detail("d").table("s", "t").constraint("n");
        let mut out = Vec::new();
        write_error(&mut out, "ERROR", &error);
        let text = String::from_utf8_lossy(&out[5..]).replace('\0', "|");
        assert_eq!(text, "SERROR|VERROR|C23505|Mab|Dd|ss|tt|nn||");
        assert_eq!(out.len() - 1, u32::from_be_bytes([out[1], out[2], out[3], out[4]]) as usize);
    }
}
