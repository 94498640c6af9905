//! The JSON parser: PostgreSQL's grammar, its errors with DETAIL and CONTEXT, numbers kept as text.
//!
//! It keeps its own stack, so that depth costs no machine stack; the depth is bounded all the same because trees are
//! walked and dropped recursively.

use std::borrow::Cow;

use kalamdb_catalog::{Result, SqlError, SqlState};

use super::tree::{Json, normalize};
use crate::types::Numeric;

/// Nesting beyond this is `54001`, as PostgreSQL's stack limit is at some depth.
const DEPTH_MAX: usize = 1000;
/// Bytes of the input that an error's CONTEXT shows.
const CONTEXT_MAX: usize = 50;
/// Longer numbers are checked against numeric's range.
const PLAIN_NUMBER_MAX: usize = 1000;

/// Checks that `text` is JSON: the input function of json.
pub fn validate(text: &str) -> Result<()> {
    Parser::new(text, false).run(&mut Nothing)
}

/// Reads a value; object members keep order and duplicates.
pub fn parse(text: &str) -> Result<Json> {
    let mut tree = Tree { open: Vec::new(), done: Json::Null };
    Parser::new(text, true).run(&mut tree)?;
    Ok(tree.done)
}

/// The canonical text: the input function of jsonb.
pub fn canonical(text: &str) -> Result<String> {
    let mut tree = parse(text)?;
    normalize(&mut tree);
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    tree.write(&mut out);
    Ok(out)
}

enum Token<'a> {
    Str(Cow<'a, str>),
    Num(&'a str),
    True,
    False,
    Null,
    Punct(u8),
    End,
}

/// Receives what the parser reads.
trait Sink {
    fn open(&mut self, object: bool);
    fn key(&mut self, key: Cow<'_, str>);
    fn scalar(&mut self, token: Token<'_>) -> Result<()>;
    fn close(&mut self);
}

struct Nothing;

impl Sink for Nothing {
    fn open(&mut self, _: bool) {}
    fn key(&mut self, _: Cow<'_, str>) {}
    fn scalar(&mut self, _: Token<'_>) -> Result<()> {
        Ok(())
    }
    fn close(&mut self) {}
}

struct Tree {
    open: Vec<(Json, String)>,
    done: Json,
}

impl Tree {
    fn put(&mut self, value: Json) {
        match self.open.last_mut() {
            Some((Json::Array(items), _)) => items.push(value),
            Some((Json::Object(members), key)) => members.push((std::mem::take(key), value)),
            _ => self.done = value,
        }
    }
}

impl Sink for Tree {
    fn open(&mut self, object: bool) {
        let empty = if object { Json::Object(Vec::new()) } else { Json::Array(Vec::new()) };
        self.open.push((empty, String::new()));
    }

    fn key(&mut self, key: Cow<'_, str>) {
        if let Some((_, slot)) = self.open.last_mut() {
            *slot = key.into_owned();
        }
    }

    fn scalar(&mut self, token: Token<'_>) -> Result<()> {
        let value = match token {
            Token::Str(s) => Json::String(s.into_owned()),
            Token::Num(n) => Json::Number(number_text(n)?),
            Token::True => Json::Bool(true),
            Token::False => Json::Bool(false),
            Token::Null | Token::Punct(_) | Token::End => Json::Null,
        };
        self.put(value);
        Ok(())
    }

    fn close(&mut self) {
        if let Some((value, _)) = self.open.pop() {
            self.put(value);
        }
    }
}

/// A JSON number as numeric prints it: no exponent, no negative zero.
fn number_text(text: &str) -> Result<String> {
    let digits = text.strip_prefix('-');
    let negative_zero = digits.is_some_and(|d| d.bytes().all(|b| matches!(b, b'0' | b'.')));
    if text.len() <= PLAIN_NUMBER_MAX && !negative_zero && !text.bytes().any(|b| matches!(b, b'e' | b'E')) {
        return Ok(text.to_owned());
    }
    Ok(Numeric::parse(text)?.to_string())
}

struct Parser<'a> {
    text: &'a str,
    pos: usize,
    /// Replace escapes, and refuse those that are no text.
    unescape: bool,
    token_start: usize,
    token_end: usize,
    line: usize,
    line_start: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, unescape: bool) -> Self {
        Parser { text, pos: 0, unescape, token_start: 0, token_end: 0, line: 1, line_start: 0 }
    }

    fn run(mut self, sink: &mut impl Sink) -> Result<()> {
        let mut stack: Vec<bool> = Vec::new();
        let mut token = self.next()?;
        loop {
            match token {
                Token::Punct(open @ (b'{' | b'[')) => {
                    if stack.len() >= DEPTH_MAX {
                        return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded"));
                    }
                    let object = open == b'{';
                    sink.open(object);
                    stack.push(object);
                    token = self.next()?;
                    match token {
                        Token::Punct(b'}') if object => {}
                        Token::Str(key) if object => {
                            token = self.member(key, sink)?;
                            continue;
                        }
                        other if object => return Err(self.expected("string or \"}\"", &other)),
                        Token::Punct(b']') => {}
                        other => {
                            token = other;
                            continue;
                        }
                    }
                    sink.close();
                    stack.pop();
                }
                Token::Punct(_) | Token::End => return Err(self.expected("JSON value", &token)),
                scalar => sink.scalar(scalar)?,
            }
            match self.after_value(&mut stack, sink)? {
                Some(next) => token = next,
                None => return Ok(()),
            }
        }
    }

    /// After a complete value: closes what ends here, and returns the first token of the next value.
    fn after_value(&mut self, stack: &mut Vec<bool>, sink: &mut impl Sink) -> Result<Option<Token<'a>>> {
        loop {
            let token = self.next()?;
            match (stack.last(), token) {
                (None, Token::End) => return Ok(None),
                (None, other) => return Err(self.expected("end of input", &other)),
                (Some(true), Token::Punct(b',')) => match self.next()? {
                    Token::Str(key) => return self.member(key, sink).map(Some),
                    other => return Err(self.expected("string", &other)),
                },
                (Some(false), Token::Punct(b',')) => return self.next().map(Some),
                (Some(true), Token::Punct(b'}')) | (Some(false), Token::Punct(b']')) => {
                    sink.close();
                    stack.pop();
                }
                (Some(true), other) => return Err(self.expected("\",\" or \"}\"", &other)),
                (Some(false), other) => return Err(self.expected("\",\" or \"]\"", &other)),
            }
        }
    }

    fn member(&mut self, key: Cow<'a, str>, sink: &mut impl Sink) -> Result<Token<'a>> {
        sink.key(key);
        match self.next()? {
            Token::Punct(b':') => self.next(),
            other => Err(self.expected("\":\"", &other)),
        }
    }

    fn expected(&self, what: &str, found: &Token<'_>) -> SqlError {
        match found {
            Token::End => self.fail("The input string ended unexpectedly.".to_owned()),
            _ => self.fail(format!("Expected {what}, but found \"{}\".", self.token())),
        }
    }

    fn token(&self) -> &'a str {
        self.text.get(self.token_start..self.token_end).unwrap_or("")
    }

    fn fail(&self, detail: String) -> SqlError {
        SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
            .detail(detail)
            .context(self.context())
    }

    fn invalid_token(&mut self, end: usize) -> SqlError {
        self.token_end = end;
        self.fail(format!("Token \"{}\" is invalid.", self.token()))
    }

    fn untranslatable(&self, detail: &str) -> SqlError {
        SqlError::new(SqlState::UNTRANSLATABLE_CHARACTER, "unsupported Unicode escape sequence")
            .detail(detail)
            .context(self.context())
    }

    /// The input up to the offending token, as PostgreSQL's report_json_context cuts it.
    fn context(&self) -> String {
        let end = self.token_end;
        let mut start = self.line_start;
        while end - start >= CONTEXT_MAX {
            start += self.text[start..].chars().next().map_or(1, char::len_utf8);
        }
        if start - self.line_start <= 3 {
            start = self.line_start;
        }
        let prefix = if start > self.line_start { "..." } else { "" };
        let next = self.text.as_bytes().get(end);
        let suffix = if next.is_some_and(|b| !matches!(b, b'\n' | b'\r')) { "..." } else { "" };
        format!("JSON data, line {}: {prefix}{}{suffix}", self.line, self.text.get(start..end).unwrap_or(""))
    }

    fn next(&mut self) -> Result<Token<'a>> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.pos) {
            if bytes[self.pos] == b'\n' {
                self.line += 1;
                self.line_start = self.pos + 1;
            }
            self.pos += 1;
        }
        self.token_start = self.pos;
        let Some(&first) = bytes.get(self.pos) else {
            self.token_end = self.pos;
            return Ok(Token::End);
        };
        match first {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                self.pos += 1;
                self.token_end = self.pos;
                Ok(Token::Punct(first))
            }
            b'"' => self.string().map(Token::Str),
            b'-' | b'0'..=b'9' => self.number(),
            _ => {
                let len = bytes[self.pos..].iter().take_while(|b| is_word(**b)).count();
                let end = self.pos + len.max(1);
                self.pos = end;
                self.token_end = end;
                match &self.text[self.token_start..end] {
                    "true" => Ok(Token::True),
                    "false" => Ok(Token::False),
                    "null" => Ok(Token::Null),
                    _ => Err(self.invalid_token(end)),
                }
            }
        }
    }

    fn number(&mut self) -> Result<Token<'a>> {
        let bytes = self.text.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut at = self.pos + usize::from(bytes[self.pos] == b'-');
        let mut ok = true;
        match bytes.get(at) {
            Some(b'0') => at += 1,
            _ => {
                let n = digits(at);
                ok &= n > 0;
                at += n;
            }
        }
        if bytes.get(at) == Some(&b'.') {
            let n = digits(at + 1);
            ok &= n > 0;
            at += 1 + n;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let n = digits(at);
            ok &= n > 0;
            at += n;
        }
        let tail = bytes[at..].iter().take_while(|b| is_word(**b)).count();
        if !ok || tail > 0 {
            return Err(self.invalid_token(at + tail));
        }
        self.pos = at;
        self.token_end = at;
        Ok(Token::Num(&self.text[self.token_start..at]))
    }

    fn string(&mut self) -> Result<Cow<'a, str>> {
        let bytes = self.text.as_bytes();
        let mut out: Option<String> = None;
        let mut at = self.pos + 1;
        let mut from = at;
        loop {
            match bytes.get(at) {
                None => return Err(self.invalid_token(at)),
                Some(b'"') => break,
                Some(&c @ 0..=31) => {
                    self.token_end = at;
                    return Err(self.fail(format!("Character with value 0x{c:02x} must be escaped.")));
                }
                Some(b'\\') => {
                    let (c, next) = self.escape(at)?;
                    if self.unescape {
                        let text = out.get_or_insert_with(String::new);
                        text.push_str(&self.text[from..at]);
                        text.push(c);
                        from = next;
                    }
                    at = next;
                }
                Some(_) => at += 1,
            }
        }
        self.pos = at + 1;
        self.token_end = self.pos;
        Ok(match out {
            None => Cow::Borrowed(&self.text[from..at]),
            Some(mut text) => {
                text.push_str(&self.text[from..at]);
                Cow::Owned(text)
            }
        })
    }

    /// The escape at `at` (a backslash): its character and where the string goes on.
    fn escape(&mut self, at: usize) -> Result<(char, usize)> {
        let Some(c) = self.text[at + 1..].chars().next() else { return Err(self.invalid_token(at + 1)) };
        let plain = match c {
            '"' | '\\' | '/' => c,
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode_escape(at),
            _ => {
                self.token_start = at + 1;
                self.token_end = at + 1 + c.len_utf8();
                return Err(self.fail(format!("Escape sequence \"\\{c}\" is invalid.")));
            }
        };
        Ok((plain, at + 2))
    }

    fn hex4(&mut self, from: usize) -> Result<u32> {
        let mut code = 0;
        for i in 0..4 {
            let Some(c) = self.text.get(from + i..).and_then(|t| t.chars().next()) else {
                return Err(self.invalid_token(from + i));
            };
            let Some(digit) = c.to_digit(16) else {
                self.token_end = from + i + c.len_utf8();
                return Err(self.fail("\"\\u\" must be followed by four hexadecimal digits.".to_owned()));
            };
            code = code * 16 + digit;
        }
        Ok(code)
    }

    fn unicode_escape(&mut self, at: usize) -> Result<(char, usize)> {
        let code = self.hex4(at + 2)?;
        let next = at + 6;
        if !self.unescape {
            return Ok((' ', next));
        }
        self.token_end = next;
        match code {
            0 => Err(self.untranslatable("\\u0000 cannot be converted to text.")),
            0xD800..=0xDBFF => {
                if self.text.as_bytes().get(next..next + 2) != Some(b"\\u") {
                    return Err(self.fail("Unicode low surrogate must follow a high surrogate.".to_owned()));
                }
                let low = self.hex4(next + 2)?;
                self.token_end = next + 6;
                match low {
                    0xDC00..=0xDFFF => {
                        let code = 0x10000 + ((code & 0x3FF) << 10) + (low & 0x3FF);
                        Ok((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), next + 6))
                    }
                    0xD800..=0xDBFF => {
                        Err(self.fail("Unicode high surrogate must not follow a high surrogate.".to_owned()))
                    }
                    _ => Err(self.fail("Unicode low surrogate must follow a high surrogate.".to_owned())),
                }
            }
            0xDC00..=0xDFFF => Err(self.fail("Unicode low surrogate must follow a high surrogate.".to_owned())),
            _ => Ok((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), next)),
        }
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_postgresqls() {
        let cases = [
            ("", "The input string ended unexpectedly.", "JSON data, line 1: "),
            ("{\"a\":1", "The input string ended unexpectedly.", "JSON data, line 1: {\"a\":1"),
            ("{a:1}", "Token \"a\" is invalid.", "JSON data, line 1: {a..."),
            ("[1,]", "Expected JSON value, but found \"]\".", "JSON data, line 1: [1,]"),
            ("[1 2]", "Expected \",\" or \"]\", but found \"2\".", "JSON data, line 1: [1 2..."),
            ("{1:2}", "Expected string or \"}\", but found \"1\".", "JSON data, line 1: {1..."),
            ("{\"a\" 1}", "Expected \":\", but found \"1\".", "JSON data, line 1: {\"a\" 1..."),
            ("{\"a\":1,}", "Expected string, but found \"}\".", "JSON data, line 1: {\"a\":1,}"),
            ("1 2", "Expected end of input, but found \"2\".", "JSON data, line 1: 1 2"),
            ("[\n01]", "Token \"01\" is invalid.", "JSON data, line 2: 01..."),
            ("\"a\\x\"", "Escape sequence \"\\x\" is invalid.", "JSON data, line 1: \"a\\x..."),
            ("\"abc", "Token \"\"abc\" is invalid.", "JSON data, line 1: \"abc"),
        ];
        for (text, detail, context) in cases {
            let error = validate(text).unwrap_err();
            assert_eq!(error.fields().detail.as_deref(), Some(detail), "{text}");
            assert_eq!(error.fields().context.as_deref(), Some(context), "{text}");
        }
    }

    #[test]
    fn canonical_form() {
        let cases = [
            (r#" {"b":1, "aa":2 ,"a":{ }, "b":[ ]} "#, r#"{"a": {}, "b": [], "aa": 2}"#),
            (r#"[1.50, "\u00e9\n\u0001", true,null]"#, "[1.50, \"é\\n\\u0001\", true, null]"),
            (r#""\ud83d\ude00""#, "\"😀\""),
            ("1e3", "1000"),
            ("-0", "0"),
        ];
        for (text, expect) in cases {
            assert_eq!(canonical(text).unwrap(), expect);
        }
        assert_eq!(canonical(r#""\u0000""#).unwrap_err().code(), SqlState::UNTRANSLATABLE_CHARACTER);
        assert!(validate(r#""\u0000""#).is_ok());
        assert!(parse(&"[".repeat(DEPTH_MAX + 1)).is_err());
    }
}
