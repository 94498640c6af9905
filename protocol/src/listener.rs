//! The listening sockets and the life of the server: accept, count, stop.
//!
//! Stopping: no new connections; idle ones are told 57P01 and closed; running statements may finish until
//! `shutdown_grace` is over, then they are cancelled with 57P01; what still hangs after that is dropped.

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kalamdb_catalog::{SqlError, SqlState};
use kalamdb_engine::context::AppContext;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cancel::Backends;
use crate::error::{Error, Stop, write_error};
use crate::limits::{ACCEPT_RETRY, LAST_WORDS_TIMEOUT, STARTUP_SOCKETS_EXTRA};
use crate::startup;
use crate::transport::{Socket, Transport};
use crate::workers::Workers;

/// What the process decides about connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// TCP addresses; port 0 takes a free one (see [`Server::addresses`]).
    pub listen: Vec<SocketAddr>,
    /// Directory of the Unix socket `.s.PGSQL.<port>`, if one is wanted.
    pub unix_socket_dir: Option<PathBuf>,
    /// The port in the Unix socket's name; 0: that of the first TCP address, or 5432.
    pub unix_socket_port: u16,
    pub max_connections: usize,
    /// Longest Query, Parse, Bind or CopyData message; longer ones are refused unread with 54000.
    pub max_message_bytes: usize,
    /// How long a client may take from its first byte to a session (PostgreSQL's authentication_timeout).
    pub startup_timeout: Duration,
    /// How long running statements may go on once the server stops.
    pub shutdown_grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listen: Vec::new(),
            unix_socket_dir: None,
            unix_socket_port: 0,
            max_connections: 100,
            max_message_bytes: 256 * 1024 * 1024,
            startup_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// A server whose addresses are taken.
pub struct Server {
    settings: Settings,
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, UnixSocketFile)>,
    backends: Arc<Backends>,
}

impl Server {
    /// Takes the addresses. Nothing is accepted before [`serve`](Self::serve).
    pub async fn bind(settings: Settings) -> Result<Server, Error> {
        let mut tcp = Vec::new();
        for &address in &settings.listen {
            tcp.push(TcpListener::bind(address).await.map_err(|source| Error::Tcp { address, source })?);
        }
        let mut port = settings.unix_socket_port;
        if port == 0 {
            port = tcp.first().and_then(|l| l.local_addr().ok()).map_or(5432, |a| a.port());
        }
        let unix = settings.unix_socket_dir.as_deref().map(|dir| bind_unix(dir, port)).transpose()?;
        Ok(Server { settings, tcp, unix, backends: Arc::new(Backends::default()) })
    }

    /// The TCP addresses in use.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|l| l.local_addr().ok()).collect()
    }

    /// The path of the Unix socket.
    pub fn unix_socket(&self) -> Option<&Path> {
        self.unix.as_ref().map(|(_, file)| file.0.as_path())
    }

    /// The running connections, for pg_stat_activity and its relatives.
    pub fn backends(&self) -> Arc<Backends> {
        Arc::clone(&self.backends)
    }

    /// Serves until `shutdown` is ready, then ends the connections as the module's comment says.
    pub async fn serve(self, app: Arc<AppContext>, shutdown: impl Future<Output = ()> + Send) {
        let workers = match Workers::start() {
            Ok(workers) => workers,
            Err(error) => {
                tracing::error!(%error, "could not start the threads of connections");
                return;
            }
        };
        let mut tasks = JoinSet::new();
        let sockets_max = self.settings.max_connections + STARTUP_SOCKETS_EXTRA;
        tokio::pin!(shutdown);
        loop {
            let (socket, peer) = tokio::select! {
                () = &mut shutdown => break,
                Some(done) = tasks.join_next(), if !tasks.is_empty() => {
                    log_panic(done);
                    continue;
                }
                accepted = self.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                        continue;
                    }
                },
            };
            if tasks.len() >= sockets_max {
                continue;
            }
            let (app, backends, settings) = (Arc::clone(&app), Arc::clone(&self.backends), self.settings.clone());
            let connection = async move {
                match socket.here() {
                    Ok(socket) => {
                        let transport = Transport::new(socket, settings.max_message_bytes);
                        run(transport, app, backends, settings, peer).await;
                    }
                    Err(error) => tracing::warn!(%error, "could not take over a connection"),
                }
            };
            tasks.spawn_on(connection, workers.next());
        }
        let Server { settings, tcp, unix, backends } = self;
        drop((tcp, unix));
        stop(tasks, &backends, settings.shutdown_grace).await;
        workers.stop();
    }

    async fn accept(&self) -> io::Result<(Accepted, Option<String>)> {
        let tcp = self.tcp.iter().map(|l| Box::pin(l.accept()));
        let any_tcp = async {
            if self.tcp.is_empty() { std::future::pending().await } else { futures::future::select_all(tcp).await.0 }
        };
        let any_unix = async {
            match &self.unix {
                Some((listener, _)) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = any_tcp => {
                let (stream, peer) = accepted?;
                tune(&stream);
                Ok((Accepted::Tcp(stream.into_std()?), Some(peer.ip().to_string())))
            }
            accepted = any_unix => Ok((Accepted::Unix(accepted?.0.into_std()?), None)),
        }
    }
}

/// A connection that no runtime watches yet.
enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(StdUnixStream),
}

impl Accepted {
    /// The socket on the runtime of the caller.
    fn here(self) -> io::Result<Box<dyn Socket>> {
        Ok(match self {
            Accepted::Tcp(stream) => Box::new(TcpStream::from_std(stream)?),
            Accepted::Unix(stream) => Box::new(UnixStream::from_std(stream)?),
        })
    }
}

/// Ends all connections: asked first, cancelled when the grace is over, dropped when they do not react.
async fn stop(mut tasks: JoinSet<()>, backends: &Backends, grace: Duration) {
    backends.stopping.raise();
    backends.list().iter().for_each(|b| b.ask_to_end());
    if timeout(grace, drain(&mut tasks)).await.is_err() {
        backends.list().iter().for_each(|b| b.terminate());
        if timeout(LAST_WORDS_TIMEOUT * 2, drain(&mut tasks)).await.is_err() {
            tracing::warn!(connections = backends.len(), "connections did not end and are dropped");
            tasks.shutdown().await;
        }
    }
}

async fn drain(tasks: &mut JoinSet<()>) {
    while let Some(done) = tasks.join_next().await {
        log_panic(done);
    }
}

fn log_panic(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a panic");
    }
}

/// One connection, from its first byte to its last.
async fn run(
    mut transport: Transport,
    app: Arc<AppContext>,
    backends: Arc<Backends>,
    settings: Settings,
    peer: Option<String>,
) {
    let start = Box::pin(startup::start(&mut transport, &app, &backends, settings.max_connections, peer));
    let started = tokio::select! {
        started = timeout(settings.startup_timeout, start) => started.unwrap_or(Err(Stop::Closed)),
        () = backends.stopping.raised() => {
            let message = "the database system is shutting down";
            Err(Stop::Fatal(SqlError::new(SqlState::CANNOT_CONNECT_NOW, message)))
        }
    };
    match started {
        Ok(Some(started)) => {
            let connection = started.into_connection(transport);
            drop((app, settings, backends));
            connection.run().await;
        }
        Ok(None) => {}
        Err(Stop::Error(error) | Stop::Fatal(error)) => last_words(&mut transport, &error).await,
        Err(Stop::Closed) => {}
    }
}

/// Tells a client why its connection ends, without waiting long for one that does not read.
pub(crate) async fn last_words(transport: &mut Transport, error: &SqlError) {
    write_error(&mut transport.out, "FATAL", error);
    let said = timeout(LAST_WORDS_TIMEOUT, async {
        let flushed = transport.flush().await;
        transport.shutdown().await;
        flushed
    });
    if !matches!(said.await, Ok(Ok(()))) {
        tracing::debug!("a client did not read why its connection ended");
    }
}

/// Small answers leave at once; a peer that vanished is noticed.
fn tune(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    if let Err(error) = socket.set_tcp_nodelay(true).and_then(|()| socket.set_keepalive(true)) {
        tracing::debug!(%error, "could not set socket options");
    }
}

/// Removes the socket's file when the server ends.
struct UnixSocketFile(PathBuf);

impl Drop for UnixSocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds `dir/.s.PGSQL.<port>`. A file that nobody answers on is left over from a crash and removed.
fn bind_unix(dir: &Path, port: u16) -> Result<(UnixListener, UnixSocketFile), Error> {
    let path = dir.join(format!(".s.PGSQL.{port}"));
    match StdUnixStream::connect(&path) {
        Ok(_) => return Err(Error::UnixInUse { path }),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && is_socket(&path) => {
            std::fs::remove_file(&path).map_err(|source| Error::Unix { path: path.clone(), source })?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(&path).map_err(|source| Error::Unix { path: path.clone(), source })?;
    let file = UnixSocketFile(path);
    // As PostgreSQL's unix_socket_permissions: who may connect is not decided here.
    std::fs::set_permissions(&file.0, Permissions::from_mode(0o777))
        .map_err(|source| Error::Unix { path: file.0.clone(), source })?;
    Ok((listener, file))
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
}
