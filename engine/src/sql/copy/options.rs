//! The options of COPY: from names and values to a checked [`CopyFormat`].
//!
//! The checks, their order and their wording are PostgreSQL 15's `ProcessCopyOptions`.

use kalamdb_catalog::{Result, SqlError, SqlState};

use crate::sql::{Column, CopyFormat, CopyHeader, CopyKind};

/// Options as given, before defaults depend on the format.
#[derive(Default)]
struct Given<'a> {
    kind: Option<CopyKind>,
    delimiter: Option<&'a str>,
    null: Option<&'a str>,
    header: Option<CopyHeader>,
    quote: Option<&'a str>,
    escape: Option<&'a str>,
    force_quote: Option<Columns>,
    force_not_null: Option<Columns>,
    force_null: Option<Columns>,
    freeze: Option<bool>,
    encoding: Option<()>,
}

enum Columns {
    All,
    Listed(Vec<String>),
}

/// Checks the options of a COPY of `columns`.
///
/// An option is its lower-case name and its value as text; a list of columns is one text with commas, its names quoted
/// as in SQL where they need it; `*` is "all columns".
pub fn parse_copy_options(
    options: &[(String, Option<String>)],
    columns: &[Column],
    is_from: bool,
) -> Result<CopyFormat> {
    let mut given = Given::default();
    for (name, value) in options {
        given.take(name, value.as_deref(), is_from)?;
    }
    let kind = given.kind.unwrap_or(CopyKind::Text);
    let csv = kind == CopyKind::Csv;
    if kind == CopyKind::Binary {
        for (name, is_given) in [("DELIMITER", given.delimiter.is_some()), ("NULL", given.null.is_some())] {
            if is_given {
                return Err(syntax(format!("cannot specify {name} in BINARY mode")));
            }
        }
    }
    let delimiter = given.delimiter.unwrap_or(if csv { "," } else { "\t" });
    let null = given.null.unwrap_or(if csv { "" } else { "\\N" });
    let delimiter = check_delimiter(delimiter, null, csv)?;
    let header = given.header.unwrap_or(CopyHeader::None);
    if kind == CopyKind::Binary && header != CopyHeader::None {
        return Err(refused("cannot specify HEADER in BINARY mode"));
    }
    let (quote, escape) = given.quoting(delimiter, csv)?;
    given.check_force(csv, is_from)?;
    if null.as_bytes().contains(&delimiter) {
        return Err(refused("COPY delimiter must not appear in the NULL specification"));
    }
    if csv && null.as_bytes().contains(&quote) {
        return Err(refused("CSV quote character must not appear in the NULL specification"));
    }
    let null = null.to_owned();
    Ok(CopyFormat {
        kind,
        delimiter,
        null,
        header,
        quote,
        escape,
        force_quote: positions("FORCE_QUOTE", given.force_quote, columns)?,
        force_not_null: positions("FORCE_NOT_NULL", given.force_not_null, columns)?,
        force_null: positions("FORCE_NULL", given.force_null, columns)?,
        freeze: given.freeze.unwrap_or(false),
    })
}

impl<'a> Given<'a> {
    fn take(&mut self, name: &str, value: Option<&'a str>, is_from: bool) -> Result<()> {
        match name {
            "format" => once(&mut self.kind, kind(required(name, value)?)?),
            "freeze" => once(&mut self.freeze, boolean(name, value)?),
            "delimiter" => once(&mut self.delimiter, required(name, value)?),
            "null" => once(&mut self.null, required(name, value)?),
            "header" => once(&mut self.header, header(value, is_from)?),
            "quote" => once(&mut self.quote, required(name, value)?),
            "escape" => once(&mut self.escape, required(name, value)?),
            "force_quote" => once(&mut self.force_quote, column_list(name, value, true)?),
            "force_not_null" => once(&mut self.force_not_null, column_list(name, value, false)?),
            "force_null" => once(&mut self.force_null, column_list(name, value, false)?),
            "encoding" => once(&mut self.encoding, encoding(required(name, value)?)?),
            _ => Err(syntax(format!("option \"{name}\" not recognized"))),
        }
    }

    fn quoting(&self, delimiter: u8, csv: bool) -> Result<(u8, u8)> {
        let one = |name: &str, value: Option<&str>, default: u8| match (value, value.map(str::as_bytes)) {
            (None, _) => Ok(default),
            (Some(_), _) if !csv => Err(refused(format!("COPY {name} available only in CSV mode"))),
            (_, Some([byte])) => Ok(*byte),
            _ => Err(refused(format!("COPY {name} must be a single one-byte character"))),
        };
        let quote = one("quote", self.quote, b'"')?;
        if csv && quote == delimiter {
            return Err(invalid("COPY delimiter and quote must be different"));
        }
        Ok((quote, one("escape", self.escape, quote)?))
    }

    fn check_force(&self, csv: bool, is_from: bool) -> Result<()> {
        let checks = [
            ("force quote", self.force_quote.is_some(), !is_from, "TO"),
            ("force not null", self.force_not_null.is_some(), is_from, "FROM"),
            ("force null", self.force_null.is_some(), is_from, "FROM"),
        ];
        for (name, is_given, direction_fits, direction) in checks {
            if is_given && !csv {
                return Err(refused(format!("COPY {name} available only in CSV mode")));
            }
            if is_given && !direction_fits {
                return Err(refused(format!("COPY {name} only available using COPY {direction}")));
            }
        }
        Ok(())
    }
}

fn check_delimiter(delimiter: &str, null: &str, csv: bool) -> Result<u8> {
    let [byte] = *delimiter.as_bytes() else {
        return Err(refused("COPY delimiter must be a single one-byte character"));
    };
    if matches!(byte, b'\r' | b'\n') {
        return Err(invalid("COPY delimiter cannot be newline or carriage return"));
    }
    if null.contains(['\r', '\n']) {
        return Err(invalid("COPY null representation cannot use newline or carriage return"));
    }
    // These could not be told from an escape sequence or the end marker.
    if !csv && (matches!(byte, b'\\' | b'.') || byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return Err(invalid(format!("COPY delimiter cannot be \"{delimiter}\"")));
    }
    Ok(byte)
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(syntax("conflicting or redundant options")),
    }
}

fn required<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str> {
    value.ok_or_else(|| syntax(format!("{name} requires a parameter")))
}

fn kind(value: &str) -> Result<CopyKind> {
    match value {
        "text" => Ok(CopyKind::Text),
        "csv" => Ok(CopyKind::Csv),
        "binary" => Ok(CopyKind::Binary),
        _ => Err(invalid(format!("COPY format \"{value}\" not recognized"))),
    }
}

fn boolean(name: &str, value: Option<&str>) -> Result<bool> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("true" | "on" | "1") => Ok(true),
        Some("false" | "off" | "0") => Ok(false),
        Some(_) => Err(syntax(format!("{name} requires a Boolean value"))),
    }
}

fn header(value: Option<&str>, is_from: bool) -> Result<CopyHeader> {
    if value.is_some_and(|v| v.eq_ignore_ascii_case("match")) {
        return match is_from {
            true => Ok(CopyHeader::Match),
            false => Err(refused("cannot use \"match\" with HEADER in COPY TO")),
        };
    }
    match boolean("header", value) {
        Ok(true) => Ok(CopyHeader::Present),
        Ok(false) => Ok(CopyHeader::None),
        Err(_) => Err(syntax("header requires a Boolean value or \"match\"")),
    }
}

/// Data is UTF-8. PostgreSQL's other encodings are refused by name, what is none by its error.
fn encoding(name: &str) -> Result<()> {
    const OTHERS: [&str; 12] =
        ["latin", "iso8859", "win", "windows", "koi8", "euc", "sjis", "shiftjis", "big5", "gbk", "gb18030", "uhc"];
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    match plain.as_str() {
        "utf8" | "unicode" | "sqlascii" => Ok(()),
        _ if OTHERS.iter().any(|other| plain.starts_with(other)) => {
            Err(SqlError::unsupported(format!("COPY encoding \"{name}\"")))
        }
        _ => Err(invalid("argument to option \"encoding\" must be a valid encoding name")),
    }
}

fn column_list(name: &str, value: Option<&str>, all_allowed: bool) -> Result<Columns> {
    match value.map(str::trim) {
        Some("*") if all_allowed => Ok(Columns::All),
        None | Some("" | "*") => Err(invalid(format!("argument to option \"{name}\" must be a list of column names"))),
        Some(list) => Ok(Columns::Listed(split_names(list))),
    }
}

/// The names of a list; double quotes hold commas, and `""` is a double quote.
fn split_names(list: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let (mut quoted, mut last) = (false, 0);
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => names[last].extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => {
                names.push(String::new());
                last += 1;
            }
            c if c.is_whitespace() && !quoted => {}
            c => names[last].push(c),
        }
    }
    names
}

fn positions(option: &str, list: Option<Columns>, columns: &[Column]) -> Result<Vec<usize>> {
    match list {
        None => Ok(Vec::new()),
        Some(Columns::All) => Ok((0..columns.len()).collect()),
        Some(Columns::Listed(names)) => names
            .iter()
            .map(|name| {
                columns.iter().position(|c| c.name == *name).ok_or_else(|| {
                    SqlError::new(
                        SqlState::INVALID_COLUMN_REFERENCE,
                        format!("{option} column \"{name}\" not referenced by COPY"),
                    )
                })
            })
            .collect(),
    }
}

fn syntax(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, message)
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn refused(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

#[cfg(test)]
mod tests {
    use kalamdb_catalog::PgType;

    use super::*;

    fn columns() -> Vec<Column> {
        ["a", "b c"]
            .map(|name| Column { name: name.into(), ty: PgType::TEXT, typmod: -1, table: 0, attribute: 0 })
            .into()
    }

    fn check(options: &[(&str, &str)], is_from: bool) -> String {
        let options: Vec<_> = options.iter().map(|(n, v)| (n.to_string(), Some(v.to_string()))).collect();
        match parse_copy_options(&options, &columns(), is_from) {
            Ok(f) => format!("{:?} {} {:?} {:?}", f.kind, f.delimiter as char, f.null, f.force_quote),
            Err(e) => format!("{} {}", e.code(), e.message()),
        }
    }

    #[test]
    #[allow(clippy::type_complexity)]
    fn errors_are_postgresqls() {
        let cases: &[(&[(&str, &str)], bool, &str)] = &[
            (&[], true, "Text \t \"\\\\N\" []"),
            (&[("format", "csv"), ("force_quote", "\"b c\", a")], false, "Csv , \"\" [1, 0]"),
            (&[("format", "csv"), ("force_quote", "*")], false, "Csv , \"\" [0, 1]"),
            (&[("format", "xml")], true, "22023 COPY format \"xml\" not recognized"),
            (&[("format", "csv"), ("format", "csv")], true, "42601 conflicting or redundant options"),
            (&[("nope", "1")], true, "42601 option \"nope\" not recognized"),
            (&[("format", "binary"), ("delimiter", ",")], true, "42601 cannot specify DELIMITER in BINARY mode"),
            (&[("format", "binary"), ("null", "")], true, "42601 cannot specify NULL in BINARY mode"),
            (&[("format", "binary"), ("header", "on")], true, "0A000 cannot specify HEADER in BINARY mode"),
            (&[("delimiter", "ab")], true, "0A000 COPY delimiter must be a single one-byte character"),
            (&[("delimiter", "\n")], true, "22023 COPY delimiter cannot be newline or carriage return"),
            (&[("delimiter", "x")], true, "22023 COPY delimiter cannot be \"x\""),
            (&[("null", "\n")], true, "22023 COPY null representation cannot use newline or carriage return"),
            (
                &[("delimiter", ","), ("null", "a,b")],
                true,
                "0A000 COPY delimiter must not appear in the NULL specification",
            ),
            (
                &[("format", "csv"), ("null", "\"")],
                true,
                "0A000 CSV quote character must not appear in the NULL specification",
            ),
            (&[("quote", "'")], true, "0A000 COPY quote available only in CSV mode"),
            (&[("format", "csv"), ("quote", "''")], true, "0A000 COPY quote must be a single one-byte character"),
            (&[("format", "csv"), ("quote", ",")], true, "22023 COPY delimiter and quote must be different"),
            (&[("format", "csv"), ("escape", "''")], true, "0A000 COPY escape must be a single one-byte character"),
            (&[("force_quote", "a")], false, "0A000 COPY force quote available only in CSV mode"),
            (&[("format", "csv"), ("force_quote", "a")], true, "0A000 COPY force quote only available using COPY TO"),
            (&[("format", "csv"), ("force_null", "a")], false, "0A000 COPY force null only available using COPY FROM"),
            (&[("format", "csv"), ("force_null", "z")], true, "42P10 FORCE_NULL column \"z\" not referenced by COPY"),
            (
                &[("format", "csv"), ("force_null", "*")],
                true,
                "22023 argument to option \"force_null\" must be a list of column names",
            ),
            (&[("encoding", "xx")], true, "22023 argument to option \"encoding\" must be a valid encoding name"),
            (&[("encoding", "LATIN1")], true, "0A000 COPY encoding \"LATIN1\" is not supported"),
            (&[("header", "maybe")], true, "42601 header requires a Boolean value or \"match\""),
            (&[("header", "match")], false, "0A000 cannot use \"match\" with HEADER in COPY TO"),
        ];
        for (options, is_from, expect) in cases {
            assert_eq!(check(options, *is_from), *expect, "{options:?}");
        }
    }
}
