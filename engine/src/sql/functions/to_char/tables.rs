//! The rows of pg_proc, and how each type of number becomes digits.

use datafusion::arrow::array::ArrayRef;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::number::{self, Template};
use super::template::{self, Case, Node};
use super::{date_in, date_out, number_in};
use crate::sql::functions::adapt::{Date, Timestamp, Timestamptz, opt2};
use crate::sql::functions::{Call, FnDef};
use crate::types::datetime::{Civil, MICROS_PER_SECOND, is_finite, zone};
use crate::types::{Interval, Numeric};

/// A template parsed once for all rows that share it.
struct Cached<T> {
    text: Option<String>,
    parsed: Option<T>,
}

impl<T> Cached<T> {
    const fn new() -> Self {
        Cached { text: None, parsed: None }
    }

    fn get(&mut self, text: &str, parse: impl FnOnce(&str) -> Result<T>) -> Result<&T> {
        if self.text.as_deref() != Some(text) {
            self.parsed = None;
        }
        let parsed = match self.parsed.take() {
            Some(parsed) => parsed,
            None => {
                let parsed = parse(text)?;
                self.text = Some(text.to_owned());
                parsed
            }
        };
        Ok(self.parsed.insert(parsed))
    }
}

type Nodes = Cached<Vec<Node>>;

fn timestamp(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut cache = Nodes::new();
    opt2(args, |t: Timestamp, format: &str| {
        if format.is_empty() || !is_finite(t.0) {
            return Ok(None);
        }
        let nodes = cache.get(format, |f| Ok(template::parse(f)))?;
        date_out::format(nodes, &date_out::Moment::of_timestamp(Civil::from_timestamp(t.0), None)).map(Some)
    })
}

fn timestamptz(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let settings = call.session.format();
    let mut cache = Nodes::new();
    opt2(args, |t: Timestamptz, format: &str| {
        if format.is_empty() || !is_finite(t.0) {
            return Ok(None);
        }
        let nodes = cache.get(format, |f| Ok(template::parse(f)))?;
        let info = zone::offset_info(&settings.time_zone, t.0);
        let local = t.0.saturating_add(i64::from(info.offset) * MICROS_PER_SECOND);
        date_out::format(nodes, &date_out::Moment::of_timestamp(Civil::from_timestamp(local), Some(&info))).map(Some)
    })
}

fn interval(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut cache = Nodes::new();
    opt2(args, |interval: Interval, format: &str| {
        if format.is_empty() {
            return Ok(None);
        }
        let nodes = cache.get(format, |f| Ok(template::parse(f)))?;
        date_out::format(nodes, &date_out::Moment::of_interval(interval)).map(Some)
    })
}

/// Roman numerals fill fifteen places, and nothing else of the template but its text shows.
fn roman(template: &Template, number: i64, case: Case) -> String {
    let numerals = case.apply(&number::roman(number));
    let numerals = if template.fill { numerals } else { format!("{numerals:>15}") };
    template
        .nodes
        .iter()
        .map(|node| match node {
            number::NumNode::Key(number::NumKey::Roman(_)) => numerals.clone(),
            number::NumNode::Key(number::NumKey::Currency) => " ".to_owned(),
            number::NumNode::Key(_) => String::new(),
            number::NumNode::Text(c) => c.to_string(),
        })
        .collect()
}

/// C's `%+.*e` with a blank for the plus.
fn scientific(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    let lead = if mantissa.starts_with('-') { "" } else { " " };
    format!("{lead}{mantissa}e{sign}{digits:0>2}")
}

/// What EEEE shows for NaN and infinity.
fn no_exponent(template: &Template) -> String {
    format!(" {}.{}", "#".repeat(template.pre), "#".repeat(template.post + 4))
}

fn format_float(template: &Template, value: f64, digits: usize) -> Result<String> {
    if let Some(case) = template.roman {
        let rounded = value.round_ties_even();
        return Ok(roman(template, if rounded.is_finite() { rounded as i64 } else { 0 }, case));
    }
    if template.exponent {
        return Ok(if value.is_finite() { scientific(value, template.post) } else { no_exponent(template) });
    }
    let value = if template.shift { value * 10f64.powi(template.multi as i32) } else { value };
    if value.is_nan() {
        no_ordinal(template, "NaN")?;
        return Ok(number::write(template, "NaN", false));
    }
    if value.is_infinite() {
        return Ok(number::write(template, "Infinity", value < 0.0));
    }
    let whole = format!("{:.0}", value.abs()).len();
    let mut template = template.clone();
    template.post = template.post.min(digits.saturating_sub(whole));
    let text = format!("{:.*}", template.post, value.abs());
    Ok(number::write(&template, &text, value.is_sign_negative()))
}

fn format_int(template: &Template, value: i64) -> Result<String> {
    if let Some(case) = template.roman {
        let value = i32::try_from(value)
            .map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "integer out of range"))?;
        return Ok(roman(template, value.into(), case));
    }
    if template.exponent {
        return format_numeric(template, &Numeric::from_i64(value));
    }
    let shifted = if template.shift {
        10i64
            .checked_pow(template.multi as u32)
            .and_then(|p| value.checked_mul(p))
            .ok_or_else(|| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range"))?
    } else {
        value
    };
    let mut text = shifted.unsigned_abs().to_string();
    if template.post > 0 {
        text.push('.');
        text.push_str(&"0".repeat(template.post));
    }
    Ok(number::write(template, &text, shifted < 0))
}

fn format_numeric(template: &Template, value: &Numeric) -> Result<String> {
    if let Some(case) = template.roman {
        return Ok(roman(template, value.round(0).to_i32()?.into(), case));
    }
    if template.exponent {
        return Ok(if value.is_finite() { numeric_scientific(value, template.post)? } else { no_exponent(template) });
    }
    let shifted = if template.shift && value.is_finite() {
        value.mul(&Numeric::parse(&format!("1{}", "0".repeat(template.multi)))?)?
    } else {
        value.clone()
    };
    let text = shifted.round(template.post as i32).to_string();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.as_str()),
    };
    if !value.is_finite() {
        no_ordinal(template, digits)?;
    }
    Ok(number::write(template, digits, negative))
}

/// An ordinal of something without digits is an error, where it would show.
fn no_ordinal(template: &Template, text: &str) -> Result<()> {
    let ordinal = |n: &number::NumNode| matches!(n, number::NumNode::Key(number::NumKey::Ordinal(_)));
    if text.len() > template.pre + template.multi || template.decimal || !template.nodes.iter().any(ordinal) {
        return Ok(());
    }
    Err(SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("\"{text}\" is not a number")))
}

/// Exact digits of a numeric with an exponent.
fn numeric_scientific(value: &Numeric, decimals: usize) -> Result<String> {
    let text = value.to_string();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.as_str()),
    };
    let point = digits.find('.').unwrap_or(digits.len());
    let exponent = match digits.bytes().filter(|c| *c != b'.').position(|c| c != b'0') {
        Some(first) => point as i32 - 1 - first as i32,
        None => 0,
    };
    let power = Numeric::parse(&format!("1e{}", -exponent))?;
    let mantissa = value.mul(&power)?.abs().round(decimals as i32).to_string();
    let sign = if exponent < 0 { '-' } else { '+' };
    Ok(format!("{}{mantissa}e{sign}{:02}", if negative { '-' } else { ' ' }, exponent.abs()))
}

/// Applies `f` to the number and its template; an empty template gives an empty text.
macro_rules! number_function {
    ($type:ty, $f:expr) => {
        |_, args| {
            let mut cache = Cached::<Template>::new();
            opt2(args, |value: $type, format: &str| {
                if format.is_empty() {
                    return Ok(Some(String::new()));
                }
                let template = cache.get(format, Template::parse)?;
                let f: fn(&Template, $type) -> Result<String> = $f;
                f(template, value).map(Some)
            })
        }
    };
}

fn to_date(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut cache = Nodes::new();
    opt2(args, |text: &str, format: &str| {
        let nodes = cache.get(format, |f| Ok(template::parse(f)))?;
        date_in::parse(nodes, text)?.date(text).map(|days| Some(Date(days)))
    })
}

fn to_timestamp(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let settings = call.session.format();
    let mut cache = Nodes::new();
    opt2(args, |text: &str, format: &str| {
        let nodes = cache.get(format, |f| Ok(template::parse(f)))?;
        date_in::parse(nodes, text)?.timestamptz(text, &settings.time_zone).map(|t| Some(Timestamptz(t)))
    })
}

fn to_number(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut cache = Cached::<Template>::new();
    opt2(args, |text: &str, format: &str| {
        if format.is_empty() {
            return Ok(None);
        }
        number_in::parse(cache.get(format, Template::parse)?, text).map(Some)
    })
}

const TEXT: PgType = PgType::TEXT;

pub(crate) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(2049, "to_char", &[PgType::TIMESTAMP, TEXT], TEXT, timestamp).stable(),
    FnDef::new(1770, "to_char", &[PgType::TIMESTAMPTZ, TEXT], TEXT, timestamptz).stable(),
    FnDef::new(1768, "to_char", &[PgType::INTERVAL, TEXT], TEXT, interval).stable(),
    FnDef::new(
        1772,
        "to_char",
        &[PgType::NUMERIC, TEXT],
        TEXT,
        number_function!(Numeric, |t, v| format_numeric(t, &v)),
    )
    .stable(),
    FnDef::new(1773, "to_char", &[PgType::INT4, TEXT], TEXT, number_function!(i32, |t, v| format_int(t, v.into())))
        .stable(),
    FnDef::new(1774, "to_char", &[PgType::INT8, TEXT], TEXT, number_function!(i64, format_int)).stable(),
    FnDef::new(
        1775,
        "to_char",
        &[PgType::FLOAT4, TEXT],
        TEXT,
        number_function!(f32, |t, v| format_float(t, v.into(), 6)),
    )
    .stable(),
    FnDef::new(1776, "to_char", &[PgType::FLOAT8, TEXT], TEXT, number_function!(f64, |t, v| format_float(t, v, 15)))
        .stable(),
    FnDef::new(1780, "to_date", &[TEXT, TEXT], PgType::DATE, to_date).stable(),
    FnDef::new(1778, "to_timestamp", &[TEXT, TEXT], PgType::TIMESTAMPTZ, to_timestamp).stable(),
    FnDef::new(1777, "to_number", &[TEXT, TEXT], PgType::NUMERIC, to_number).stable(),
];
