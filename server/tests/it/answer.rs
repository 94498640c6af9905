//! What a server answers to one SQL text, as the lines that the scripts show.
//!
//! Rows: a header `name:type | name:type`, then one line for each row. A command without rows, or one with rows that is
//! not a SELECT: `OK` and the command tag. Errors and notices: `ERROR 22012: division by zero`, then DETAIL, HINT,
//! POSITION. NULL is `NULL`, the empty string `(empty)`, a value with outer spaces is quoted, control characters are
//! escaped. Who fills it reads the wire (`sql`) or the engine's own values (the engine's tests).

use crate::types;

/// The lines of an answer as they come.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    lines: Vec<String>,
    /// The columns of the rows under way have been told.
    described: bool,
    /// A row has come since.
    rows: bool,
}

/// The fields of an error or notice that scripts show.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) position: Option<String>,
}

impl Answer {
    /// The columns of the rows that follow: name, type OID, type modifier.
    pub(crate) fn columns(&mut self, columns: impl IntoIterator<Item = (String, u32, i32)>) {
        let shown = columns.into_iter().map(|(name, oid, typmod)| format!("{name}:{}", types::name(oid, typmod)));
        let shown: Vec<String> = shown.collect();
        self.lines.push(if shown.is_empty() { "(no columns)".to_string() } else { shown.join(" | ") });
        (self.described, self.rows) = (true, false);
    }

    /// A row, its values in text form.
    pub(crate) fn row<'a>(&mut self, values: impl IntoIterator<Item = Option<&'a [u8]>>) {
        let mark = if self.described { "" } else { "UNDESCRIBED " };
        let shown: Vec<String> = values.into_iter().map(value).collect();
        let shown = if shown.is_empty() { "(no values)".to_string() } else { shown.join(" | ") };
        self.lines.push(format!("{mark}{shown}"));
        self.rows = true;
    }

    /// The end of a statement, with its command tag.
    pub(crate) fn complete(&mut self, tag: &str) {
        if !(self.described && tag.starts_with("SELECT ")) {
            self.lines.push(format!("OK {tag}"));
        }
        self.described = false;
    }

    pub(crate) fn empty(&mut self) {
        self.lines.push("EMPTY".to_string());
    }

    pub(crate) fn error(&mut self, report: &Report) {
        // Whether the columns are announced before an error in the first row is a matter of timing.
        if self.described && !self.rows {
            self.lines.pop();
        }
        self.notice(report);
    }

    pub(crate) fn notice(&mut self, report: &Report) {
        self.lines.push(format!("{} {}: {}", report.severity, report.code, escape(&report.message)));
        let mut add = |label, text: &Option<String>| {
            self.lines.extend(text.as_ref().map(|text| format!("{label}: {}", escape(text))));
        };
        add("DETAIL", &report.detail);
        add("HINT", &report.hint);
        add("POSITION", &report.position);
    }

    /// Whatever else came.
    pub(crate) fn other(&mut self, line: String) {
        self.lines.push(line);
    }

    pub(crate) fn lines(self) -> Vec<String> {
        self.lines
    }
}

fn value(value: Option<&[u8]>) -> String {
    let Some(bytes) = value else { return "NULL".to_string() };
    if bytes.is_empty() {
        return "(empty)".to_string();
    }
    let text = String::from_utf8_lossy(bytes);
    let escaped = escape(&text);
    if escaped.starts_with(' ') || escaped.ends_with(' ') { format!("\"{escaped}\"") } else { escaped }
}

/// Control characters as their pictures, so that an answer stays on its line and a backslash is a backslash.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\0'..='\x1f' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or(c)),
            '\x7f' => out.push('\u{2421}'),
            c => out.push(c),
        }
    }
    out
}
