//! Text forms of floats, integers, booleans and OIDs.
//!
//! Floats print as PostgreSQL's: with `extra_float_digits` above 0 the shortest digits that read back exactly, in
//! positional notation for exponents -4 to 14 (5 for float4), else with `%g` and a fixed number of digits.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::num_traits::FromPrimitive;
use kalamdb_catalog::{Result, SqlError, SqlState};

/// What C's `isspace` takes for blank.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'))
}

fn invalid(type_name: &str, text: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {type_name}: \"{text}\""),
    )
}

fn out_of_range(type_name: &str, text: &str) -> SqlError {
    SqlError::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("value \"{text}\" is out of range for type {type_name}"),
    )
}

/// The part of the text that is a decimal number, and whether it has a digit other than 0 before the exponent.
fn decimal(s: &str) -> Option<bool> {
    let unsigned = s.strip_prefix(['+', '-']).unwrap_or(s);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(i) => (&unsigned[..i], Some(&unsigned[i + 1..])),
        None => (unsigned, None),
    };
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let points = mantissa.bytes().filter(|&c| c == b'.').count();
    if digits == 0 || points > 1 || digits + points != mantissa.len() {
        return None;
    }
    if let Some(exponent) = exponent {
        let e = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if e.is_empty() || !e.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
    }
    Some(mantissa.bytes().any(|c| (b'1'..=b'9').contains(&c)))
}

/// Infinity and NaN in the spellings of `float8in`.
fn special(s: &str) -> Option<f64> {
    let (sign, word) = match s.as_bytes().first() {
        Some(b'-') => (-1.0, &s[1..]),
        Some(b'+') => (1.0, &s[1..]),
        _ => (1.0, s),
    };
    if word.eq_ignore_ascii_case("infinity") || word.eq_ignore_ascii_case("inf") {
        return Some(sign * f64::INFINITY);
    }
    word.eq_ignore_ascii_case("nan").then_some(f64::NAN)
}

/// A hexadecimal float as `strtod` takes it; rare, so plainly summed up.
fn hexadecimal(s: &str) -> Option<f64> {
    let (sign, rest) = match s.as_bytes().first() {
        Some(b'-') => (-1.0, &s[1..]),
        Some(b'+') => (1.0, &s[1..]),
        _ => (1.0, s),
    };
    let rest = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"))?;
    let (mantissa, exponent) = match rest.find(['p', 'P']) {
        Some(i) => (&rest[..i], rest[i + 1..].parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0f64;
    for c in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    Some(sign * value * 2f64.powi(exponent.saturating_sub(4 * fraction.len() as i32)))
}

/// The input of float8.
pub(crate) fn parse_float8(text: &str) -> Result<f64> {
    const NAME: &str = "double precision";
    let s = trim(text);
    if let Some(nonzero) = decimal(s) {
        let value: f64 = s.parse().map_err(|_| invalid(NAME, text))?;
        if value.is_infinite() || (value == 0.0 && nonzero) {
            return Err(float_range(NAME, s));
        }
        return Ok(value);
    }
    special(s).or_else(|| hexadecimal(s)).ok_or_else(|| invalid(NAME, text))
}

/// The input of float4.
pub(crate) fn parse_float4(text: &str) -> Result<f32> {
    const NAME: &str = "real";
    let s = trim(text);
    if let Some(nonzero) = decimal(s) {
        let value: f32 = s.parse().map_err(|_| invalid(NAME, text))?;
        if value.is_infinite() || (value == 0.0 && nonzero) {
            return Err(float_range(NAME, s));
        }
        return Ok(value);
    }
    special(s).or_else(|| hexadecimal(s)).map(|v| v as f32).ok_or_else(|| invalid(NAME, text))
}

fn float_range(type_name: &str, text: &str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("\"{text}\" is out of range for type {type_name}"))
}

/// Significant digits of `d.ddde-x`.
fn digit_count(scientific: &str) -> usize {
    let mantissa = scientific.split_once('e').map_or(scientific, |(m, _)| m);
    mantissa.bytes().filter(u8::is_ascii_digit).count()
}

/// Whether the decimal is exactly halfway to a neighbour of `v`: it reads back as `v` only by the round-to-even rule,
/// and PostgreSQL's Ryu does not take such. All values here are integers.
fn is_halfway(scientific: &str, v: f64, neighbours: [f64; 2]) -> bool {
    let exact = |f: f64| BigInt::from_f64(f).unwrap_or_default();
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let fraction = mantissa.split_once('.').map_or(0, |(_, f)| f.len());
    let zeros = exponent.parse::<usize>().unwrap_or(0).checked_sub(fraction);
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let (Some(zeros), Ok(digits)) = (zeros, digits.parse::<BigInt>()) else { return false };
    let twice = digits * BigInt::from(10u8).pow(zeros as u32) * 2u8;
    neighbours.iter().any(|n| exact(v) + exact(*n) == twice)
}

/// The fewest digits that read back, the nearest such, ties to even. Rust finds how many; it rounds ties up.
fn shortest_float8(v: f64) -> String {
    let first = format!("{v:e}");
    // Only integers of more than 53 bits have a halfway point this short; beyond 2^134 none has.
    let suspect = (9_007_199_254_740_992.0..=4.4e40).contains(&v.abs());
    for digits in digit_count(&first)..=17 {
        let text = format!("{v:.*e}", digits - 1);
        if !suspect || !is_halfway(&text, v, [v.next_up(), v.next_down()]) {
            return text;
        }
    }
    first
}

fn shortest_float4(v: f32) -> String {
    let first = format!("{v:e}");
    let suspect = (16_777_216.0..=1e20).contains(&v.abs());
    for digits in digit_count(&first)..=9 {
        let text = format!("{v:.*e}", digits - 1);
        if !suspect || !is_halfway(&text, v.into(), [v.next_up().into(), v.next_down().into()]) {
            return text;
        }
    }
    first
}

/// The output of float8.
pub(crate) fn write_float8(v: f64, extra_float_digits: i32, out: &mut Vec<u8>) {
    if write_special(v, out) {
        return;
    }
    if extra_float_digits > 0 {
        write_digits(&shortest_float8(v), 15, out);
    } else {
        write_g(
            &format!("{v:.*e}", (15 + extra_float_digits).max(1) as usize - 1),
            (15 + extra_float_digits).max(1),
            out,
        );
    }
}

/// The output of float4.
pub(crate) fn write_float4(v: f32, extra_float_digits: i32, out: &mut Vec<u8>) {
    if write_special(f64::from(v), out) {
        return;
    }
    if extra_float_digits > 0 {
        write_digits(&shortest_float4(v), 6, out);
    } else {
        write_g(
            &format!("{v:.*e}", (6 + extra_float_digits).max(1) as usize - 1),
            (6 + extra_float_digits).max(1),
            out,
        );
    }
}

fn write_special(v: f64, out: &mut Vec<u8>) -> bool {
    if v.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if v.is_infinite() {
        out.extend_from_slice(if v > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        return false;
    }
    true
}

/// `%g`: like the shortest form, without the zeros behind the last digit.
fn write_g(scientific: &str, precision: i32, out: &mut Vec<u8>) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    write_digits(&format!("{mantissa}e{exponent}"), precision, out);
}

/// From Rust's `d.ddde-x`: positional if the exponent is from -4 to below `positional`, else `d.ddde-XX`.
fn write_digits(scientific: &str, positional: i32, out: &mut Vec<u8>) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => mantissa,
    };
    if exponent < -4 || exponent >= positional {
        out.extend_from_slice(mantissa.as_bytes());
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
        return;
    }
    let digits: Vec<u8> = mantissa.bytes().filter(|&c| c != b'.').collect();
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.extend_from_slice(&digits);
        return;
    }
    let point = exponent as usize + 1;
    if digits.len() <= point {
        out.extend_from_slice(&digits);
        out.extend(std::iter::repeat_n(b'0', point - digits.len()));
    } else {
        out.extend_from_slice(&digits[..point]);
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }
}

/// Sign and decimal digits as a number, and whether something else follows; `None` if there is no digit. Beyond i128 it
/// saturates.
fn integer(s: &str) -> Option<(i128, bool)> {
    let digits_at = usize::from(s.starts_with(['+', '-']));
    let digits = s[digits_at..].bytes().take_while(u8::is_ascii_digit).count();
    let end = digits_at + digits;
    let saturated = if s.starts_with('-') { i128::MIN } else { i128::MAX };
    (digits > 0).then(|| (s[..end].parse().unwrap_or(saturated), end < s.len()))
}

macro_rules! parse_int {
    ($name:ident, $t:ty, $type_name:literal, $doc:literal) => {
        #[doc = $doc]
        pub(crate) fn $name(text: &str) -> Result<$t> {
            // As in PostgreSQL too many digits are reported before what may follow them.
            let (value, junk) = integer(trim(text)).ok_or_else(|| invalid($type_name, text))?;
            let value = <$t>::try_from(value).map_err(|_| out_of_range($type_name, text))?;
            if junk { Err(invalid($type_name, text)) } else { Ok(value) }
        }
    };
}

parse_int!(parse_int2, i16, "smallint", "The input of int2.");
parse_int!(parse_int4, i32, "integer", "The input of int4.");
parse_int!(parse_int8, i64, "bigint", "The input of int8.");

/// The input of boolean: unique prefixes of true, false, yes, no, on, off; 1 and 0.
pub(crate) fn parse_bool(text: &str) -> Result<bool> {
    let word = trim(text).to_ascii_lowercase();
    let prefix = |full: &str, min: usize| word.len() >= min && full.starts_with(&word);
    if prefix("true", 1) || prefix("yes", 1) || prefix("on", 2) || word == "1" {
        Ok(true)
    } else if prefix("false", 1) || prefix("no", 1) || prefix("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(invalid("boolean", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f8(v: f64, extra: i32) -> String {
        let mut out = Vec::new();
        write_float8(v, extra, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn f4(v: f32, extra: i32) -> String {
        let mut out = Vec::new();
        write_float4(v, extra, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn float_output() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (100.0, "100"),
            (0.1, "0.1"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1e20, "1e+20"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (123456789012345.6, "123456789012345.6"),
            (1e100, "1e+100"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
            (0.1 + 0.2, "0.30000000000000004"),
        ] {
            assert_eq!(f8(v, 1), text);
        }
        // Halfway to a neighbour, so one digit more; a tie, so the even digit.
        assert_eq!(f8(71894283846094500.0, 1), "7.1894283846094496e+16");
        assert_eq!(f4(-573224832.0, 1), "-5.7322483e+08");
        assert_eq!(f4(3_284_952.3, 1), "3.2849522e+06");
        assert_eq!(f8(0.1 + 0.2, 0), "0.3");
        assert_eq!(f8(1.0 / 3.0, -5), "0.3333333333");
        assert_eq!(f8(1e15, 0), "1e+15");
        assert_eq!(f4(1e6, 1), "1e+06");
        assert_eq!(f4(123456.0, 1), "123456");
        assert_eq!(f4(0.1, 1), "0.1");
        assert_eq!(f4(16777216.0, 1), "1.6777216e+07");
        assert_eq!(f4(1.0 / 3.0, 0), "0.333333");
    }

    #[test]
    fn float_input() {
        assert_eq!(parse_float8(" 1e3 ").unwrap(), 1000.0);
        assert_eq!(parse_float8("0x10").unwrap(), 16.0);
        assert_eq!(parse_float8("-inf").unwrap(), f64::NEG_INFINITY);
        assert_eq!(parse_float8("1e400").unwrap_err().message(), "\"1e400\" is out of range for type double precision");
        assert_eq!(parse_float8("1e-400").unwrap_err().code(), SqlState::NUMERIC_VALUE_OUT_OF_RANGE);
        assert_eq!(parse_float4("x").unwrap_err().message(), "invalid input syntax for type real: \"x\"");
        assert_eq!(parse_float4("1e39").unwrap_err().message(), "\"1e39\" is out of range for type real");
    }

    #[test]
    fn integers_booleans() {
        assert_eq!(parse_int4(" -12 ").unwrap(), -12);
        assert_eq!(
            parse_int4("2147483648").unwrap_err().message(),
            "value \"2147483648\" is out of range for type integer"
        );
        assert_eq!(parse_int2("1.5").unwrap_err().message(), "invalid input syntax for type smallint: \"1.5\"");
        assert_eq!(parse_int8("").unwrap_err().code(), SqlState::INVALID_TEXT_REPRESENTATION);
        for (t, v) in [("t", true), ("YE", true), ("on", true), ("of", false), ("0", false), ("fals", false)] {
            assert_eq!(parse_bool(t).unwrap(), v);
        }
        for t in ["o", "", "2", "truee"] {
            assert!(parse_bool(t).is_err());
        }
    }
}
