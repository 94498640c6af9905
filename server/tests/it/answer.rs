//! The server's answer to one SQL text, as the lines that the scripts show.
//!
//! Rows: a header `name:type | name:type`, then one line for each row. A command without rows, or one with rows that is
//! not a SELECT: `OK` and the command tag. Errors and notices: `ERROR 22012: division by zero`, then DETAIL, HINT,
//! POSITION. NULL is `NULL`, the empty string `(empty)`, a value with outer spaces is quoted, control characters are
//! escaped.

use crate::client::{Fields, Message, report_fields};
use crate::types;

/// Turns the messages up to ReadyForQuery into lines; `position` says whether errors show where they are.
pub fn lines(messages: &[Message], position: bool) -> Vec<String> {
    let mut out = Vec::new();
    let (mut described, mut rows) = (false, false);
    for message in messages {
        match message.tag {
            b'T' => {
                out.push(header(&message.body));
                (described, rows) = (true, false);
            }
            b'D' => {
                let mark = if described { "" } else { "UNDESCRIBED " };
                out.push(format!("{mark}{}", row(&message.body)));
                rows = true;
            }
            b'C' => {
                let tag = Fields(&message.body).cstr();
                if !(described && tag.starts_with("SELECT ")) {
                    out.push(format!("OK {tag}"));
                }
                described = false;
            }
            b'I' => out.push("EMPTY".to_string()),
            b'E' | b'N' => {
                // Whether the columns are announced before an error in the first row is a matter of timing.
                if message.tag == b'E' && described && !rows {
                    out.pop();
                }
                out.extend(report(&message.body, position));
            }
            // Steps of the extended protocol and changed settings: the wire scripts look at those.
            b'Z' | b'1' | b'2' | b'n' | b't' | b'S' | b'K' => {}
            tag => out.push(format!("MESSAGE {}", tag as char)),
        }
    }
    out
}

fn header(body: &[u8]) -> String {
    let mut fields = Fields(body);
    let columns = (0..fields.i16()).map(|_| {
        let name = fields.cstr();
        fields.i32();
        fields.i16();
        let oid = fields.i32() as u32;
        fields.i16();
        let typmod = fields.i32();
        fields.i16();
        format!("{name}:{}", types::name(oid, typmod))
    });
    let columns: Vec<String> = columns.collect();
    if columns.is_empty() { "(no columns)".to_string() } else { columns.join(" | ") }
}

fn row(body: &[u8]) -> String {
    let mut fields = Fields(body);
    let values: Vec<String> = (0..fields.i16()).map(|_| value(fields.value())).collect();
    if values.is_empty() { "(no values)".to_string() } else { values.join(" | ") }
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
pub fn escape(text: &str) -> String {
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

fn report(body: &[u8], position: bool) -> Vec<String> {
    let fields = report_fields(body);
    let get = |code| fields.iter().find(|f| f.0 == code).map(|f| escape(&f.1));
    let severity = get('V').unwrap_or_else(|| "NO SEVERITY".to_string());
    let mut out = vec![format!(
        "{severity} {}: {}",
        get('C').unwrap_or_else(|| "NO SQLSTATE".to_string()),
        get('M').unwrap_or_default()
    )];
    let mut add = |label: &str, code| out.extend(get(code).map(|v| format!("{label}: {v}")));
    add("DETAIL", 'D');
    add("HINT", 'H');
    if position {
        add("POSITION", 'P');
    }
    out
}
