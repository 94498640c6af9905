//! A whole connection: any sequence of messages after start-up is answered or refused, and the server goes on.
//!
//! The input is messages of a type byte, a length of two bytes and a body: the true length is put in here, so that
//! mutations stay messages. The engine has the relations of the scripts; what is committed stays for the next input.
#![no_main]

#[path = "../../../server/tests/it/files.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod files;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use files::TempDir;
use kalamdb_engine::Settings;
use kalamdb_engine::context::AppContext;
use kalamdb_protocol::Server;
use libfuzzer_sys::fuzz_target;

/// A statement that runs longer is cancelled.
const STARTUP: &[u8] =
    b"\0\0\0\x4b\0\x03\0\0user\0postgres\0database\0postgres\0options\0-c statement_timeout=1000\0\0";
/// A server that has not answered by then hangs.
const ANSWER_S_MAX: u64 = 30;

/// The server's socket. The process is libFuzzer's: its end is the server's.
static SOCKET: LazyLock<PathBuf> = LazyLock::new(|| {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(8 << 20).build();
        runtime.expect("a runtime").block_on(serve(sender));
    });
    receiver.recv().expect("a server")
});

async fn serve(ready: std::sync::mpsc::SyncSender<PathBuf>) {
    let dir = TempDir::new();
    let app = AppContext::open(Settings {
        node_id: "fuzz".to_owned(),
        data_dir: dir.path().join("data"),
        max_connections: 100,
        block_cache_bytes: 16 << 20,
        column_cache_bytes: 16 << 20,
        write_buffer_bytes: 16 << 20,
        query_memory_bytes: 256 << 20,
        change_log_bytes_max: 16 << 20,
        change_log_age_max: Duration::from_secs(86_400),
        notify_queue_bytes_max: 1 << 20,
        live: kalamdb_engine::LiveLimits::default(),
    });
    let settings = kalamdb_protocol::Settings {
        unix_socket_dir: Some(dir.path().to_owned()),
        max_message_bytes: 1 << 20,
        ..Default::default()
    };
    let server = Server::bind(settings).await.expect("a socket");
    ready.send(server.unix_socket().expect("a socket").to_owned()).expect("the main thread");
    server.serve(app.expect("an engine"), std::future::pending()).await;
}

/// The messages of an input, framed.
fn framed(mut data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let [tag, high, low, rest @ ..] = data {
        let len = (usize::from(*high) << 8 | usize::from(*low)).min(rest.len());
        out.push(*tag);
        out.extend((len as u32 + 4).to_be_bytes());
        out.extend_from_slice(&rest[..len]);
        data = &rest[len..];
    }
    out
}

fuzz_target!(|data: &[u8]| {
    if ["sleep", "repeat", "pad", "series"]
        .iter()
        .any(|w| data.windows(w.len()).any(|d| d.eq_ignore_ascii_case(w.as_bytes())))
    {
        return;
    }
    let mut socket = UnixStream::connect(&*SOCKET).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(ANSWER_S_MAX))).expect("a timeout");
    socket.write_all(STARTUP).expect("a server that reads");
    // A server that has ended the session does not read the rest.
    let _ = socket.write_all(&framed(data)).and_then(|()| socket.shutdown(std::net::Shutdown::Write));
    let mut answers = Vec::new();
    if let Err(error) = socket.read_to_end(&mut answers) {
        assert!(
            !matches!(error.kind(), std::io::ErrorKind::WouldBlock),
            "no end of the session after {ANSWER_S_MAX} s"
        );
    }
    let code = b"\0CXX000\0";
    assert!(!answers.windows(code.len()).any(|a| a == code), "XX000: {}", String::from_utf8_lossy(&answers));
});
