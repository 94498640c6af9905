//! The server under test: the built binary in a directory of its own, or a PostgreSQL that `KALAMDB_PG_URL` names.
//!
//! A server is always stopped by the process that started it, also when a test panics.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::files::TempDir;

/// How long a start or a stop may take on a loaded machine.
const PROCESS_S_MAX: u64 = 60;

/// A port nobody listens on. Another process may take it first; the server then says so and the test fails by name.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

pub(crate) fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The server's command line, on the data directory `dir/data`. Nothing of the caller's environment configures it.
pub(crate) fn command(dir: &Path, port: u16, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kalamdb-server"));
    std::env::vars_os().filter(|v| v.0.to_string_lossy().starts_with("KALAMDB_")).for_each(|v| {
        command.env_remove(v.0);
    });
    command
        .current_dir(dir)
        .arg("--data-dir")
        .arg(dir.join("data"))
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
}

impl Server {
    /// Starts on `dir` and waits until a session can be opened.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    pub(crate) fn start_with(dir: &Path, more: &[&str]) -> Self {
        let port = free_port();
        let log = std::fs::File::create(dir.join("server.log")).expect("a log file");
        let child = command(dir, port, more).stderr(log).spawn().expect("the server binary");
        let mut server = Server { child, addr: address(port) };
        let deadline = Instant::now() + Duration::from_secs(PROCESS_S_MAX);
        while let Err(e) = Client::connect(server.addr, "postgres") {
            let ended = server.child.try_wait().expect("the server's state");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(dir.join("server.log")).unwrap_or_default();
                panic!("the server does not accept sessions: {e}; ended: {ended:?}; its log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr, "postgres").expect("a session")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, then the exit status.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        signal(self.pid(), "TERM");
        wait_exit(&mut self.child)
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("to kill the server");
        self.child.wait().expect("the server's end");
    }

    /// False after a crash.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the server's state").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().expect("kill");
    assert!(status.success(), "kill -{name} {pid}");
}

/// Waits for the end of a process that has to end by itself.
pub(crate) fn wait_exit(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(PROCESS_S_MAX);
    loop {
        if let Some(status) = child.try_wait().expect("the process's state") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the server has not ended after {PROCESS_S_MAX} s");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a server that has to refuse: its exit code and what it wrote to standard error.
pub(crate) fn refused(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the server binary");
    let status = wait_exit(&mut child);
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut text).expect("text on standard error");
    }
    (status.code(), text)
}

/// What the scripts run against.
pub(crate) enum Target {
    Ours { server: Server, dir: TempDir },
    Postgres(SocketAddr),
}

impl Target {
    pub(crate) fn start() -> Self {
        match std::env::var("KALAMDB_PG_URL") {
            Ok(url) => Target::Postgres(postgres_address(&url)),
            Err(_) => {
                let dir = TempDir::new();
                Target::Ours { server: Server::start(dir.path()), dir }
            }
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Target::Ours { server, .. } => server.addr,
            Target::Postgres(addr) => *addr,
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Target::Postgres(_))
    }

    /// Starts again after a crash. True if there was one.
    pub(crate) fn revive(&mut self) -> bool {
        match self {
            Target::Ours { server, dir } => {
                let crashed = !server.is_running();
                if crashed {
                    *server = Server::start(dir.path());
                }
                crashed
            }
            Target::Postgres(_) => false,
        }
    }

    /// Makes an empty database for one script; two runs at a time do not meet in it. Nothing drops it: PostgreSQL 15
    /// can crash when autovacuum comes upon a database as it is dropped.
    pub(crate) fn create_database(&self, suffix: &str) -> Result<String, String> {
        let name = format!("test_{}_{suffix}", std::process::id());
        let mut admin = Client::connect(self.addr(), "postgres").map_err(|e| e.to_string())?;
        admin.column(&format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }
}

/// `host:port`, also inside a URL `postgres://user@host:port/database`.
fn postgres_address(url: &str) -> SocketAddr {
    let rest = url.split_once("://").map_or(url, |p| p.1);
    let rest = rest.split_once('@').map_or(rest, |p| p.1);
    let host = rest.split('/').next().unwrap_or(rest).replace("localhost", "127.0.0.1");
    host.parse().unwrap_or_else(|_| panic!("KALAMDB_PG_URL must name an address and a port: {url}"))
}

/// True if the scripts' expectations are to be written from what PostgreSQL answers.
pub(crate) fn rewriting() -> bool {
    let asked = std::env::var_os("REWRITE").is_some();
    assert!(
        !asked || std::env::var_os("KALAMDB_PG_URL").is_some(),
        "REWRITE needs KALAMDB_PG_URL: PostgreSQL is the oracle"
    );
    asked
}
