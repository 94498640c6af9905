//! Log lines on standard error, as text or one JSON object a line. Every line carries the node's id.
//!
//! The id is put into the line itself, not into a span: a span would have to be entered by every task.

use std::fmt;

use kalamdb_catalog::SqlError;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Format, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{Config, LogFormat};

/// Starts logging, panics included. Called once.
pub(crate) fn init(config: &Config, node_id: &str) {
    let filter = EnvFilter::new(&config.log_level);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => {
            let lines = Lines { inner: Format::default(), before: String::new(), after: format!(" node_id={node_id}") };
            builder.fmt_fields(DefaultFields::new()).event_format(lines).init();
        }
        LogFormat::Json => {
            let before = format!("{{\"node_id\":\"{node_id}\",");
            let lines = Lines { inner: Format::default().json().flatten_event(true), before, after: String::new() };
            builder.fmt_fields(JsonFields::new()).event_format(lines).init();
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("unknown reason");
        tracing::error!(place, "panic: {message}");
    }));
}

/// An error and its hint on one line, for a process that cannot start.
pub(crate) fn one_line(error: &SqlError) -> String {
    let fields = error.fields();
    let more =
        [&fields.detail, &fields.hint].into_iter().flatten().map(|text| format!(". {}", text.trim_end_matches('.')));
    format!("{}{}", fields.message, more.collect::<String>())
}

/// `inner`'s line with the node's id: `before` stands for a JSON object's opening brace, `after` ends a text line.
struct Lines<F> {
    inner: F,
    before: String,
    after: String,
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        let line = if self.before.is_empty() { line.as_str() } else { line.strip_prefix('{').unwrap_or(&line) };
        writeln!(writer, "{}{}{}", self.before, line.trim_end_matches('\n'), self.after)
    }
}
