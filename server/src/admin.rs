//! `kalamdb-server admin ...`: what is done to a data directory while no server runs on it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use kalamdb_engine::check;
use kalamdb_engine::context::AppContext;

use crate::config::Config;
use crate::data_dir::NodeId;
use crate::telemetry;

/// Reads everything and compares it. 0: all fits together; 1: it does not, or it cannot be read.
pub(crate) fn check(config: &Config) -> ExitCode {
    match run(config) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("kalamdb-server: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(config: &Config) -> Result<bool, String> {
    if !config.data_dir.is_dir() {
        return Err(format!("there is no data directory {}", config.data_dir.display()));
    }
    let node = NodeId::find(config.node_id.as_deref(), &config.data_dir)?;
    let app = AppContext::open(config.engine(node.id)).map_err(|error| telemetry::one_line(&error))?;
    let (mut out, shows) = (std::io::stderr(), std::io::stderr().is_terminal());
    let report = check::check(&app, &mut |table| {
        if shows {
            let _ = write!(out, "\r\x1b[Kchecking {table}");
        }
    });
    if shows {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    app.close();
    let report = report.map_err(|error| telemetry::one_line(&error))?;
    let mut out = std::io::stdout();
    for fault in &report.faults {
        let _ = writeln!(out, "{fault}");
    }
    let told = match report.faults.len() {
        0 => "no faults".to_owned(),
        n if n >= check::FAULTS_MAX => format!("{n} faults or more"),
        n => format!("{n} faults"),
    };
    let _ = writeln!(
        out,
        "checked {} tables with {} rows and {} index entries: {told}",
        report.tables, report.rows, report.entries
    );
    Ok(report.faults.is_empty())
}
