//! Compiled patterns, kept while rows repeat them, and the walk over matches with PostgreSQL's rules.

use kalamdb_catalog::{Result, SqlError, SqlState};
use regex::{Captures, Regex, RegexBuilder};

use super::translate::{Flags, invalid, translate};

/// The last pattern and flags compiled: nearly always those of all rows.
#[derive(Default)]
pub(super) struct Cache {
    last: Option<(String, Flags, Regex)>,
}

impl Cache {
    pub(super) fn get(&mut self, pattern: &str, flags: Flags) -> Result<&Regex> {
        let known = matches!(&self.last, Some((text, f, _)) if text == pattern && *f == flags);
        if !known {
            self.last = Some((pattern.to_owned(), flags, compile(pattern, flags)?));
        }
        match &self.last {
            Some((_, _, regex)) => Ok(regex),
            None => Err(SqlError::internal("a compiled pattern is gone")),
        }
    }
}

fn compile(pattern: &str, flags: Flags) -> Result<Regex> {
    let (text, flags) = translate(pattern, flags)?;
    RegexBuilder::new(&text).case_insensitive(flags.ignore_case).build().map_err(|e| match e {
        regex::Error::CompiledTooBig(_) => invalid("regular expression is too complex"),
        other => invalid(&other.to_string()),
    })
}

/// Reads the flags argument of a function; `g` is refused where `function` names one without it.
pub(super) fn parse_flags(text: &str, no_global: Option<&str>) -> Result<Flags> {
    let mut flags = Flags::default();
    for c in text.chars() {
        if !flags.set(c) {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid regular expression option: \"{c}\""),
            ));
        }
    }
    match no_global {
        Some(function) if flags.global => {
            let error = SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("{function} does not support the \"global\" option"),
            );
            let hint = "Use the regexp_matches function instead.";
            Err(if function == "regexp_match()" { error.hint(hint) } else { error })
        }
        _ => Ok(flags),
    }
}

/// Matches from byte `from` on; after an empty match the next search starts one character further.
pub(super) struct Matches<'r, 't> {
    regex: &'r Regex,
    text: &'t str,
    from: Option<usize>,
}

impl<'r, 't> Matches<'r, 't> {
    pub(super) fn new(regex: &'r Regex, text: &'t str, from: usize) -> Self {
        Matches { regex, text, from: Some(from) }
    }
}

impl<'t> Iterator for Matches<'_, 't> {
    type Item = Captures<'t>;

    fn next(&mut self) -> Option<Captures<'t>> {
        let from = self.from?;
        let found = self.regex.captures_at(self.text, from)?;
        let span = found.get_match();
        self.from = if !span.is_empty() {
            Some(span.end())
        } else {
            self.text[span.end()..].chars().next().map(|c| span.end() + c.len_utf8())
        };
        Some(found)
    }
}

/// Appends `replacement` with `\1`..`\9`, `\&` and `\\` filled in.
pub(super) fn expand(replacement: &str, found: &Captures<'_>, out: &mut String) {
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let mut tail = rest[at + 1..].chars();
        match tail.next() {
            Some(c @ '1'..='9') => {
                out.push_str(found.get(c as usize - '0' as usize).map_or("", |m| m.as_str()));
            }
            Some('&') => out.push_str(found.get_match().as_str()),
            Some('\\') => out.push('\\'),
            _ => {
                out.push('\\');
                tail = rest[at + 1..].chars();
            }
        }
        rest = tail.as_str();
    }
    out.push_str(rest);
}
