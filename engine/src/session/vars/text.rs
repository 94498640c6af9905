//! Settings whose text has a grammar of its own: DateStyle, TimeZone, client_encoding, lists of identifiers.

use jiff::tz::{Offset, TimeZone};
use kalamdb_catalog::{Result, SqlError};

use crate::types::{DateOrder, DateStyle};

/// Anything but printable ASCII becomes '?', byte by byte.
pub(super) fn printable(value: &str) -> String {
    value.bytes().map(|b| if (32..127).contains(&b) { b as char } else { '?' }).collect()
}

/// UTF8 for its spellings; a known encoding that is another one is refused, an unknown name is None.
pub(super) fn client_encoding(value: &str) -> Option<Result<String>> {
    const OTHERS: &[&str] = &[
        "sqlascii",
        "latin1",
        "latin2",
        "latin3",
        "latin4",
        "latin5",
        "latin6",
        "latin7",
        "latin8",
        "latin9",
        "latin10",
        "iso88591",
        "iso88592",
        "iso88595",
        "iso88596",
        "iso88597",
        "iso88598",
        "iso885915",
        "win1250",
        "win1251",
        "win1252",
        "win1253",
        "win1254",
        "win1255",
        "win1256",
        "win1257",
        "win1258",
        "win866",
        "win874",
        "windows1251",
        "windows1252",
        "koi8r",
        "koi8u",
        "koi8",
        "eucjp",
        "euccn",
        "euckr",
        "euctw",
        "eucjis2004",
        "sjis",
        "shiftjis",
        "big5",
        "gbk",
        "gb18030",
        "johab",
        "uhc",
        "muleinternal",
        "win",
        "abc",
        "tcvn",
        "vscii",
    ];
    let name: String = value.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    match name.as_str() {
        "utf8" | "unicode" => Some(Ok("UTF8".to_owned())),
        other if OTHERS.contains(&other) => Some(Err(SqlError::unsupported(format!("client_encoding \"{value}\"")))),
        _ => None,
    }
}

/// The elements of a list of identifiers, folded and unquoted (SplitIdentifierString); None if it is malformed.
pub(super) fn split_identifiers(list: &str) -> Option<Vec<String>> {
    let mut rest = list.trim();
    let mut parts = Vec::new();
    if rest.is_empty() {
        return Some(parts);
    }
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut part = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next()? {
                    (_, '"') if chars.peek().is_some_and(|c| c.1 == '"') => {
                        chars.next();
                        part.push('"');
                    }
                    (i, '"') => break i + 1,
                    (_, c) => part.push(c),
                }
            };
            parts.push(part);
            rest = &quoted[end..];
        } else {
            let end = rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            parts.push(rest[..end].to_lowercase());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(parts);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// DateStyle: the words of `value` applied to the current setting; the error is the DETAIL.
pub(super) fn date_style(value: &str, current: &str) -> Result<(DateStyle, DateOrder), String> {
    const CONFLICT: &str = "Conflicting \"datestyle\" specifications.";
    let words = split_identifiers(value).ok_or("List syntax is invalid.")?;
    let (mut style, mut order) = (None, None);
    for word in &words {
        let found_style = match word.as_str() {
            "iso" => Some(DateStyle::Iso),
            "sql" => Some(DateStyle::Sql),
            w if w.starts_with("postgres") => Some(DateStyle::Postgres),
            "german" => Some(DateStyle::German),
            _ => None,
        };
        let found_order = match word.as_str() {
            "ymd" => Some(DateOrder::Ymd),
            "dmy" => Some(DateOrder::Dmy),
            w if w.starts_with("euro") => Some(DateOrder::Dmy),
            "mdy" | "us" => Some(DateOrder::Mdy),
            w if w.starts_with("noneuro") => Some(DateOrder::Mdy),
            _ => None,
        };
        match (found_style, found_order) {
            (Some(s), _) if style.replace(s).is_some_and(|old| old != s) => return Err(CONFLICT.to_owned()),
            (_, Some(o)) if order.replace(o).is_some_and(|old| old != o) => return Err(CONFLICT.to_owned()),
            (None, None) if word == "default" => {
                style = style.or(Some(DateStyle::Iso));
                order = order.or(Some(DateOrder::Mdy));
            }
            (None, None) => return Err(format!("Unrecognized key word: \"{word}\".")),
            _ => {}
        }
    }
    // German dates are written day first unless the order is given too.
    if style == Some(DateStyle::German) && order.is_none() {
        order = Some(DateOrder::Dmy);
    }
    if let (Some(style), Some(order)) = (style, order) {
        return Ok((style, order));
    }
    let (old_style, old_order) = current.split_once(", ").unwrap_or((current, "MDY"));
    let old_style = match old_style {
        "SQL" => DateStyle::Sql,
        "Postgres" => DateStyle::Postgres,
        "German" => DateStyle::German,
        _ => DateStyle::Iso,
    };
    let old_order = match old_order {
        "DMY" => DateOrder::Dmy,
        "YMD" => DateOrder::Ymd,
        _ => DateOrder::Mdy,
    };
    Ok((style.unwrap_or(old_style), order.unwrap_or(old_order)))
}

pub(super) fn show_date_style(style: DateStyle, order: DateOrder) -> String {
    let style = match style {
        DateStyle::Iso => "ISO",
        DateStyle::Sql => "SQL",
        DateStyle::Postgres => "Postgres",
        DateStyle::German => "German",
    };
    let order = match order {
        DateOrder::Mdy => "MDY",
        DateOrder::Dmy => "DMY",
        DateOrder::Ymd => "YMD",
    };
    format!("{style}, {order}")
}

/// A time zone with its canonical name: a name, or hours east of UTC, shown as the POSIX zone PostgreSQL makes of it.
pub(super) fn zone(value: &str) -> Option<(TimeZone, String)> {
    if let Ok(hours) = value.trim().parse::<f64>() {
        let seconds = (hours * 3600.0).round();
        if seconds.abs() > 93_599.0 {
            return None;
        }
        let offset = Offset::from_seconds(seconds as i32).ok()?;
        return Some((TimeZone::fixed(offset), posix_name(seconds as i32)));
    }
    if value.is_empty() {
        return None;
    }
    let zone = crate::types::datetime::time_zone(value).ok()?;
    let name = zone.iana_name().unwrap_or(value).to_owned();
    Some((zone, name))
}

/// `<+02>-02`: POSIX counts west of Greenwich, the name in brackets east.
fn posix_name(seconds: i32) -> String {
    let total = seconds.abs();
    let mut clock = format!("{:02}", total / 3600);
    if total % 3600 != 0 {
        clock += &format!(":{:02}", total / 60 % 60);
    }
    if total % 60 != 0 {
        clock += &format!(":{:02}", total % 60);
    }
    let (east, west) = if seconds >= 0 { ('+', '-') } else { ('-', '+') };
    format!("<{east}{clock}>{west}{clock}")
}
