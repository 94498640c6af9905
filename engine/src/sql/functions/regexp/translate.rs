//! PostgreSQL's advanced regular expressions (manual, section 9.7.3) rewritten for the `regex` crate.
//!
//! What that engine cannot do (back-references, lookaround) is refused. Two differences of meaning are closed here:
//! PostgreSQL gives a whole expression the greediness of its first quantifier, and among alternatives it takes the
//! longest, not the first: alternatives that are plain strings are therefore tried longest first.

use kalamdb_catalog::{Result, SqlError, SqlState};

/// PostgreSQL's DUPMAX.
const REPEAT_MAX: u32 = 255;
/// Nested parentheses; the `regex` crate has a limit of its own below.
const DEPTH_MAX: usize = 200;

/// The flag letters of the functions and of `(?...)`.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Flags {
    pub(super) global: bool,
    pub(super) ignore_case: bool,
    /// `.` and bracket negations do not match a newline.
    pub(super) newline_stop: bool,
    /// `^` and `$` match at lines.
    pub(super) newline_anchor: bool,
    pub(super) expanded: bool,
    pub(super) literal: bool,
}

impl Flags {
    /// Applies one letter; false if there is no such letter.
    pub(super) fn set(&mut self, letter: char) -> bool {
        match letter {
            'g' => self.global = true,
            'i' => self.ignore_case = true,
            'c' => self.ignore_case = false,
            'm' | 'n' => (self.newline_stop, self.newline_anchor) = (true, true),
            's' => (self.newline_stop, self.newline_anchor) = (false, false),
            'p' => (self.newline_stop, self.newline_anchor) = (true, false),
            'w' => (self.newline_stop, self.newline_anchor) = (false, true),
            'x' => self.expanded = true,
            't' => self.expanded = false,
            'q' => self.literal = true,
            'b' | 'e' => {}
            _ => return false,
        }
        true
    }
}

pub(super) fn invalid(what: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {what}"))
}

/// The pattern in the `regex` crate's syntax, and the flags after the pattern's own options.
pub(super) fn translate(pattern: &str, flags: Flags) -> Result<(String, Flags)> {
    let (body, flags) = options(pattern, flags)?;
    if flags.literal {
        return Ok((regex::escape(body), flags));
    }
    let mut first = Translator::new(body, flags, None);
    let text = first.whole()?;
    if !(first.greedy_seen && first.lazy_seen) {
        return Ok((text, flags));
    }
    // With alternatives at the top the whole is greedy.
    let lazy = first.first_lazy.unwrap_or(false) && !first.top_alternation;
    Ok((Translator::new(body, flags, Some(lazy)).whole()?, flags))
}

/// Reads the director `***` and the embedded options `(?xyz)`.
fn options(pattern: &str, mut flags: Flags) -> Result<(&str, Flags)> {
    let mut body = pattern;
    if let Some(literal) = body.strip_prefix("***=") {
        flags.literal = true;
        return Ok((literal, flags));
    }
    if let Some(rest) = body.strip_prefix("***:") {
        body = rest;
    } else if body.starts_with("***") {
        return Err(invalid("invalid regexp (reg version 0.8)"));
    }
    let letters = body.strip_prefix("(?").filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
    if let Some(rest) = letters {
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        if !rest[..end].chars().all(|c| c != 'g' && flags.set(c)) || !rest[end..].starts_with(')') {
            return Err(invalid("invalid embedded option"));
        }
        body = &rest[end + 1..];
    }
    Ok((body, flags))
}

/// What the last atom was, for the quantifier after it.
#[derive(Clone, Copy, PartialEq)]
enum Atom {
    None,
    /// A literal character.
    Char,
    Other,
    /// `^`, `$`, `\b` ...: no quantifier may follow.
    Constraint,
    Quantified,
}

struct Translator<'a> {
    rest: std::str::Chars<'a>,
    flags: Flags,
    force_lazy: Option<bool>,
    greedy_seen: bool,
    lazy_seen: bool,
    first_lazy: Option<bool>,
    top_alternation: bool,
}

impl<'a> Translator<'a> {
    fn new(body: &'a str, flags: Flags, force_lazy: Option<bool>) -> Self {
        Translator {
            rest: body.chars(),
            flags,
            force_lazy,
            greedy_seen: false,
            lazy_seen: false,
            first_lazy: None,
            top_alternation: false,
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let hit = self.peek() == Some(c);
        if hit {
            self.rest.next();
        }
        hit
    }

    fn whole(&mut self) -> Result<String> {
        let out = self.alternatives(0)?;
        if self.peek().is_some() {
            return Err(invalid("parentheses () not balanced"));
        }
        Ok(out)
    }

    fn alternatives(&mut self, depth: usize) -> Result<String> {
        if depth > DEPTH_MAX {
            return Err(invalid("regular expression is too complex"));
        }
        let mut branches = vec![self.branch(depth)?];
        while self.eat('|') {
            self.top_alternation |= depth == 0;
            branches.push(self.branch(depth)?);
        }
        if branches.iter().all(|(_, plain)| plain.is_some()) {
            branches.sort_by_key(|(_, plain)| std::cmp::Reverse(*plain));
        }
        let texts: Vec<String> = branches.into_iter().map(|(text, _)| text).collect();
        Ok(texts.join("|"))
    }

    /// One branch, and its length if it is a plain string.
    fn branch(&mut self, depth: usize) -> Result<(String, Option<usize>)> {
        let mut out = String::new();
        let mut plain = Some(0);
        let mut last = Atom::None;
        while let Some(c) = self.peek() {
            if matches!(c, '|' | ')') {
                break;
            }
            self.rest.next();
            if self.flags.expanded && self.skip_expanded(c) {
                continue;
            }
            let bound = c == '{' && self.peek().is_some_and(|d| d.is_ascii_digit());
            if matches!(c, '*' | '+' | '?') || bound {
                if !matches!(last, Atom::Char | Atom::Other) {
                    return Err(invalid("quantifier operand invalid"));
                }
                self.quantifier(c, &mut out)?;
                last = Atom::Quantified;
                plain = None;
                continue;
            }
            last = self.atom(c, depth, &mut out)?;
            plain = plain.filter(|_| last == Atom::Char).map(|n| n + 1);
        }
        Ok((out, plain))
    }

    /// In expanded syntax: blanks and comments.
    fn skip_expanded(&mut self, c: char) -> bool {
        if c == '#' {
            self.rest.by_ref().find(|c| *c == '\n');
            return true;
        }
        c.is_whitespace()
    }

    fn atom(&mut self, c: char, depth: usize, out: &mut String) -> Result<Atom> {
        match c {
            '^' => out.push_str(if self.flags.newline_anchor { "(?m:^)" } else { "\\A" }),
            '$' => out.push_str(if self.flags.newline_anchor { "(?m:$)" } else { "\\z" }),
            '.' => {
                out.push_str(if self.flags.newline_stop { "[^\\n]" } else { "(?s:.)" });
                return Ok(Atom::Other);
            }
            '(' => return self.group(depth, out),
            '[' => return self.bracket(out),
            '\\' => return self.escape(out),
            c => {
                push_literal(c, out);
                return Ok(Atom::Char);
            }
        }
        Ok(Atom::Constraint)
    }

    fn group(&mut self, depth: usize, out: &mut String) -> Result<Atom> {
        if self.eat('?') {
            match self.rest.next() {
                Some(':') => out.push_str("(?:"),
                Some('#') => {
                    if !self.rest.by_ref().any(|c| c == ')') {
                        return Err(invalid("parentheses () not balanced"));
                    }
                    return Ok(Atom::None);
                }
                Some('=' | '!' | '<') => {
                    return Err(SqlError::unsupported("lookaround in regular expressions"));
                }
                _ => return Err(invalid("quantifier operand invalid")),
            }
        } else {
            out.push('(');
        }
        out.push_str(&self.alternatives(depth + 1)?);
        if !self.eat(')') {
            return Err(invalid("parentheses () not balanced"));
        }
        out.push(')');
        Ok(Atom::Other)
    }

    fn quantifier(&mut self, c: char, out: &mut String) -> Result<()> {
        let mut fixed = false;
        match c {
            '{' => {
                let low = self.repeat_count()?;
                let mut high = Some(low);
                if self.eat(',') {
                    high =
                        if self.peek().is_some_and(|d| d.is_ascii_digit()) { Some(self.repeat_count()?) } else { None };
                } else {
                    fixed = true;
                }
                if !self.eat('}') {
                    return Err(invalid("braces {} not balanced"));
                }
                if high.is_some_and(|h| h < low) {
                    return Err(invalid("invalid repetition count(s)"));
                }
                let high = high.map_or(String::new(), |h| h.to_string());
                out.push_str(&format!("{{{low},{high}}}"));
            }
            c => out.push(c),
        }
        let lazy = self.eat('?');
        if fixed {
            return Ok(());
        }
        self.first_lazy.get_or_insert(lazy);
        self.lazy_seen |= lazy;
        self.greedy_seen |= !lazy;
        if self.force_lazy.unwrap_or(lazy) {
            out.push('?');
        }
        Ok(())
    }

    fn repeat_count(&mut self) -> Result<u32> {
        let mut value = 0u32;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.rest.next();
            value = value * 10 + digit;
            if value > REPEAT_MAX {
                return Err(invalid("invalid repetition count(s)"));
            }
        }
        Ok(value)
    }

    /// After a backslash outside brackets.
    fn escape(&mut self, out: &mut String) -> Result<Atom> {
        let Some(c) = self.rest.next() else { return Err(invalid("invalid escape \\ sequence")) };
        let constraint = match c {
            'm' => "\\b{start}",
            'M' => "\\b{end}",
            'y' => "\\b",
            'Y' => "\\B",
            'A' => "\\A",
            'Z' => "\\z",
            _ => "",
        };
        if !constraint.is_empty() {
            out.push_str(constraint);
            return Ok(Atom::Constraint);
        }
        if let Some(class) = class_escape(c) {
            out.push_str(&format!("[{class}]"));
            return Ok(Atom::Other);
        }
        if let Some(digit @ 1..=9) = c.to_digit(10) {
            return if digit < 10 && !self.peek().is_some_and(|d| d.is_ascii_digit()) {
                Err(SqlError::unsupported("a back-reference in a regular expression"))
            } else {
                Err(invalid("invalid backreference number"))
            };
        }
        push_literal(self.char_escape(c)?, out);
        Ok(Atom::Char)
    }

    /// The character that an escape stands for.
    fn char_escape(&mut self, c: char) -> Result<char> {
        Ok(match c {
            'a' => '\x07',
            'b' => '\x08',
            'B' => '\\',
            'c' => match self.rest.next() {
                Some(control) => char::from((control as u32 & 31) as u8),
                None => return Err(invalid("invalid escape \\ sequence")),
            },
            'e' => '\x1b',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'u' => self.code(16, 4, 4)?,
            'U' => self.code(16, 8, 8)?,
            'x' => self.code(16, 1, 8)?,
            '0' => self.code(8, 0, 2)?,
            c if c.is_alphanumeric() => return Err(invalid("invalid escape \\ sequence")),
            c => c,
        })
    }

    fn code(&mut self, radix: u32, min: usize, max: usize) -> Result<char> {
        let mut value = 0u32;
        let mut digits = 0;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(radix)).filter(|_| digits < max) {
            self.rest.next();
            value = value.wrapping_mul(radix).wrapping_add(digit);
            digits += 1;
        }
        char::from_u32(value).filter(|_| digits >= min).ok_or_else(|| invalid("invalid escape \\ sequence"))
    }

    fn bracket(&mut self, out: &mut String) -> Result<Atom> {
        for (text, to) in [("[:<:]]", "\\b{start}"), ("[:>:]]", "\\b{end}")] {
            if let Some(rest) = self.rest.as_str().strip_prefix(text) {
                self.rest = rest.chars();
                out.push_str(to);
                return Ok(Atom::Constraint);
            }
        }
        let negated = self.eat('^');
        out.push_str(if negated { "[^" } else { "[" });
        if negated && self.flags.newline_stop {
            out.push_str("\\n");
        }
        let mut first = true;
        loop {
            let Some(c) = self.rest.next() else { return Err(invalid("brackets [] not balanced")) };
            if c == ']' && !first {
                break;
            }
            first = false;
            let Some(low) = self.bracket_item(c, out)? else { continue };
            let range = self.rest.as_str();
            if !range.starts_with('-') || range.starts_with("-]") {
                push_class(low, out);
                continue;
            }
            self.rest.next();
            let Some(c) = self.rest.next() else { return Err(invalid("brackets [] not balanced")) };
            let mut class = String::new();
            let high = self.bracket_item(c, &mut class)?.filter(|high| *high >= low);
            let high = high.ok_or_else(|| invalid("invalid character range"))?;
            push_class(low, out);
            out.push('-');
            push_class(high, out);
        }
        out.push(']');
        Ok(Atom::Other)
    }

    /// One character of a bracket expression; classes are written to `out` instead.
    fn bracket_item(&mut self, c: char, out: &mut String) -> Result<Option<char>> {
        match (c, self.peek()) {
            ('[', Some(kind @ (':' | '.' | '='))) => {
                self.rest.next();
                let close = format!("{kind}]");
                let Some((name, rest)) = self.rest.as_str().split_once(close.as_str()) else {
                    return Err(invalid("brackets [] not balanced"));
                };
                self.rest = rest.chars();
                if kind == ':' {
                    out.push_str(named_class(name).ok_or_else(|| invalid("invalid character class"))?);
                    return Ok(None);
                }
                let mut chars = name.chars();
                match (chars.next(), chars.next()) {
                    (Some(single), None) => Ok(Some(single)),
                    _ => Err(invalid("invalid collating element")),
                }
            }
            ('\\', _) => {
                let Some(c) = self.rest.next() else { return Err(invalid("invalid escape \\ sequence")) };
                if let Some(class) = class_escape(c) {
                    out.push_str(class);
                    return Ok(None);
                }
                self.char_escape(c).map(Some)
            }
            _ => Ok(Some(c)),
        }
    }
}

/// The content of a bracket expression for `\d` and relatives; digits are ASCII, as in the C library's C.UTF-8.
fn class_escape(c: char) -> Option<&'static str> {
    Some(match c {
        'd' => "0-9",
        's' => "\\s",
        'w' => "\\w",
        'D' => "[^0-9]",
        'S' => "\\S",
        'W' => "\\W",
        _ => return None,
    })
}

fn named_class(name: &str) -> Option<&'static str> {
    Some(match name {
        "alpha" => "\\p{Alphabetic}",
        "alnum" => "\\p{Alphabetic}\\p{N}",
        "digit" => "0-9",
        "upper" => "\\p{Uppercase}",
        "lower" => "\\p{Lowercase}",
        "space" => "\\s",
        "blank" => " \\t",
        "punct" => "[:punct:]\\p{P}\\p{S}",
        "cntrl" => "\\p{Cc}",
        "xdigit" => "0-9A-Fa-f",
        "graph" => "[^\\p{Cc}\\p{Cn}\\s]",
        "print" => "[^\\p{Cc}\\p{Cn}]",
        "ascii" => "\\x00-\\x7F",
        "word" => "\\w",
        _ => return None,
    })
}

fn push_literal(c: char, out: &mut String) {
    if regex_syntax_char(c) {
        out.push('\\');
    }
    out.push(c);
}

fn regex_syntax_char(c: char) -> bool {
    matches!(
        c,
        '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' | '#' | '&' | '-' | '~'
    )
}

fn push_class(c: char, out: &mut String) {
    push_literal(c, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites() {
        let cases = [
            (r"^a.b$", r"\Aa(?s:.)b\z"),
            (r"\mfoo\M", r"\b{start}foo\b{end}"),
            (r"[[:alpha:]_\d-]", r"[\p{Alphabetic}_0-9\-]"),
            (r"[^]a&&b]", r"[^\]a\&\&b]"),
            (r"a{,2}{3", "a\\{,2\\}{3"),
            (r"Y*?([0-9]{1,3})", r"Y*?([0-9]{1,3}?)"),
            (r"a+.*?b", r"a+(?s:.)*b"),
            (r"foo|foobar", r"foobar|foo"),
            (r"\u00e9\x41\.", r"éA\."),
        ];
        for (pattern, expect) in cases {
            let got = translate(pattern, Flags::default());
            match got {
                Ok((text, _)) => assert_eq!(text, expect, "{pattern}"),
                Err(e) => assert_eq!(e.message(), "invalid regular expression: braces {} not balanced", "{pattern}"),
            }
        }
    }

    #[test]
    fn errors_are_postgresqls() {
        let cases = [
            ("a**", "quantifier operand invalid"),
            ("(*a)", "quantifier operand invalid"),
            ("a|*b", "quantifier operand invalid"),
            ("^*", "quantifier operand invalid"),
            ("(a", "parentheses () not balanced"),
            ("a)", "parentheses () not balanced"),
            ("[a", "brackets [] not balanced"),
            ("a{1,2", "braces {} not balanced"),
            ("a{2,1}", "invalid repetition count(s)"),
            ("a{256}", "invalid repetition count(s)"),
            ("\\", "invalid escape \\ sequence"),
            ("\\q", "invalid escape \\ sequence"),
            ("[[:foo:]]", "invalid character class"),
            ("[b-a]", "invalid character range"),
            ("(?q", "invalid embedded option"),
            ("[[.ab.]]", "invalid collating element"),
        ];
        for (pattern, what) in cases {
            let message = translate(pattern, Flags::default()).unwrap_err().message().to_owned();
            assert_eq!(message, format!("invalid regular expression: {what}"), "{pattern}");
        }
    }
}
