//! `numeric`: exact decimals with PostgreSQL's semantics (display scale, NaN, infinities) and its limits.
//!
//! A value is `unscaled * 10^-scale`; `scale` is the display scale, so 1.5 and 1.50 are equal but print differently.
//! Invariant: `Repr::Big` only holds what does not fit an `i128`, so that ordinary values never touch the heap.
//! Result scales of division, square root, powers and logarithms are computed as `numeric.c` does, in its base-10000
//! terms, because they are visible in every result.

mod arith;
mod codec;
mod transcend;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::num_traits::{Signed, ToPrimitive, Zero};
use kalamdb_catalog::types::numeric_typmod;
use kalamdb_catalog::{Result, SqlError, SqlState};

pub use codec::sort_key;

/// Digits allowed after the point (NUMERIC_DSCALE_MAX).
const SCALE_MAX: u16 = 0x3FFF;
/// Digits allowed before the point: (NUMERIC_WEIGHT_MAX + 1) * 4.
const INTEGER_DIGITS_MAX: i64 = 131_072;

/// A value of type numeric.
#[derive(Clone)]
pub struct Numeric(Repr);

#[derive(Clone)]
enum Repr {
    Small(i128, u16),
    Big(BigInt, u16),
    Nan,
    Infinity,
    NegInfinity,
}

const POW10: [i128; 39] = {
    let mut table = [1i128; 39];
    let mut i = 1;
    while i < 39 {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

/// 10^n where it fits.
fn pow10_small(n: u64) -> Option<i128> {
    POW10.get(usize::try_from(n).ok()?).copied()
}

fn pow10(n: u64) -> BigInt {
    match pow10_small(n) {
        Some(p) => BigInt::from(p),
        None => BigInt::from(10u8).pow(u32::try_from(n).unwrap_or(u32::MAX)),
    }
}

/// `n / d` rounded half away from zero; `d` is positive.
fn div_round(n: &BigInt, d: &BigInt) -> BigInt {
    let q = n / d;
    let r = n - &q * d;
    if r.abs() * 2u8 >= *d { if n.is_negative() { q - 1 } else { q + 1 } } else { q }
}

/// Number of decimal digits of `n`'s magnitude; 0 has none.
fn digit_count(n: &BigInt) -> i64 {
    if n.is_zero() {
        return 0;
    }
    let lower = ((n.bits() - 1) as f64 * std::f64::consts::LOG10_2) as u64;
    let mut count = lower;
    while n.magnitude() >= pow10(count).magnitude() {
        count += 1;
    }
    count as i64
}

fn overflow() -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}

impl Numeric {
    pub const ZERO: Numeric = Numeric(Repr::Small(0, 0));
    pub const ONE: Numeric = Numeric(Repr::Small(1, 0));
    pub const NAN: Numeric = Numeric(Repr::Nan);
    pub const INFINITY: Numeric = Numeric(Repr::Infinity);
    pub const NEG_INFINITY: Numeric = Numeric(Repr::NegInfinity);

    /// `unscaled * 10^-scale`.
    pub fn new(unscaled: i128, scale: u16) -> Numeric {
        Numeric(Repr::Small(unscaled, scale))
    }

    pub fn from_i64(v: i64) -> Numeric {
        Numeric(Repr::Small(i128::from(v), 0))
    }

    pub fn from_i128(v: i128) -> Numeric {
        Numeric(Repr::Small(v, 0))
    }

    /// 15 significant digits, as PostgreSQL's cast.
    pub fn from_f64(v: f64) -> Numeric {
        Self::from_float_text(v, &format!("{v:.14e}"))
    }

    /// 6 significant digits, as PostgreSQL's cast.
    pub fn from_f32(v: f32) -> Numeric {
        Self::from_float_text(f64::from(v), &format!("{v:.5e}"))
    }

    fn from_float_text(v: f64, text: &str) -> Numeric {
        if v.is_nan() {
            return Self::NAN;
        }
        if v.is_infinite() {
            return if v > 0.0 { Self::INFINITY } else { Self::NEG_INFINITY };
        }
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        Self::parse_finite(&format!("{mantissa}e{exponent}")).unwrap_or(None).unwrap_or(Self::ZERO)
    }

    /// The canonical form of `unscaled * 10^-scale`.
    fn make(unscaled: BigInt, scale: u16) -> Numeric {
        match unscaled.to_i128() {
            Some(v) => Numeric(Repr::Small(v, scale)),
            None => Numeric(Repr::Big(unscaled, scale)),
        }
    }

    /// As [`Self::make`], with the limit on digits before the point.
    fn make_checked(unscaled: BigInt, scale: u16) -> Result<Numeric> {
        if unscaled.bits() > 400_000 && digit_count(&unscaled) - i64::from(scale) > INTEGER_DIGITS_MAX {
            return Err(overflow());
        }
        Ok(Self::make(unscaled, scale))
    }

    /// Unscaled value and scale of a finite number.
    fn parts(&self) -> Option<(BigInt, u16)> {
        match &self.0 {
            Repr::Small(v, s) => Some((BigInt::from(*v), *s)),
            Repr::Big(v, s) => Some((v.clone(), *s)),
            Repr::Nan | Repr::Infinity | Repr::NegInfinity => None,
        }
    }

    /// The input of PostgreSQL 15: blanks around, sign, digits, point, exponent; NaN, Infinity, inf.
    pub fn parse(text: &str) -> Result<Numeric> {
        let invalid = || {
            SqlError::new(
                SqlState::INVALID_TEXT_REPRESENTATION,
                format!("invalid input syntax for type numeric: \"{text}\""),
            )
        };
        let s = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        match Self::parse_finite(s)? {
            Some(n) => Ok(n),
            None if s.eq_ignore_ascii_case("nan") => Ok(Self::NAN),
            None => {
                let (negative, word) = match s.as_bytes().first() {
                    Some(b'-') => (true, &s[1..]),
                    Some(b'+') => (false, &s[1..]),
                    _ => (false, s),
                };
                if word.eq_ignore_ascii_case("infinity") || word.eq_ignore_ascii_case("inf") {
                    Ok(if negative { Self::NEG_INFINITY } else { Self::INFINITY })
                } else {
                    Err(invalid())
                }
            }
        }
    }

    /// `None` if the text is not a number.
    fn parse_finite(s: &str) -> Result<Option<Numeric>> {
        let bytes = s.as_bytes();
        let negative = bytes.first() == Some(&b'-');
        let mut i = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
        let mut digits = Vec::with_capacity(bytes.len());
        let (mut point, mut scale) = (false, 0i64);
        while let Some(&c) = bytes.get(i) {
            match c {
                b'0'..=b'9' => {
                    digits.push(c);
                    scale += i64::from(point);
                }
                b'.' if !point => point = true,
                _ => break,
            }
            i += 1;
        }
        if digits.is_empty() {
            return Ok(None);
        }
        let mut exponent = 0i64;
        if matches!(bytes.get(i), Some(b'e' | b'E')) {
            let text = &s[i + 1..];
            let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
            if unsigned.is_empty() || !unsigned.bytes().all(|c| c.is_ascii_digit()) {
                return Ok(None);
            }
            exponent = text.parse().unwrap_or(i64::from(i32::MAX));
            if exponent.abs() >= i64::from(i32::MAX / 2) {
                return Err(overflow());
            }
        } else if i < bytes.len() {
            return Ok(None);
        }
        Self::from_digits(negative, &digits, scale - exponent).map(Some)
    }

    /// From ASCII digits and a scale that may be negative (then the display scale is 0).
    fn from_digits(negative: bool, digits: &[u8], scale: i64) -> Result<Numeric> {
        let start = digits.iter().position(|&d| d != b'0').unwrap_or(digits.len());
        let significant = &digits[start..];
        if scale > i64::from(SCALE_MAX) || (significant.len() as i64) - scale > INTEGER_DIGITS_MAX {
            if scale <= i64::from(SCALE_MAX) && significant.is_empty() {
                return Ok(Self::ZERO);
            }
            return Err(overflow());
        }
        let zeros = (-scale).max(0) as u64;
        let dscale = scale.max(0) as u16;
        if significant.len() as u64 + zeros <= 38 {
            let value = significant.iter().fold(0i128, |v, d| v * 10 + i128::from(d - b'0')) * POW10[zeros as usize];
            return Ok(Numeric(Repr::Small(if negative { -value } else { value }, dscale)));
        }
        if significant.is_empty() {
            return Ok(Numeric(Repr::Small(0, dscale)));
        }
        let value = BigInt::parse_bytes(significant, 10).unwrap_or_default() * pow10(zeros);
        Ok(Self::make(if negative { -value } else { value }, dscale))
    }

    pub fn is_nan(&self) -> bool {
        matches!(self.0, Repr::Nan)
    }

    pub fn is_infinite(&self) -> bool {
        matches!(self.0, Repr::Infinity | Repr::NegInfinity)
    }

    pub fn is_finite(&self) -> bool {
        matches!(self.0, Repr::Small(..) | Repr::Big(..))
    }

    pub fn is_zero(&self) -> bool {
        matches!(self.0, Repr::Small(0, _))
    }

    /// -1, 0 or 1; 0 for NaN.
    pub fn signum(&self) -> i32 {
        match &self.0 {
            Repr::Small(v, _) => v.signum() as i32,
            Repr::Big(v, _) => {
                if v.sign() == Sign::Minus {
                    -1
                } else {
                    1
                }
            }
            Repr::Infinity => 1,
            Repr::NegInfinity => -1,
            Repr::Nan => 0,
        }
    }

    /// Digits after the point; `None` for NaN and infinities.
    pub fn scale(&self) -> Option<u16> {
        match self.0 {
            Repr::Small(_, s) | Repr::Big(_, s) => Some(s),
            Repr::Nan | Repr::Infinity | Repr::NegInfinity => None,
        }
    }

    /// Display scale, 0 for NaN and infinities.
    fn dscale(&self) -> u16 {
        self.scale().unwrap_or(0)
    }

    /// The least scale that loses nothing.
    pub fn min_scale(&self) -> Option<u16> {
        self.clone().trim_scale().scale()
    }

    /// Without trailing zeros after the point.
    pub fn trim_scale(self) -> Numeric {
        match self.0 {
            Repr::Small(mut v, mut s) => {
                while s > 0 && v % 10 == 0 {
                    v /= 10;
                    s -= 1;
                }
                Numeric(Repr::Small(v, s))
            }
            Repr::Big(mut v, mut s) => {
                let ten = BigInt::from(10u8);
                while s > 0 && (&v % &ten).is_zero() {
                    v /= &ten;
                    s -= 1;
                }
                Self::make(v, s)
            }
            special => Numeric(special),
        }
    }

    /// Power of ten of the first significant digit (0 for 1..9.99, -1 for 0.1); `None` for zero and specials.
    fn exponent10(&self) -> Option<i64> {
        match &self.0 {
            Repr::Small(0, _) => None,
            Repr::Small(v, s) => Some(i64::from(v.unsigned_abs().ilog10()) - i64::from(*s)),
            Repr::Big(v, s) => Some(digit_count(v) - 1 - i64::from(*s)),
            Repr::Nan | Repr::Infinity | Repr::NegInfinity => None,
        }
    }

    /// Enforces `numeric(p, s)`; a modifier below 4 means none.
    pub fn apply_typmod(self, typmod: i32) -> Result<Numeric> {
        if typmod < 4 {
            return Ok(self);
        }
        let (precision, scale) = numeric_typmod(typmod);
        let field_overflow = |detail: String| {
            Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").detail(detail))
        };
        if self.is_nan() {
            return Ok(self);
        }
        if self.is_infinite() {
            return field_overflow(format!(
                "A field with precision {precision}, scale {scale} cannot hold an infinite value."
            ));
        }
        let rounded = self.round(scale);
        let digits_max = i64::from(precision - scale);
        if rounded.exponent10().is_some_and(|e| e + 1 > digits_max) {
            let limit = if digits_max == 0 { "1".to_owned() } else { format!("10^{digits_max}") };
            return field_overflow(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than {limit}."
            ));
        }
        Ok(rounded)
    }

    fn to_int(&self, type_name: &str) -> Result<i128> {
        match &self.0 {
            Repr::Nan => {
                Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot convert NaN to {type_name}")))
            }
            Repr::Infinity | Repr::NegInfinity => {
                Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot convert infinity to {type_name}")))
            }
            Repr::Small(v, 0) => Ok(*v),
            Repr::Small(..) | Repr::Big(..) => match self.round(0).0 {
                Repr::Small(v, _) => Ok(v),
                _ => Ok(i128::MAX),
            },
        }
    }

    pub fn to_i16(&self) -> Result<i16> {
        i16::try_from(self.to_int("smallint")?)
            .map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "smallint out of range"))
    }

    /// Rounded half away from zero, as the other integer conversions.
    pub fn to_i32(&self) -> Result<i32> {
        i32::try_from(self.to_int("integer")?)
            .map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "integer out of range"))
    }

    pub fn to_i64(&self) -> Result<i64> {
        i64::try_from(self.to_int("bigint")?)
            .map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range"))
    }

    /// The nearest float8; an infinity where the value is beyond its range.
    pub fn to_f64(&self) -> f64 {
        match &self.0 {
            Repr::Small(v, s) if v.unsigned_abs() < (1 << 53) && *s <= 22 => *v as f64 / 10f64.powi(i32::from(*s)),
            Repr::Small(..) | Repr::Big(..) => self.to_string().parse().unwrap_or(f64::NAN),
            Repr::Nan => f64::NAN,
            Repr::Infinity => f64::INFINITY,
            Repr::NegInfinity => f64::NEG_INFINITY,
        }
    }

    /// The nearest float4.
    pub fn to_f32(&self) -> f32 {
        match &self.0 {
            Repr::Small(..) | Repr::Big(..) => self.to_string().parse().unwrap_or(f32::NAN),
            Repr::Nan => f32::NAN,
            Repr::Infinity => f32::INFINITY,
            Repr::NegInfinity => f32::NEG_INFINITY,
        }
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, digits, scale) = match &self.0 {
            Repr::Small(v, 0) => return write!(f, "{v}"),
            Repr::Small(v, s) => (*v < 0, v.unsigned_abs().to_string(), usize::from(*s)),
            Repr::Big(v, s) => (v.is_negative(), v.magnitude().to_string(), usize::from(*s)),
            Repr::Nan => return f.write_str("NaN"),
            Repr::Infinity => return f.write_str("Infinity"),
            Repr::NegInfinity => return f.write_str("-Infinity"),
        };
        if negative {
            f.write_str("-")?;
        }
        if scale == 0 {
            return f.write_str(&digits);
        }
        match digits.len().checked_sub(scale) {
            Some(0) | None => write!(f, "0.{digits:0>scale$}"),
            Some(point) => write!(f, "{}.{}", &digits[..point], &digits[point..]),
        }
    }
}

impl fmt::Debug for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Numeric {}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// -Infinity, numbers, Infinity, NaN; NaN equals itself.
impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |n: &Numeric| match n.0 {
            Repr::NegInfinity => 0,
            Repr::Small(..) | Repr::Big(..) => 1,
            Repr::Infinity => 2,
            Repr::Nan => 3,
        };
        if let (Repr::Small(a, sa), Repr::Small(b, sb)) = (&self.0, &other.0) {
            if sa == sb {
                return a.cmp(b);
            }
            let up = |v: i128, by: u16| pow10_small(u64::from(by)).and_then(|p| v.checked_mul(p));
            let aligned = if sa < sb { up(*a, sb - sa).map(|a| (a, *b)) } else { up(*b, sa - sb).map(|b| (*a, b)) };
            if let Some((a, b)) = aligned {
                return a.cmp(&b);
            }
        }
        match (self.parts(), other.parts()) {
            (Some((a, sa)), Some((b, sb))) => {
                let scale = sa.max(sb);
                (a * pow10(u64::from(scale - sa))).cmp(&(b * pow10(u64::from(scale - sb))))
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

impl Hash for Numeric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        sort_key(&self.encode()).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(s: &str) -> Numeric {
        Numeric::parse(s).unwrap()
    }

    #[test]
    fn text_in_and_out() {
        for (input, output) in [
            ("0", "0"),
            (" -00012.3400 ", "-12.3400"),
            (".5", "0.5"),
            ("1.", "1"),
            ("1e10", "10000000000"),
            ("1.5e-3", "0.0015"),
            ("-1.5E+1", "-15"),
            ("-0.00", "0.00"),
            ("nan", "NaN"),
            ("-inf", "-Infinity"),
            ("+Infinity", "Infinity"),
            ("123456789012345678901234567890123456789012.5", "123456789012345678901234567890123456789012.5"),
        ] {
            assert_eq!(n(input).to_string(), output, "{input}");
        }
        for bad in ["", " ", ".", "1e", "1.2.3", "1 2", "abc", "--1", "1e+", "e5", "+nan"] {
            let e = Numeric::parse(bad).unwrap_err();
            assert_eq!(e.code(), SqlState::INVALID_TEXT_REPRESENTATION, "{bad}");
            assert_eq!(e.message(), format!("invalid input syntax for type numeric: \"{bad}\""));
        }
        for big in ["1e131072", "1e-16384", "1e2147483647"] {
            assert_eq!(Numeric::parse(big).unwrap_err().message(), "value overflows numeric format", "{big}");
        }
        assert_eq!(n("1e131071").to_string().len(), 131_072);
    }

    #[test]
    fn typmod_rounds_and_limits() {
        let t = |p, s| kalamdb_catalog::types::make_numeric_typmod(p, s).unwrap();
        assert_eq!(n("1.005").apply_typmod(t(5, 2)).unwrap().to_string(), "1.01");
        assert_eq!(n("1").apply_typmod(t(5, 2)).unwrap().to_string(), "1.00");
        assert_eq!(n("12345").apply_typmod(t(3, -2)).unwrap().to_string(), "12300");
        let e = n("999.995").apply_typmod(t(5, 2)).unwrap_err();
        assert_eq!(
            e.fields().detail.as_deref(),
            Some("A field with precision 5, scale 2 must round to an absolute value less than 10^3.")
        );
        assert!(n("0.5").apply_typmod(t(2, 2)).is_ok());
        assert!(n("1").apply_typmod(t(2, 2)).is_err());
    }

    #[test]
    fn floats_and_integers() {
        assert_eq!(Numeric::from_f64(0.1).to_string(), "0.1");
        assert_eq!(Numeric::from_f64(1e20).to_string(), "100000000000000000000");
        assert_eq!(Numeric::from_f64(1.0 / 3.0).to_string(), "0.333333333333333");
        assert_eq!(Numeric::from_f32(0.1).to_string(), "0.1");
        assert_eq!(n("2.5").to_i32().unwrap(), 3);
        assert_eq!(n("-2.5").to_i32().unwrap(), -3);
        assert_eq!(n("2147483647.5").to_i32().unwrap_err().message(), "integer out of range");
        assert_eq!(n("NaN").to_i64().unwrap_err().message(), "cannot convert NaN to bigint");
        assert_eq!(n("1e-400").to_f64(), 0.0);
        assert_eq!(n("0.30000000000000004").to_f64(), 0.1 + 0.2);
    }
}
