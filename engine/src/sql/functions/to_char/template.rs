//! Templates of dates and times as nodes.

/// A field of a date or time. Names are the template patterns of the manual.
// The variants are spelled as the template patterns they stand for.
#[allow(clippy::upper_case_acronyms)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// "A.D." or "AD", "B.C." or "BC": with dots or not
    Era(bool),
    /// "A.M.", "AM", ...
    Meridiem(bool),
    CC,
    Day,
    DDD,
    DD,
    Dy,
    D,
    /// FF1 to FF6: digits of the fraction.
    FF(u8),
    FX,
    HH24,
    HH12,
    IDDD,
    ID,
    IW,
    IYYY,
    IYY,
    IY,
    I,
    J,
    MI,
    MM,
    Month,
    Mon,
    MS,
    OF,
    Q,
    RM,
    SSSS,
    SS,
    TZH,
    TZM,
    TZ,
    US,
    WW,
    W,
    YCommaYYY,
    YYYY,
    YYY,
    YY,
    Y,
}

/// Case of a name, by the case of its pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Case {
    Upper,
    Lower,
    Title,
}

impl Case {
    pub(super) fn apply(self, name: &str) -> String {
        match self {
            Case::Upper => name.to_ascii_uppercase(),
            Case::Lower => name.to_ascii_lowercase(),
            Case::Title => name.to_owned(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Field {
    pub(super) key: Key,
    /// The pattern as written.
    pub(super) name: &'static str,
    pub(super) case: Case,
    /// FM: no padding.
    pub(super) fill: bool,
    /// TM: localized name, never padded.
    pub(super) translate: bool,
    /// TH or th behind.
    pub(super) ordinal: Option<Case>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Node {
    Field(Field),
    /// A space or a punctuation character outside of quotes.
    Separator(char),
    Text(char),
}

/// Patterns in upper case; where one is a prefix of another, the longer comes first.
const PATTERNS: &[(&str, Key)] = &[
    ("A.D.", Key::Era(true)),
    ("A.M.", Key::Meridiem(true)),
    ("AD", Key::Era(false)),
    ("AM", Key::Meridiem(false)),
    ("B.C.", Key::Era(true)),
    ("BC", Key::Era(false)),
    ("CC", Key::CC),
    ("DAY", Key::Day),
    ("DDD", Key::DDD),
    ("DD", Key::DD),
    ("DY", Key::Dy),
    ("D", Key::D),
    ("FF1", Key::FF(1)),
    ("FF2", Key::FF(2)),
    ("FF3", Key::FF(3)),
    ("FF4", Key::FF(4)),
    ("FF5", Key::FF(5)),
    ("FF6", Key::FF(6)),
    ("FX", Key::FX),
    ("HH24", Key::HH24),
    ("HH12", Key::HH12),
    ("HH", Key::HH12),
    ("IDDD", Key::IDDD),
    ("ID", Key::ID),
    ("IW", Key::IW),
    ("IYYY", Key::IYYY),
    ("IYY", Key::IYY),
    ("IY", Key::IY),
    ("I", Key::I),
    ("J", Key::J),
    ("MI", Key::MI),
    ("MM", Key::MM),
    ("MONTH", Key::Month),
    ("MON", Key::Mon),
    ("MS", Key::MS),
    ("OF", Key::OF),
    ("P.M.", Key::Meridiem(true)),
    ("PM", Key::Meridiem(false)),
    ("Q", Key::Q),
    ("RM", Key::RM),
    ("SSSSS", Key::SSSS),
    ("SSSS", Key::SSSS),
    ("SS", Key::SS),
    ("TZH", Key::TZH),
    ("TZM", Key::TZM),
    ("TZ", Key::TZ),
    ("US", Key::US),
    ("WW", Key::WW),
    ("W", Key::W),
    ("Y,YYY", Key::YCommaYYY),
    ("YYYY", Key::YYYY),
    ("YYY", Key::YYY),
    ("YY", Key::YY),
    ("Y", Key::Y),
];

/// Patterns that also exist with a capital.
const TITLES: &[(&str, Key)] = &[("Day", Key::Day), ("Dy", Key::Dy), ("Month", Key::Month), ("Mon", Key::Mon)];

/// The pattern that starts the text.
fn pattern(text: &str) -> Option<(&'static str, Key, Case)> {
    if let Some((name, key)) = TITLES.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((name, *key, Case::Title));
    }
    let case = if text.starts_with(|c: char| c.is_ascii_lowercase()) { Case::Lower } else { Case::Upper };
    let same_case = |head: &str| match case {
        Case::Lower => !head.bytes().any(|c| c.is_ascii_uppercase()),
        _ => !head.bytes().any(|c| c.is_ascii_lowercase()),
    };
    PATTERNS
        .iter()
        .find(|(name, _)| text.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name) && same_case(head)))
        .map(|(name, key)| (*name, *key, case))
}

/// Cuts a template into nodes.
pub(super) fn parse(template: &str) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let (mut fill, mut translate) = (false, false);
        match rest.get(..2) {
            Some("FM" | "fm") => fill = true,
            Some("TM" | "tm") => translate = true,
            _ => {}
        }
        if fill || translate {
            rest = &rest[2..];
        }
        if let Some((name, key, case)) = pattern(rest) {
            rest = &rest[name.len()..];
            let ordinal = match rest.get(..2) {
                Some("TH") => Some(Case::Upper),
                Some("th") => Some(Case::Lower),
                _ => None,
            };
            if ordinal.is_some() || rest.starts_with("SP") {
                rest = &rest[2..];
            }
            nodes.push(Node::Field(Field { key, name, case, fill, translate, ordinal }));
        } else {
            rest = literal(rest, |c, quoted| {
                let separator = !quoted && c.is_ascii() && !c.is_ascii_alphanumeric() && (' '..='~').contains(&c)
                    || !quoted && c.is_ascii_whitespace();
                nodes.push(if separator { Node::Separator(c) } else { Node::Text(c) });
            });
        }
    }
    nodes
}

/// Takes a quoted string or one character off the template; backslash escapes inside quotes and before one.
pub(super) fn literal(rest: &str, mut push: impl FnMut(char, bool)) -> &str {
    let mut chars = rest.chars();
    match chars.next() {
        Some('"') => {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => match chars.next() {
                        Some(escaped) => push(escaped, true),
                        None => push('\\', true),
                    },
                    c => push(c, true),
                }
            }
        }
        Some('\\') if chars.as_str().starts_with('"') => {
            chars.next();
            push('"', true);
        }
        Some(c) => push(c, false),
        None => {}
    }
    chars.as_str()
}

/// "st", "nd", "rd" or "th" for the digits.
pub(super) fn ordinal(digits: &str, case: Case) -> String {
    let b = digits.as_bytes();
    let teen = b.len() > 1 && b[b.len() - 2] == b'1';
    let suffix = match b.last() {
        Some(b'1') if !teen => "st",
        Some(b'2') if !teen => "nd",
        Some(b'3') if !teen => "rd",
        _ => "th",
    };
    case.apply(suffix)
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const ROMAN_MONTHS: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
