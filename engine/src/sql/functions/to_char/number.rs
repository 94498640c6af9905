//! `to_char` of numbers: the template's description and the output.
//!
//! A number comes as text (digits, maybe a point) rounded to the template's decimals. Output walks the template and that
//! text side by side; positions count digit places and points.

use kalamdb_catalog::{Result, SqlError, SqlState};

use super::template::{Case, literal, ordinal};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NumKey {
    Comma,
    Point,
    Zero,
    Nine,
    Blank,
    LocalPoint,
    Exponent,
    Fill,
    Group,
    Currency,
    Minus,
    Plus,
    Bracket,
    Roman(Case),
    AnySign,
    Sign,
    Ordinal(Case),
    Shift,
    /// "C" and "SP": accepted, without effect.
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NumNode {
    Key(NumKey),
    Text(char),
}

const PATTERNS: &[(&str, NumKey)] = &[
    (",", NumKey::Comma),
    (".", NumKey::Point),
    ("0", NumKey::Zero),
    ("9", NumKey::Nine),
    ("B", NumKey::Blank),
    ("C", NumKey::Nothing),
    ("D", NumKey::LocalPoint),
    ("EEEE", NumKey::Exponent),
    ("FM", NumKey::Fill),
    ("G", NumKey::Group),
    ("L", NumKey::Currency),
    ("MI", NumKey::Minus),
    ("PL", NumKey::Plus),
    ("PR", NumKey::Bracket),
    ("RN", NumKey::Roman(Case::Upper)),
    ("SG", NumKey::AnySign),
    ("SP", NumKey::Nothing),
    ("S", NumKey::Sign),
    ("TH", NumKey::Ordinal(Case::Upper)),
    ("V", NumKey::Shift),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SignPlace {
    None,
    Before,
    After,
}

/// A number's template.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) nodes: Vec<NumNode>,
    /// Digit places before and after the point, and behind V.
    pub(super) pre: usize,
    pub(super) post: usize,
    pub(super) multi: usize,
    pub(super) sign: SignPlace,
    /// Digits before S.
    sign_after: usize,
    zero_start: Option<usize>,
    zero_end: usize,
    pub(super) decimal: bool,
    pub(super) fill: bool,
    pub(super) bracket: bool,
    pub(super) minus: bool,
    pub(super) plus: bool,
    pub(super) roman: Option<Case>,
    pub(super) shift: bool,
    pub(super) exponent: bool,
    blank: bool,
}

fn syntax(message: &str) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, message)
}

fn pattern(text: &str) -> Option<(usize, NumKey)> {
    let lower = text.starts_with(|c: char| c.is_ascii_lowercase());
    let (name, key) = PATTERNS.iter().find(|(name, _)| {
        text.get(..name.len()).is_some_and(|head| if lower { head == name.to_ascii_lowercase() } else { head == *name })
    })?;
    let key = match key {
        NumKey::Roman(_) if lower => NumKey::Roman(Case::Lower),
        NumKey::Ordinal(_) if lower => NumKey::Ordinal(Case::Lower),
        key => *key,
    };
    Some((name.len(), key))
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Template> {
        let mut template = Template {
            nodes: Vec::new(),
            pre: 0,
            post: 0,
            multi: 0,
            sign: SignPlace::None,
            sign_after: 0,
            zero_start: None,
            zero_end: 0,
            decimal: false,
            fill: false,
            bracket: false,
            minus: false,
            plus: false,
            roman: None,
            shift: false,
            exponent: false,
            blank: false,
        };
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((len, key)) = pattern(rest) {
                template.note(key)?;
                template.nodes.push(NumNode::Key(key));
                rest = &rest[len..];
            } else {
                rest = literal(rest, |c, _| template.nodes.push(NumNode::Text(c)));
            }
        }
        Ok(template)
    }

    fn signed(&self) -> bool {
        self.sign != SignPlace::None
    }

    fn note(&mut self, key: NumKey) -> Result<()> {
        if self.exponent && key != NumKey::Exponent {
            return Err(syntax("\"EEEE\" must be the last pattern used"));
        }
        match key {
            NumKey::Nine if self.bracket => return Err(syntax("\"9\" must be ahead of \"PR\"")),
            NumKey::Zero if self.bracket => return Err(syntax("\"0\" must be ahead of \"PR\"")),
            NumKey::Nine if self.shift => self.multi += 1,
            NumKey::Nine if self.decimal => self.post += 1,
            NumKey::Nine => self.pre += 1,
            NumKey::Zero => {
                if self.decimal {
                    self.post += 1;
                } else {
                    self.zero_start.get_or_insert(self.pre);
                    self.pre += 1;
                }
                self.zero_end = self.pre + self.post;
            }
            NumKey::Blank => self.blank = true,
            NumKey::Point | NumKey::LocalPoint => {
                if self.decimal {
                    return Err(syntax("multiple decimal points"));
                }
                if self.shift {
                    return Err(syntax("cannot use \"V\" and decimal point together"));
                }
                self.decimal = true;
            }
            NumKey::Fill => self.fill = true,
            NumKey::Sign | NumKey::Minus | NumKey::Plus | NumKey::AnySign | NumKey::Bracket => self.note_sign(key)?,
            NumKey::Roman(case) => self.roman = Some(case),
            NumKey::Shift if self.decimal => return Err(syntax("cannot use \"V\" and decimal point together")),
            NumKey::Shift => self.shift = true,
            NumKey::Exponent => {
                if self.exponent {
                    return Err(syntax("cannot use \"EEEE\" twice"));
                }
                let other = self.blank || self.fill || self.signed() || self.bracket || self.minus || self.plus;
                if other || self.roman.is_some() || self.shift {
                    return Err(syntax("\"EEEE\" is incompatible with other formats")
                        .detail("\"EEEE\" may only be used together with digit and decimal point patterns."));
                }
                self.exponent = true;
            }
            NumKey::Comma | NumKey::Group | NumKey::Currency | NumKey::Ordinal(_) | NumKey::Nothing => {}
        }
        Ok(())
    }

    fn note_sign(&mut self, key: NumKey) -> Result<()> {
        match key {
            NumKey::Sign => {
                if self.signed() {
                    return Err(syntax("cannot use \"S\" twice"));
                }
                if self.plus || self.minus || self.bracket {
                    return Err(syntax("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together"));
                }
                self.sign = if self.decimal { SignPlace::After } else { SignPlace::Before };
                self.sign_after = self.pre;
            }
            NumKey::Minus | NumKey::Plus | NumKey::AnySign if self.signed() => {
                let name = match key {
                    NumKey::Minus => "MI",
                    NumKey::Plus => "PL",
                    _ => "SG",
                };
                return Err(syntax(&format!("cannot use \"S\" and \"{name}\" together")));
            }
            NumKey::Bracket if self.signed() || self.plus || self.minus => {
                return Err(syntax("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together"));
            }
            NumKey::Bracket => self.bracket = true,
            NumKey::Minus => self.minus = true,
            NumKey::Plus => self.plus = true,
            _ => (self.minus, self.plus) = (true, true),
        }
        Ok(())
    }
}

/// Roman numerals from 1 to 3999, else fifteen `#`.
pub(super) fn roman(number: i64) -> String {
    const NUMERALS: [(i64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    if !(1..=3999).contains(&number) {
        return "#".repeat(15);
    }
    let mut rest = number;
    let mut out = String::new();
    for (value, numeral) in NUMERALS {
        while rest >= value {
            out.push_str(numeral);
            rest -= value;
        }
    }
    out
}

struct Writer<'a> {
    template: &'a Template,
    digits: &'a [u8],
    /// Next character of `digits`.
    at: usize,
    negative: bool,
    sign: SignPlace,
    bracket: bool,
    sign_written: bool,
    /// Places of the template that the number is too short for.
    blanks: usize,
    count: usize,
    place: usize,
    /// Whether a digit went out, so that group separators show.
    in_number: bool,
    /// With FM: the last decimal that is shown.
    last_relevant: Option<usize>,
    out: String,
}

/// Writes a number given by its unsigned text (rounded to `template.post` decimals). Too many digits come out as `#`.
pub(super) fn write(template: &Template, text: &str, negative: bool) -> String {
    let pre = text.find('.').unwrap_or(text.len());
    let places = template.pre + template.multi;
    let overflowed;
    let (digits, blanks) = if pre > places {
        overflowed = format!("{}.{}", "#".repeat(places), "#".repeat(template.post));
        (overflowed.as_bytes(), 0)
    } else {
        (text.as_bytes(), places - pre)
    };
    let mut writer = Writer {
        template,
        digits,
        at: 0,
        negative,
        sign: template.sign,
        bracket: template.bracket,
        sign_written: false,
        blanks,
        count: (template.post + places).saturating_sub(1),
        place: 0,
        in_number: false,
        last_relevant: None,
        out: String::new(),
    };
    writer.prepare(places);
    for node in &template.nodes {
        match node {
            NumNode::Text(c) => writer.out.push(*c),
            NumNode::Key(key) => writer.key(*key),
        }
    }
    writer.out
}

impl Writer<'_> {
    fn prepare(&mut self, places: usize) {
        let template = self.template;
        if template.plus || template.minus {
            self.sign_written = template.minus;
        } else {
            if !self.negative && template.fill {
                self.bracket = false;
            }
            self.sign_written = !self.negative && template.fill && template.sign == SignPlace::None;
            if self.sign == SignPlace::Before && places == template.sign_after {
                self.sign = SignPlace::After;
            }
        }
        if template.fill
            && template.decimal
            && let Some(point) = self.digits.iter().position(|c| *c == b'.')
        {
            let mut last = (point + 1..self.digits.len()).rev().find(|i| self.digits[*i] != b'0').unwrap_or(point);
            if template.zero_end > self.blanks {
                last = last.max((self.digits.len() - 1).min(template.zero_end - self.blanks));
            }
            self.last_relevant = Some(last);
        }
        if !self.sign_written && self.blanks == 0 {
            self.count += 1;
        }
    }

    fn key(&mut self, key: NumKey) {
        let fill = self.template.fill;
        match key {
            NumKey::Nine | NumKey::Zero | NumKey::Point | NumKey::LocalPoint => self.place(key),
            NumKey::Comma | NumKey::Group if self.in_number => self.out.push(','),
            NumKey::Comma | NumKey::Group if !fill => self.out.push(' '),
            NumKey::Currency => self.out.push(' '),
            NumKey::Minus if self.negative => self.out.push('-'),
            NumKey::Plus if !self.negative => self.out.push('+'),
            NumKey::Minus | NumKey::Plus if !fill => self.out.push(' '),
            NumKey::AnySign => self.out.push(if self.negative { '-' } else { '+' }),
            NumKey::Ordinal(case) if self.digits.first() != Some(&b'#') && !self.negative && !self.template.decimal => {
                let digits = String::from_utf8_lossy(self.digits).into_owned();
                self.out.push_str(&ordinal(&digits, case));
            }
            _ => {}
        }
    }

    /// "9.9" shows 0.1 as " .1": the zero before the point only stands where a 0 is asked for.
    fn drops_zero(&self) -> bool {
        self.template.zero_start.is_none()
            && self.at == 0
            && self.digits.first() == Some(&b'0')
            && self.template.post != 0
    }

    fn only_point_relevant(&self) -> bool {
        self.last_relevant.is_some_and(|last| self.digits[last] == b'.')
    }

    fn write_sign(&mut self) {
        let starts = self.place >= self.blanks || self.template.zero_start == Some(self.place);
        if self.sign_written || !starts || (self.drops_zero() && !self.only_point_relevant()) {
            return;
        }
        let sign = if self.negative { '-' } else { '+' };
        if self.sign != SignPlace::None {
            if self.sign == SignPlace::Before {
                self.out.push(sign);
                self.sign_written = true;
            }
            return;
        }
        self.sign_written = true;
        if self.bracket {
            self.out.push(if self.negative { '<' } else { ' ' });
        } else if self.negative {
            self.out.push('-');
        } else if !self.template.fill {
            self.out.push(' ');
        }
    }

    /// A digit place or the point.
    fn place(&mut self, key: NumKey) {
        self.in_number = false;
        self.write_sign();
        let zero_here = self.template.zero_start.is_some_and(|start| start <= self.place);
        if self.place < self.blanks {
            if zero_here {
                self.out.push('0');
                self.in_number = true;
            } else if !self.template.fill {
                self.out.push(' ');
            }
        } else {
            self.digit(key);
        }
        let mut end = self.count + usize::from(self.blanks != 0) + usize::from(self.template.decimal);
        if self.last_relevant == Some(self.at) {
            end = self.place;
        }
        if self.place + 1 == end {
            if self.sign_written && self.bracket {
                self.out.push(if self.negative { '>' } else { ' ' });
            } else if self.sign == SignPlace::After {
                self.out.push(if self.negative { '-' } else { '+' });
            }
        }
        self.place += 1;
    }

    fn digit(&mut self, key: NumKey) {
        match self.digits.get(self.at) {
            None => return,
            Some(b'.') => {
                if !self.only_point_relevant() || self.template.fill {
                    self.out.push('.');
                }
            }
            Some(_) if self.last_relevant.is_some_and(|last| self.at > last) && key != NumKey::Zero => {}
            Some(_) if self.drops_zero() => {
                if !self.template.fill {
                    self.out.push(' ');
                } else if self.only_point_relevant() {
                    self.out.push('0');
                }
            }
            Some(digit) => {
                self.out.push(char::from(*digit));
                self.in_number = true;
            }
        }
        self.at += 1;
    }
}
