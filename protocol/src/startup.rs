//! From a fresh socket to a session: encryption requests, CancelRequest, the startup packet, the first answers.
//!
//! Protocol 3.0 and 3.2 are spoken (3.2 differs in the length of the cancel key). Encryption is declined with `N`, as
//! a PostgreSQL without certificates does. Authentication does not exist yet; the process only listens on loopback.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use kalamdb_catalog::{SqlError, SqlState};
use kalamdb_engine::clock::now_micros;
use kalamdb_engine::context::AppContext;
use kalamdb_engine::session::{BackendInfo, BackendState, Peers, Session, StartupParameters, TransactionStatus};

use crate::cancel::{BackendGuard, Backends};
use crate::connection::Connection;
use crate::decode::Reader;
use crate::encode;
use crate::error::{Stop, violation, write_notice};
use crate::limits::STARTUP_BYTES_MAX;
use crate::transport::Transport;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
/// The newest version we speak, as on the wire: major in the upper half.
const NEWEST_VERSION: u32 = 3 << 16 | 2;
/// Since this minor version the cancel key may be longer than four bytes.
const LONG_KEY_MINOR: u32 = 2;

/// What a connection starts with.
struct StartupPacket {
    minor: u32,
    user: String,
    database: String,
    settings: Vec<(String, String)>,
    /// `_pq_.` options: protocol extensions, of which we know none.
    unknown: Vec<String>,
}

/// Carries out the start-up. None: it was a CancelRequest, which has no answer.
pub(crate) async fn start(
    transport: &mut Transport,
    app: &Arc<AppContext>,
    backends: &Arc<Backends>,
    connections_max: usize,
    client_address: Option<String>,
) -> Result<Option<Started>, Stop> {
    let Some(packet) = read_packet(transport, backends).await? else { return Ok(None) };
    let Some(guard) = backends.enter(connections_max) else {
        return Err(Stop::Fatal(SqlError::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")));
    };
    if packet.minor > NEWEST_VERSION & 0xFFFF || !packet.unknown.is_empty() {
        // Never more than was asked for: libpq takes that for an attack.
        let version = 3 << 16 | packet.minor.min(NEWEST_VERSION & 0xFFFF);
        encode::negotiate_version(&mut transport.out, version, &packet.unknown);
    }
    encode::authentication_ok(&mut transport.out);
    let session = Session::open(
        Arc::clone(app),
        StartupParameters {
            user: packet.user.clone(),
            database: packet.database,
            settings: packet.settings,
            pid: guard.pid(),
            client_address: client_address.clone(),
            peers: Some(Arc::clone(backends) as Arc<dyn Peers>),
        },
    )
    .map_err(Stop::Fatal)?;
    let secret = secret(if packet.minor >= LONG_KEY_MINOR { 32 } else { 4 })?;
    Ok(Some(Started { guard, session, secret, user: packet.user, client_address }))
}

/// A session that has not been announced to its client.
pub(crate) struct Started {
    guard: BackendGuard,
    session: Session,
    secret: Vec<u8>,
    user: String,
    client_address: Option<String>,
}

impl Started {
    /// Registers the connection and writes everything up to the first ReadyForQuery.
    pub(crate) fn into_connection(self, mut transport: Transport) -> Connection {
        let out = &mut transport.out;
        let reports = self.session.reports();
        for (name, value) in &reports {
            encode::parameter_status(out, name, value);
        }
        encode::backend_key(out, self.guard.pid(), &self.secret);
        for notice in self.session.take_notices() {
            write_notice(out, &notice);
        }
        encode::ready_for_query(out, TransactionStatus::Idle);
        transport.end_batch();
        let application_name = reports.iter().find(|(name, _)| *name == "application_name");
        let now = now_micros();
        let info = BackendInfo {
            pid: self.guard.pid(),
            user: self.user,
            database: self.session.context().database_name.clone(),
            application_name: application_name.map(|(_, value)| value.clone()).unwrap_or_default(),
            client_address: self.client_address,
            backend_start: now,
            query_start: None,
            state_change: now,
            state: BackendState::Idle,
            query: String::new(),
        };
        let backend = self.guard.register(self.secret, self.session.cancel_handle(), info);
        Connection::new(transport, self.session, self.guard, backend)
    }
}

/// Reads packets until one opens a connection.
async fn read_packet(transport: &mut Transport, backends: &Backends) -> Result<Option<StartupPacket>, Stop> {
    let (mut ssl_asked, mut gss_asked) = (false, false);
    loop {
        let body = read_body(transport).await?;
        let Some((code, rest)) = body.split_first_chunk::<4>() else { return Err(Stop::Closed) };
        match u32::from_be_bytes(*code) {
            CANCEL_REQUEST => {
                if let Some((pid, secret)) = rest.split_first_chunk::<4>() {
                    backends.cancel_with_secret(i32::from_be_bytes(*pid), secret);
                }
                return Ok(None);
            }
            SSL_REQUEST if !ssl_asked => ssl_asked = true,
            GSSENC_REQUEST if !gss_asked => gss_asked = true,
            version if version >> 16 < 3 => {
                // As PostgreSQL answers them: in the form of their time.
                transport.out.push(b'E');
                transport.out.extend_from_slice(format!("FATAL:  {}\n\0", unsupported(version).message()).as_bytes());
                transport.flush().await?;
                return Err(Stop::Closed);
            }
            version => return parse_packet(version, rest).map(Some).map_err(Stop::Fatal),
        }
        transport.out.push(b'N');
        transport.flush().await?;
    }
}

/// The packet behind its length. One of an impossible length is not answered, as in PostgreSQL.
async fn read_body(transport: &mut Transport) -> Result<bytes::Bytes, Stop> {
    loop {
        if let Some(len) = transport.input.first_chunk::<4>() {
            let len = u32::from_be_bytes(*len) as usize;
            if !(8..=STARTUP_BYTES_MAX).contains(&len) {
                return Err(Stop::Closed);
            }
            if transport.input.len() >= len {
                let mut packet = transport.input.split_to(len).freeze();
                bytes::Buf::advance(&mut packet, 4);
                return Ok(packet);
            }
        }
        transport.fill().await?;
    }
}

fn parse_packet(version: u32, body: &[u8]) -> Result<StartupPacket, SqlError> {
    if version >> 16 != 3 {
        return Err(unsupported(version));
    }
    let layout = || violation("invalid startup packet layout: expected terminator as last byte");
    let mut packet = StartupPacket {
        minor: version & 0xFFFF,
        user: String::new(),
        database: String::new(),
        settings: Vec::new(),
        unknown: Vec::new(),
    };
    let mut r = Reader(body);
    loop {
        let name = r.string().map_err(|_| layout())?;
        if name.is_empty() {
            break;
        }
        let value = r.string().map_err(|_| layout())?;
        match name {
            "user" => packet.user = value.to_owned(),
            "database" => packet.database = value.to_owned(),
            "options" => packet.settings.extend(parse_options(value)?),
            "replication" => refuse_replication(value)?,
            _ if name.starts_with("_pq_.") => packet.unknown.push(name.to_owned()),
            _ => packet.settings.push((name.to_owned(), value.to_owned())),
        }
    }
    if !r.0.is_empty() {
        return Err(layout());
    }
    if packet.user.is_empty() {
        return Err(SqlError::new(
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            "no PostgreSQL user name specified in startup packet",
        ));
    }
    Ok(packet)
}

fn unsupported(version: u32) -> SqlError {
    let (major, minor) = (version >> 16, version & 0xFFFF);
    let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2");
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

fn refuse_replication(value: &str) -> Result<(), SqlError> {
    match value.to_ascii_lowercase().as_str() {
        "false" | "off" | "no" | "0" | "f" | "n" => Ok(()),
        "true" | "on" | "yes" | "1" | "t" | "y" | "database" => Err(SqlError::unsupported("replication")),
        _ => Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"replication\": \"{value}\""),
        )
        .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\".")),
    }
}

/// The settings in `options`: `-c name=value`, `-cname=value`, `--name=value` (manual, section 34.1.2, options).
fn parse_options(options: &str) -> Result<Vec<(String, String)>, SqlError> {
    let mut settings = Vec::new();
    let mut arguments = split_options(options).into_iter();
    while let Some(argument) = arguments.next() {
        let (switch, assignment) = match argument.as_str() {
            "-c" => ("-c ", arguments.next().unwrap_or_default()),
            a if a.starts_with("-c") => ("-c ", a[2..].to_owned()),
            a if a.starts_with("--") && a.len() > 2 => ("--", a[2..].to_owned()),
            _ => {
                return Err(SqlError::new(
                    SqlState::SYNTAX_ERROR,
                    format!("invalid command-line argument for server process: {argument}"),
                )
                .hint("Try \"postgres --help\" for more information."));
            }
        };
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("{switch}{assignment} requires a value")));
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

/// Splits at white space that no backslash escapes; a backslash takes the next character as it is.
fn split_options(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_ascii_whitespace() || c == '\x0b' => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// A key that cannot be guessed, from the system's generator.
fn secret(len: usize) -> Result<Vec<u8>, Stop> {
    let mut bytes = vec![0; len];
    let read: io::Result<()> = File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    read.map_err(|e| Stop::Fatal(SqlError::internal(format!("could not generate random cancel key: {e}"))))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(version: u32, body: &[u8]) -> String {
        match parse_packet(version, body) {
            Ok(p) => format!("{}/{} {:?} {:?}", p.user, p.database, p.settings, p.unknown),
            Err(e) => format!("{} {}", e.code(), e.message()),
        }
    }

    #[test]
    fn startup_packets() {
        let cases: &[(u32, &[u8], &str)] = &[
            (3 << 16, b"user\0u\0database\0d\0\0", "u/d [] []"),
            (3 << 16, b"user\0u\0_pq_.x\x001\0DateStyle\0ISO\0\0", "u/ [(\"DateStyle\", \"ISO\")] [\"_pq_.x\"]"),
            (3 << 16, b"user\0u\0", "08P01 invalid startup packet layout: expected terminator as last byte"),
            (3 << 16, b"user\0u\0\0x", "08P01 invalid startup packet layout: expected terminator as last byte"),
            (3 << 16, b"\0", "28000 no PostgreSQL user name specified in startup packet"),
            (3 << 16, b"user\0u\0replication\0true\0\0", "0A000 replication is not supported"),
            (3 << 16, b"user\0u\0replication\0false\0\0", "u/ [] []"),
            (2 << 16, b"", "0A000 unsupported frontend protocol 2.0: server supports 3.0 to 3.2"),
        ];
        for (version, body, expect) in cases {
            assert_eq!(packet(*version, body), *expect);
        }
    }

    #[test]
    fn options_are_split_as_postgresql_does() {
        let cases = [
            ("-c a=b", "[(\"a\", \"b\")]"),
            (" -ca=b  --work-mem=1\\ 2 ", "[(\"a\", \"b\"), (\"work_mem\", \"1 2\")]"),
            ("-c search_path=a\\\\b,c", "[(\"search_path\", \"a\\\\b,c\")]"),
            ("", "[]"),
            ("-c a", "42601 -c a requires a value"),
            ("--a", "42601 --a requires a value"),
            ("-x", "42601 invalid command-line argument for server process: -x"),
        ];
        for (options, expect) in cases {
            let got = match parse_options(options) {
                Ok(settings) => format!("{settings:?}"),
                Err(e) => format!("{} {}", e.code(), e.message()),
            };
            assert_eq!(got, expect, "{options}");
        }
    }
}
