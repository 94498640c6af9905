//! `to_number`: reads a number as the template lays it out, forgiving what is missing.

use kalamdb_catalog::types::make_numeric_typmod;
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::number::{NumKey, NumNode, SignPlace, Template};
use crate::types::Numeric;

struct Reader<'a> {
    template: &'a Template,
    input: &'a [u8],
    at: usize,
    sign: Option<u8>,
    digits: String,
    before: usize,
    after: usize,
    point: bool,
}

pub(super) fn parse(template: &Template, text: &str) -> Result<Numeric> {
    if template.exponent {
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "\"EEEE\" not supported for input"));
    }
    if template.roman.is_some() {
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "\"RN\" not supported for input"));
    }
    let mut reader = Reader {
        template,
        input: text.as_bytes(),
        at: 0,
        sign: None,
        digits: String::new(),
        before: 0,
        after: 0,
        point: false,
    };
    for node in &template.nodes {
        if reader.at >= reader.input.len() {
            break;
        }
        reader.node(*node);
    }
    let sign = reader.sign.map_or(' ', char::from);
    let digits = reader.digits.trim_end_matches('.');
    let number = Numeric::parse(&format!("{sign}{digits}"))?;
    // The template limits the digits before the point; behind it the scale is what was read.
    let scale = reader.after as i64;
    let precision = (template.pre + template.multi) as i64 + scale;
    let number = match precision {
        0 => number,
        _ => number.apply_typmod(make_numeric_typmod(precision, scale)?)?,
    };
    if template.shift { number.div(&Numeric::parse(&format!("1{}", "0".repeat(template.multi)))?) } else { Ok(number) }
}

impl Reader<'_> {
    fn peek(&self) -> u8 {
        self.input.get(self.at).copied().unwrap_or(0)
    }

    /// Steps over one character, however many bytes it has.
    fn step(&mut self) {
        self.at += 1;
        while self.at < self.input.len() && self.input[self.at] & 0xC0 == 0x80 {
            self.at += 1;
        }
    }

    /// Steps over up to `count` characters that cannot belong to a number.
    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            if self.at >= self.input.len() || b"0123456789.,+-".contains(&self.peek()) {
                break;
            }
            self.step();
        }
    }

    fn node(&mut self, node: NumNode) {
        let NumNode::Key(key) = node else { return self.step() };
        let signs: &[u8] = match key {
            NumKey::Nine | NumKey::Zero | NumKey::Point | NumKey::LocalPoint => {
                self.place(key);
                return self.step();
            }
            NumKey::Comma | NumKey::Group => {
                if self.peek() == b',' {
                    self.step();
                }
                return;
            }
            NumKey::Currency => return self.skip(1),
            NumKey::Ordinal(_) => return self.skip(2),
            NumKey::Minus => b"-",
            NumKey::Plus => b"+",
            NumKey::AnySign => b"+-",
            _ => return,
        };
        if signs.contains(&self.peek()) {
            self.sign = Some(self.peek());
            self.step();
        } else {
            self.skip(1);
        }
    }

    /// A digit place or the point. Stops on the last character it used; the caller steps over it.
    fn place(&mut self, key: NumKey) {
        if self.peek() == b' ' {
            self.at += 1;
        }
        let digit_place = matches!(key, NumKey::Nine | NumKey::Zero);
        if self.sign.is_none() && digit_place && self.before + self.after == 0 {
            let c = self.peek();
            let bracket = self.template.bracket && c == b'<';
            if self.template.sign != SignPlace::After && (c == b'-' || c == b'+' || bracket) {
                self.sign = Some(if c == b'+' { b'+' } else { b'-' });
                self.at += 1;
            }
        }
        if self.at >= self.input.len() {
            return;
        }
        let mut read = false;
        let c = self.peek();
        if c.is_ascii_digit() {
            if self.point && self.after == self.template.post {
                return;
            }
            self.digits.push(char::from(c));
            *(if self.point { &mut self.after } else { &mut self.before }) += 1;
            read = true;
        } else if self.template.decimal && !self.point && c == b'.' {
            self.digits.push('.');
            self.point = true;
            read = true;
        }
        if self.sign.is_some() || self.before + self.after == 0 {
            return;
        }
        let next = self.input.get(self.at + 1).copied();
        if self.template.sign != SignPlace::None {
            if let (true, Some(sign @ (b'-' | b'+'))) = (read, next) {
                self.sign = Some(sign);
                self.at += 1;
            }
        } else if !read && matches!(c, b'-' | b'+') {
            self.sign = Some(c);
        }
    }
}
