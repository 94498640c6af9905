//! The process: flags and config file in, a running server out. The only place where the crates are put together.
//!
//! Exit codes: 0 after a graceful stop, 1 when the server could not start or run, 2 for a bad configuration, which is
//! found before anything is touched.

mod admin;
mod config;
mod data_dir;
mod signals;
mod telemetry;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use config::{Args, Config};
use data_dir::NodeId;
use kalamdb_engine::context::AppContext;
use kalamdb_protocol::Server;
use signals::Signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Planning recurses with the depth of a query.
const THREAD_STACK_BYTES: usize = 8 << 20;

fn main() -> ExitCode {
    let matches = Args::command().after_long_help(config::help()).get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let config = match config::load(&args) {
        Ok(config) => config,
        Err(error) => return fail(2, &error),
    };
    if args.check_config {
        let _ = writeln!(std::io::stdout(), "configuration is valid");
        return ExitCode::SUCCESS;
    }
    if let Some(config::Command::Admin { command: config::AdminCommand::Check }) = args.command {
        return admin::check(&config);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("kalamdb")
        .thread_stack_size(THREAD_STACK_BYTES)
        .build();
    match runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(run(config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}

fn fail(code: u8, error: &str) -> ExitCode {
    eprintln!("kalamdb-server: {error}");
    ExitCode::from(code)
}

/// Binds first and opens the data directory second: a port in use leaves the directory as it was.
async fn run(config: Config) -> Result<(), String> {
    let server = Server::bind(config.protocol()).await.map_err(|error| error.to_string())?;
    data_dir::prepare(&config.data_dir)?;
    let node = NodeId::find(config.node_id.as_deref(), &config.data_dir)?;
    telemetry::init(&config, &node.id);
    config.log_unknown_environment();
    let mut signals = Signals::install().map_err(|error| format!("cannot install signal handlers: {error}"))?;

    let app = AppContext::open(config.engine(node.id.clone())).map_err(|error| telemetry::one_line(&error))?;
    node.keep()?;
    let (version, data_dir) = (env!("CARGO_PKG_VERSION"), config.data_dir.display());
    tracing::info!(version, %data_dir, addresses = ?server.addresses(), socket = ?server.unix_socket(), "ready");
    let stop = tokio::sync::Notify::new();
    let serve = async {
        server.serve(app.clone(), stop.notified()).await;
        app.close();
    };
    tokio::select! {
        () = serve => tracing::info!("stopped"),
        () = signals.watch(&stop) => std::process::exit(1),
    }
    Ok(())
}
