//! LIKE, ILIKE and the pattern translations behind ESCAPE and SIMILAR TO.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::strings::lower;

/// `text LIKE pattern`, case-insensitive and negated on demand. The compiled pattern is kept while rows repeat it.
pub(super) fn like(args: &[ArrayRef], fold: bool, negate: bool) -> Result<ArrayRef> {
    let (text, patterns) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let mut out = BooleanBuilder::with_capacity(text.len());
    let mut compiled: Option<(&str, Pattern)> = None;
    for i in 0..text.len() {
        if text.is_null(i) || patterns.is_null(i) {
            out.append_null();
            continue;
        }
        let source = patterns.value(i);
        if compiled.as_ref().is_none_or(|(known, _)| *known != source) {
            let pattern = if fold { Pattern::new(&lower(source)) } else { Pattern::new(source) };
            compiled = Some((source, pattern));
        }
        let Some((_, pattern)) = &compiled else { continue };
        let matched = if fold { pattern.matches(&lower(text.value(i)))? } else { pattern.matches(text.value(i))? };
        out.append_value(matched != negate);
    }
    Ok(Arc::new(out.finish()))
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Item {
    Char(char),
    /// `_`
    One,
    /// `%`
    Many,
    /// A backslash at the end: an error once the match gets there.
    Dangling,
}

/// A LIKE pattern; the frequent shapes are plain string searches.
enum Pattern {
    Equal(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    General(Vec<Item>),
}

impl Pattern {
    fn new(source: &str) -> Pattern {
        let mut items = Vec::new();
        let mut chars = source.chars();
        while let Some(c) = chars.next() {
            items.push(match c {
                '%' if items.last() == Some(&Item::Many) => continue,
                '%' => Item::Many,
                '_' => Item::One,
                '\\' => chars.next().map_or(Item::Dangling, Item::Char),
                c => Item::Char(c),
            });
        }
        let literal = |items: &[Item]| -> Option<String> {
            items.iter().map(|item| if let Item::Char(c) = item { Some(*c) } else { None }).collect()
        };
        let shape = match items.as_slice() {
            [Item::Many, middle @ .., Item::Many] => literal(middle).map(Pattern::Contains),
            [Item::Many, tail @ ..] => literal(tail).map(Pattern::Suffix),
            [head @ .., Item::Many] => literal(head).map(Pattern::Prefix),
            all => literal(all).map(Pattern::Equal),
        };
        shape.unwrap_or(Pattern::General(items))
    }

    fn matches(&self, text: &str) -> Result<bool> {
        Ok(match self {
            Pattern::Equal(s) => text == s,
            Pattern::Prefix(s) => text.starts_with(s.as_str()),
            Pattern::Suffix(s) => text.ends_with(s.as_str()),
            Pattern::Contains(s) => text.contains(s.as_str()),
            Pattern::General(items) => return matches_items(items, text),
        })
    }
}

/// Greedy match that goes back to the last `%` only: no earlier one needs to be tried again.
fn matches_items(items: &[Item], text: &str) -> Result<bool> {
    let mut at = 0;
    let mut rest = text;
    let mut retry: Option<(usize, &str)> = None;
    loop {
        let mut chars = rest.chars();
        let next = chars.next();
        let ok = match (items.get(at), next) {
            (Some(Item::Many), _) => {
                at += 1;
                retry = Some((at, rest));
                continue;
            }
            (None, None) => return Ok(true),
            (Some(Item::Dangling), Some(_)) => {
                return Err(SqlError::new(
                    SqlState::INVALID_ESCAPE_SEQUENCE,
                    "LIKE pattern must not end with escape character",
                ));
            }
            (Some(Item::One), Some(_)) => true,
            (Some(Item::Char(c)), Some(t)) => *c == t,
            (_, None) => return Ok(false),
            (None, Some(_)) => false,
        };
        if ok {
            at += 1;
            rest = chars.as_str();
            continue;
        }
        let Some((after, from)) = retry else { return Ok(false) };
        let mut skipped = from.chars();
        if skipped.next().is_none() {
            return Ok(false);
        }
        rest = skipped.as_str();
        at = after;
        retry = Some((after, rest));
    }
}

/// The escape character of an ESCAPE clause; none if the string is empty.
fn escape_char(escape: &str) -> Result<Option<char>> {
    let mut chars = escape.chars();
    let first = chars.next();
    if chars.next().is_some() {
        return Err(SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
            .hint("Escape string must be empty or one character."));
    }
    Ok(first)
}

/// The pattern with another escape character rewritten to one with backslashes.
pub(super) fn like_escape(pattern: &str, escape: &str) -> Result<String> {
    let escape = escape_char(escape)?;
    if escape == Some('\\') {
        return Ok(pattern.to_owned());
    }
    let mut out = String::with_capacity(pattern.len());
    let mut escaped = false;
    for c in pattern.chars() {
        if Some(c) == escape && !escaped {
            out.push('\\');
            escaped = true;
            continue;
        }
        if c == '\\' && !escaped {
            out.push('\\');
        }
        out.push(c);
        escaped = false;
    }
    Ok(out)
}

/// A SIMILAR TO pattern as a POSIX regular expression.
pub(crate) fn similar_to_escape(pattern: &str, escape: &str) -> Result<String> {
    let escape = escape_char(escape)?;
    let mut out = String::from("^(?:");
    let (mut escaped, mut class, mut quotes) = (false, false, 0);
    for c in pattern.chars() {
        match c {
            '"' if escaped && !class => {
                out.push_str(match quotes {
                    0 => "){1,1}?(",
                    1 => "){1,1}(?:",
                    _ => {
                        return Err(SqlError::new(
                            SqlState("2200C"),
                            "SQL regular expression may not contain more than two escape-double-quote separators",
                        ));
                    }
                });
                quotes += 1;
                escaped = false;
            }
            c if escaped => {
                out.push('\\');
                out.push(c);
                escaped = false;
            }
            c if Some(c) == escape => escaped = true,
            c if class => {
                if c == '\\' {
                    out.push('\\');
                }
                out.push(c);
                class = c != ']';
            }
            '[' => {
                out.push('[');
                class = true;
            }
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            '\\' | '.' | '^' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push_str(")$");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_patterns() {
        let cases = [
            ("abc", "abc", true),
            ("abc", "a%", true),
            ("abc", "_b_", true),
            ("abc", "c", false),
            ("äbc", "_bc", true),
            ("abc", "%b%", true),
            ("aXbXc", "a%X%c", true),
            ("aXbXd", "a%X%c", false),
            ("a%c", "a\\%c", true),
            ("abc", "a\\%c", false),
            ("", "%", true),
            ("abcabd", "%ab_", true),
            ("b", "a\\", false),
        ];
        for (text, pattern, expect) in cases {
            assert_eq!(Pattern::new(pattern).matches(text).unwrap(), expect, "{text} LIKE {pattern}");
        }
        assert_eq!(Pattern::new("a\\").matches("ab").unwrap_err().code().0, "22025");
    }

    #[test]
    fn translations() {
        assert_eq!(like_escape("10#%\\_", "#").unwrap(), "10\\%\\\\_");
        assert_eq!(like_escape("a\\%", "").unwrap(), "a\\\\%");
        assert_eq!(similar_to_escape("%(b|d)_[a\\]", "#").unwrap(), "^(?:.*(?:b|d).[a\\\\])$");
        assert_eq!(similar_to_escape("a#\"b#\"c", "#").unwrap(), "^(?:a){1,1}?(b){1,1}(?:c)$");
        assert_eq!(like_escape("a", "xy").unwrap_err().message(), "invalid escape string");
    }
}
