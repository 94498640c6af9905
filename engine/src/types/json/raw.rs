//! Members of JSON text, found without building a tree. The text must be valid, as that of a json or jsonb value is.

use std::borrow::Cow;

/// What a valid JSON text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// What `json_typeof` says.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "boolean",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::Object => "object",
        }
    }
}

/// The kind of the value, by its first character.
pub fn kind(text: &str) -> Kind {
    match text.as_bytes().get(blanks(text.as_bytes(), 0)) {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') | None => Kind::Null,
        _ => Kind::Number,
    }
}

/// The elements of an array, as texts; nothing for other kinds.
pub fn elements(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let start = blanks(bytes, 0);
    let mut at = if bytes.get(start) == Some(&b'[') { start + 1 } else { bytes.len() };
    std::iter::from_fn(move || {
        at = separator(bytes, at);
        if at >= bytes.len() || bytes[at] == b']' {
            at = bytes.len();
            return None;
        }
        let end = value_end(bytes, at);
        let item = &text[at..end];
        at = end;
        Some(item)
    })
}

/// The members of an object: the key with its quotes, and the value's text; nothing for other kinds.
pub fn members(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let bytes = text.as_bytes();
    let start = blanks(bytes, 0);
    let mut at = if bytes.get(start) == Some(&b'{') { start + 1 } else { bytes.len() };
    std::iter::from_fn(move || {
        at = separator(bytes, at);
        if at >= bytes.len() || bytes[at] == b'}' {
            at = bytes.len();
            return None;
        }
        let key_end = value_end(bytes, at);
        let key = &text[at..key_end];
        let colon = blanks(bytes, key_end);
        let from = blanks(bytes, (colon + 1).min(bytes.len()));
        let end = value_end(bytes, from);
        at = end;
        Some((key, &text[from..end]))
    })
}

/// The value under a key; of duplicates the last.
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    members(text).filter(|(k, _)| key_is(k, key)).last().map(|(_, v)| v)
}

/// The element at `index`, which counts from the end if negative.
pub fn element(text: &str, index: i64) -> Option<&str> {
    if index >= 0 {
        return elements(text).nth(usize::try_from(index).ok()?);
    }
    let items: Vec<&str> = elements(text).collect();
    let back = usize::try_from(index.unsigned_abs()).ok()?;
    items.len().checked_sub(back).map(|i| items[i])
}

/// The content of a JSON string with its quotes.
pub fn unquote(text: &str) -> Cow<'_, str> {
    let inner = text.trim_ascii();
    let inner = inner.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(inner);
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    match super::parse(text) {
        Ok(super::Json::String(s)) => Cow::Owned(s),
        _ => Cow::Borrowed(inner),
    }
}

/// What `->>` gives: strings without quotes, null as `None`, everything else as written.
pub fn as_text(text: &str) -> Option<Cow<'_, str>> {
    match kind(text) {
        Kind::Null => None,
        Kind::String => Some(unquote(text)),
        _ => Some(Cow::Borrowed(text)),
    }
}

fn key_is(quoted: &str, key: &str) -> bool {
    if quoted.contains('\\') {
        unquote(quoted) == key
    } else {
        quoted.len() == key.len() + 2 && &quoted[1..quoted.len() - 1] == key
    }
}

fn blanks(bytes: &[u8], from: usize) -> usize {
    from + bytes[from..].iter().take_while(|b| b.is_ascii_whitespace()).count()
}

fn separator(bytes: &[u8], from: usize) -> usize {
    from + bytes[from..].iter().take_while(|b| b.is_ascii_whitespace() || **b == b',').count()
}

fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// One past the value that starts at `from`.
fn value_end(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0usize;
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = string_end(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' | b':' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b if depth == 0 && b.is_ascii_whitespace() => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_members() {
        let text = r#" {"a" : [1, {"b":"},]\""}, 2.5 ] , "c\n":null,"a":true} "#;
        assert_eq!(field(text, "a"), Some("true"));
        assert_eq!(field(text, "c\n"), Some("null"));
        assert_eq!(field(text, "x"), None);
        let (_, array) = members(text).next().unwrap();
        assert_eq!(elements(array).collect::<Vec<_>>(), ["1", r#"{"b":"},]\""}"#, "2.5"]);
        assert_eq!(element(array, -1), Some("2.5"));
        assert_eq!(element(array, -4), None);
        assert_eq!(as_text(r#""a\u00e9""#).as_deref(), Some("aé"));
        assert_eq!(elements("[]").count(), 0);
    }
}
