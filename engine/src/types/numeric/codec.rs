//! The stored form of a numeric, which sorts as bytes, and PostgreSQL's wire form.
//!
//! Stored form: `body | display scale u16 BE`. The body is one header byte (sign and base-100 exponent), for extreme
//! exponents three bytes more, then the base-100 digits of the mantissa, each as `2 * digit + 1`, the last without the
//! `+ 1`, so that no body is a prefix of another. A negative number's body is the complement of its absolute value's.
//! Hence `memcmp` of bodies is numeric order, and equal numbers have equal bodies whatever their display scale.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::num_traits::{Signed, ToPrimitive};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::{Numeric, POW10, Repr, pow10};

const NEG_INFINITY: u8 = 0x04;
const ZERO: u8 = 0x80;
/// Positive, with the exponent in three bytes after it, below every short one.
const TINY: u8 = 0x88;
/// Positive, base-100 exponent `header - SHORT + EXPONENT_MIN`.
const SHORT: u8 = 0x90;
const EXPONENT_MIN: i32 = -20;
const EXPONENT_MAX: i32 = 60;
const HUGE: u8 = 0xE8;
const INFINITY: u8 = 0xFA;
const NAN: u8 = 0xFC;
const LONG_BIAS: i32 = 1 << 20;

/// The part of an encoded numeric that orders it: everything but the display scale.
pub fn sort_key(encoded: &[u8]) -> &[u8] {
    &encoded[..encoded.len().saturating_sub(2)]
}

/// Base-100 digits of a magnitude, most significant first, without trailing zeros, and the base-100 exponent of
/// `0.d1d2...`.
fn base100(value: &Repr) -> (Vec<u8>, i32) {
    let (digits, fraction) = match value {
        Repr::Small(v, s) if v.unsigned_abs() <= u64::MAX as u128 / 10 => {
            let mut rest = v.unsigned_abs() as u64 * if s % 2 == 1 { 10 } else { 1 };
            let mut digits = [0u8; 10];
            let mut at = digits.len();
            while rest > 0 {
                at -= 1;
                digits[at] = (rest % 100) as u8;
                rest /= 100;
            }
            (digits[at..].to_vec(), i32::from(s.div_ceil(2)))
        }
        Repr::Small(v, s) => pairs(v.unsigned_abs().to_string(), *s),
        Repr::Big(v, s) => pairs(v.magnitude().to_string(), *s),
        Repr::Nan | Repr::Infinity | Repr::NegInfinity => (Vec::new(), 0),
    };
    let exponent = digits.len() as i32 - fraction;
    let end = digits.iter().rposition(|&d| d != 0).map_or(0, |i| i + 1);
    let mut digits = digits;
    digits.truncate(end);
    (digits, exponent)
}

/// Decimal text to base-100 digits aligned at the point, and how many of them are behind it.
fn pairs(mut text: String, scale: u16) -> (Vec<u8>, i32) {
    if scale % 2 == 1 {
        text.push('0');
    }
    if text.len() % 2 == 1 {
        text.insert(0, '0');
    }
    let digits = text.as_bytes().chunks_exact(2).map(|p| (p[0] - b'0') * 10 + (p[1] - b'0')).collect();
    (digits, i32::from(scale.div_ceil(2)))
}

impl Numeric {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let header = match &self.0 {
            Repr::Small(0, _) => Some(ZERO),
            Repr::Nan => Some(NAN),
            Repr::Infinity => Some(INFINITY),
            Repr::NegInfinity => Some(NEG_INFINITY),
            Repr::Small(..) | Repr::Big(..) => None,
        };
        let scale = self.dscale().to_be_bytes();
        if let Some(header) = header {
            return vec![header, scale[0], scale[1]];
        }
        let (digits, exponent) = base100(&self.0);
        let mut out = Vec::with_capacity(digits.len() + 6);
        if (EXPONENT_MIN..=EXPONENT_MAX).contains(&exponent) {
            out.push(SHORT + (exponent - EXPONENT_MIN) as u8);
        } else {
            out.push(if exponent < 0 { TINY } else { HUGE });
            out.extend_from_slice(&((exponent + LONG_BIAS) as u32).to_be_bytes()[1..]);
        }
        out.extend(digits.iter().map(|d| 2 * d + 1));
        if let Some(last) = out.last_mut() {
            *last -= 1;
        }
        if self.signum() < 0 {
            out.iter_mut().for_each(|b| *b = !*b);
        }
        out.extend_from_slice(&scale);
        out
    }

    /// Reads [`Self::encode`]'s output. Bytes that are not such give some number, never a panic.
    pub fn decode(encoded: &[u8]) -> Numeric {
        let body = sort_key(encoded);
        let scale = match encoded {
            [_, .., hi, lo] => u16::from_be_bytes([*hi, *lo]),
            _ => 0,
        };
        match body.first() {
            None | Some(&ZERO) => return Numeric(Repr::Small(0, scale)),
            Some(&NAN) => return Numeric::NAN,
            Some(&INFINITY) => return Numeric::INFINITY,
            Some(&NEG_INFINITY) => return Numeric::NEG_INFINITY,
            Some(_) => {}
        }
        let negative = body[0] < ZERO;
        let flip = if negative { 0xFF } else { 0 };
        let header = body[0] ^ flip;
        let (exponent, digits) = if (header == TINY || header == HUGE) && body.len() >= 4 {
            let e = u32::from_be_bytes([0, body[1] ^ flip, body[2] ^ flip, body[3] ^ flip]);
            (e as i32 - LONG_BIAS, &body[4..])
        } else {
            (i32::from(header) - i32::from(SHORT) + EXPONENT_MIN, &body[1..])
        };
        let digit = |b: u8| ((b ^ flip) >> 1) as i128;
        let shift = 2 * (i64::from(exponent) - digits.len() as i64) + i64::from(scale);
        if digits.len() <= 19 {
            let value = if digits.len() <= 9 {
                i128::from(digits.iter().fold(0u64, |v, &b| v * 100 + u64::from((b ^ flip) >> 1)))
            } else {
                digits.iter().fold(0i128, |v, &b| v.wrapping_mul(100).wrapping_add(digit(b)))
            };
            let shifted = match shift {
                0 => Some(value),
                -1 => Some(value / 10),
                1..=38 => value.checked_mul(POW10[shift as usize]),
                _ => None,
            };
            if let Some(v) = shifted {
                return Numeric(Repr::Small(if negative { -v } else { v }, scale));
            }
        }
        let text: Vec<u8> =
            digits.iter().flat_map(|&b| [digit(b) as u8 / 10 % 10 + b'0', digit(b) as u8 % 10 + b'0']).collect();
        let value = BigInt::parse_bytes(&text, 10).unwrap_or_default();
        let value = if shift >= 0 { value * pow10(shift as u64) } else { value / pow10(shift.unsigned_abs()) };
        Numeric::make(if negative { -value } else { value }, scale)
    }

    /// Base-10000 digits without leading and trailing zeros, and the weight of the first, as numeric.c has them.
    pub(super) fn nbase(&self) -> (Vec<i16>, i32) {
        let (text, scale) = match &self.0 {
            Repr::Small(0, _) | Repr::Nan | Repr::Infinity | Repr::NegInfinity => return (Vec::new(), 0),
            Repr::Small(v, s) => (v.unsigned_abs().to_string(), usize::from(*s)),
            Repr::Big(v, s) => (v.magnitude().to_string(), usize::from(*s)),
        };
        let integer_len = text.len().saturating_sub(scale);
        let leading = if text.len() < scale { scale - text.len() } else { 0 };
        let mut padded = String::with_capacity(text.len() + leading + 8);
        padded.extend(std::iter::repeat_n('0', (4 - integer_len % 4) % 4 + leading));
        padded.push_str(&text);
        padded.extend(std::iter::repeat_n('0', (4 - scale % 4) % 4));
        let mut digits: Vec<i16> = padded
            .as_bytes()
            .chunks_exact(4)
            .map(|c| c.iter().fold(0i16, |v, d| v * 10 + i16::from(d - b'0')))
            .collect();
        let mut weight = integer_len.div_ceil(4) as i32 - 1;
        let zeros = digits.iter().take_while(|&&d| d == 0).count();
        digits.drain(..zeros);
        weight -= zeros as i32;
        while digits.last() == Some(&0) {
            digits.pop();
        }
        (digits, weight)
    }

    /// Appends the body of PostgreSQL's binary form (`numeric_send`).
    pub fn write_binary(&self, out: &mut Vec<u8>) {
        let sign: u16 = match &self.0 {
            Repr::Nan => 0xC000,
            Repr::Infinity => 0xD000,
            Repr::NegInfinity => 0xF000,
            Repr::Small(v, _) if *v < 0 => 0x4000,
            Repr::Big(v, _) if v.is_negative() => 0x4000,
            Repr::Small(..) | Repr::Big(..) => 0,
        };
        let (digits, weight) = self.nbase();
        // numeric_send takes the display scale of a special value from its header's flag bits.
        let dscale = match &self.0 {
            Repr::Infinity | Repr::NegInfinity => 32,
            Repr::Nan | Repr::Small(..) | Repr::Big(..) => self.dscale(),
        };
        out.extend_from_slice(&(digits.len() as u16).to_be_bytes());
        out.extend_from_slice(&(weight as i16).to_be_bytes());
        out.extend_from_slice(&sign.to_be_bytes());
        out.extend_from_slice(&dscale.to_be_bytes());
        for d in digits {
            out.extend_from_slice(&d.to_be_bytes());
        }
    }

    /// Reads PostgreSQL's binary form (`numeric_recv`).
    pub fn parse_binary(bytes: &[u8]) -> Result<Numeric> {
        let invalid = |what: &str| {
            SqlError::new(
                SqlState::INVALID_BINARY_REPRESENTATION,
                format!("invalid {what} in external \"numeric\" value"),
            )
        };
        let truncated = || SqlError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message");
        let (head, body) = bytes.split_at_checked(8).ok_or_else(truncated)?;
        let word = |i: usize| u16::from_be_bytes([head[i], head[i + 1]]);
        let (count, weight, sign, scale) = (usize::from(word(0)), i64::from(word(2) as i16), word(4), word(6));
        match sign {
            0xC000 => return Ok(Numeric::NAN),
            0xD000 => return Ok(Numeric::INFINITY),
            0xF000 => return Ok(Numeric::NEG_INFINITY),
            0 | 0x4000 => {}
            _ => return Err(invalid("sign")),
        }
        if scale > super::SCALE_MAX {
            return Err(invalid("scale"));
        }
        if body.len() < count * 2 {
            return Err(truncated());
        }
        if body.len() > count * 2 {
            return Err(SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, "incorrect binary data format"));
        }
        let mut text = String::with_capacity(count * 4);
        for d in body.chunks_exact(2).map(|d| i16::from_be_bytes([d[0], d[1]])) {
            if !(0..10_000).contains(&d) {
                return Err(invalid("digit"));
            }
            text.push_str(&format!("{d:04}"));
        }
        // Digits behind the display scale are dropped, missing ones are zeros.
        let unscaled = BigInt::parse_bytes(text.as_bytes(), 10).unwrap_or_default();
        let shift = (weight + 1 - count as i64) * 4 + i64::from(scale);
        let value = if shift >= 0 { unscaled * pow10(shift as u64) } else { unscaled / pow10(shift.unsigned_abs()) };
        let value = if sign == 0x4000 { -value } else { value };
        match value.to_i128() {
            Some(v) => Ok(Numeric(Repr::Small(v, scale))),
            None => Numeric::make_checked(value, scale),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_orders_and_round_trips() {
        let ordered = [
            "-Infinity",
            "-1e131071",
            "-123456789012345678901234567890123456789012345",
            "-100.01",
            "-100",
            "-99.99",
            "-1.50",
            "-1",
            "-0.5",
            "-0.05",
            "-1e-300",
            "0",
            "1e-16383",
            "1e-41",
            "0.0001",
            "0.001",
            "0.01",
            "0.05",
            "0.1",
            "0.12",
            "0.5",
            "1",
            "1.05",
            "1.1",
            "1.5",
            "9",
            "10",
            "99",
            "100",
            "101",
            "1000",
            "12345678901234567890.5",
            "99999999999999999999999999999999999999",
            "170141183460469231731687303715884105728",
            "1e120",
            "1e121",
            "1e131071",
            "Infinity",
            "NaN",
        ];
        let values: Vec<Numeric> = ordered.iter().map(|s| Numeric::parse(s).unwrap()).collect();
        let encoded: Vec<Vec<u8>> = values.iter().map(Numeric::encode).collect();
        for (i, (a, e)) in values.iter().zip(&encoded).enumerate() {
            assert_eq!(Numeric::decode(e).to_string(), a.to_string());
            for (j, (b, eb)) in values.iter().zip(&encoded).enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a} {b}");
                assert_eq!(sort_key(e).cmp(sort_key(eb)), i.cmp(&j), "{a} {b}");
                assert!(i == j || !sort_key(eb).starts_with(sort_key(e)), "{a} is a prefix of {b}");
            }
            let mut wire = Vec::new();
            a.write_binary(&mut wire);
            assert_eq!(Numeric::parse_binary(&wire).unwrap().to_string(), a.to_string());
        }
        let (a, b) = (Numeric::parse("1.5").unwrap().encode(), Numeric::parse("1.500").unwrap().encode());
        assert_eq!(sort_key(&a), sort_key(&b));
        assert_eq!(Numeric::decode(&b).to_string(), "1.500");
    }

    #[test]
    fn wire_form() {
        // numeric_send(12345.678), numeric_send(-0.00012)
        for (text, hex) in [
            ("12345.678", [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 9, 41, 26, 124].as_slice()),
            ("-0.00012", &[0, 2, 255, 255, 64, 0, 0, 5, 0, 1, 7, 208]),
            ("10000", &[0, 1, 0, 1, 0, 0, 0, 0, 0, 1]),
            ("0.00", &[0, 0, 0, 0, 0, 0, 0, 2]),
        ] {
            let mut out = Vec::new();
            Numeric::parse(text).unwrap().write_binary(&mut out);
            assert_eq!(out, hex, "{text}");
        }
    }

    #[test]
    fn decode_survives_garbage() {
        for bytes in [&[][..], &[1], &[0x88, 1, 2], &[0xE8, 0, 0], &[0xFF; 3], &[7, 9, 200, 3, 0, 1]] {
            let _ = Numeric::decode(bytes);
        }
    }
}
