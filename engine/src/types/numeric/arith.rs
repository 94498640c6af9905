//! Exact arithmetic: sums, products, quotients, rounding, and the integer-like functions.
//!
//! Each operation has a path on `i128` and falls through to big integers when it overflows.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::num_traits::{Signed, Zero};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::{Numeric, Repr, SCALE_MAX, div_round, overflow, pow10, pow10_small};

/// Significant digits a quotient has at least (NUMERIC_MIN_SIG_DIGITS).
pub(super) const SIGNIFICANT_MIN: i64 = 16;
/// Digits after the point that results of division and the like have at most (NUMERIC_MAX_DISPLAY_SCALE).
pub(super) const DISPLAY_SCALE_MAX: i64 = 1000;

fn division_by_zero() -> SqlError {
    SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

/// How a quotient is brought to its scale.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    HalfAway,
    Truncate,
    Floor,
    Ceil,
}

fn divide(n: &BigInt, d: &BigInt, rounding: Rounding) -> BigInt {
    if rounding == Rounding::HalfAway {
        return div_round(n, d);
    }
    let (q, r) = (n / d, n % d);
    match rounding {
        Rounding::Floor if r.is_negative() => q - 1,
        Rounding::Ceil if r.is_positive() => q + 1,
        _ => q,
    }
}

fn divide_small(n: i128, d: i128, rounding: Rounding) -> i128 {
    let (q, r) = (n / d, n % d);
    let up = match rounding {
        Rounding::HalfAway => r.unsigned_abs() >= d.unsigned_abs() - r.unsigned_abs(),
        Rounding::Truncate => false,
        Rounding::Floor => r < 0,
        Rounding::Ceil => r > 0,
    };
    if up { q + n.signum() } else { q }
}

impl Numeric {
    /// Unscaled values brought to the larger scale of the two; `None` if it does not fit or one is special.
    fn align_small(&self, other: &Numeric) -> Option<(i128, i128, u16)> {
        let (Repr::Small(a, sa), Repr::Small(b, sb)) = (&self.0, &other.0) else { return None };
        if sa == sb {
            return Some((*a, *b, *sa));
        }
        if sa < sb {
            Some((a.checked_mul(pow10_small(u64::from(sb - sa))?)?, *b, *sb))
        } else {
            Some((*a, b.checked_mul(pow10_small(u64::from(sa - sb))?)?, *sa))
        }
    }

    fn align(&self, other: &Numeric) -> Option<(BigInt, BigInt, u16)> {
        let ((a, sa), (b, sb)) = (self.parts()?, other.parts()?);
        let scale = sa.max(sb);
        Some((a * pow10(u64::from(scale - sa)), b * pow10(u64::from(scale - sb)), scale))
    }

    pub fn add(&self, other: &Numeric) -> Result<Numeric> {
        if let Some((a, b, scale)) = self.align_small(other)
            && let Some(sum) = a.checked_add(b)
        {
            return Ok(Numeric(Repr::Small(sum, scale)));
        }
        match self.align(other) {
            Some((a, b, scale)) => Numeric::make_checked(a + b, scale),
            None if self.is_nan() || other.is_nan() => Ok(Numeric::NAN),
            None if self.is_infinite() && other.is_infinite() && self.signum() != other.signum() => Ok(Numeric::NAN),
            None if self.is_infinite() => Ok(self.clone()),
            None => Ok(other.clone()),
        }
    }

    pub fn sub(&self, other: &Numeric) -> Result<Numeric> {
        self.add(&other.neg())
    }

    pub fn mul(&self, other: &Numeric) -> Result<Numeric> {
        if let (Repr::Small(a, sa), Repr::Small(b, sb)) = (&self.0, &other.0)
            && let (Some(product), true) = (a.checked_mul(*b), sa + sb <= SCALE_MAX)
        {
            return Ok(Numeric(Repr::Small(product, sa + sb)));
        }
        match (self.parts(), other.parts()) {
            (Some((a, sa)), Some((b, sb))) => {
                let scale = sa + sb;
                if scale <= SCALE_MAX {
                    return Numeric::make_checked(a * b, scale);
                }
                Numeric::make_checked(div_round(&(a * b), &pow10(u64::from(scale - SCALE_MAX))), SCALE_MAX)
            }
            _ if self.is_nan() || other.is_nan() => Ok(Numeric::NAN),
            _ => Ok(match self.signum() * other.signum() {
                0 => Numeric::NAN,
                1 => Numeric::INFINITY,
                _ => Numeric::NEG_INFINITY,
            }),
        }
    }

    /// Weight and value of the first base-10000 digit, (0, 0) for zero.
    pub(super) fn leading(&self) -> (i64, i64) {
        let Some(exponent) = self.exponent10() else { return (0, 0) };
        let weight = exponent.div_euclid(4);
        let shift = weight * 4 + i64::from(self.dscale());
        let first = match &self.0 {
            Repr::Small(v, _) => {
                let v = v.unsigned_abs();
                let p = pow10_small(shift.unsigned_abs()).unwrap_or(i128::MAX) as u128;
                (if shift >= 0 { v / p } else { v * p }) as i64
            }
            _ => self.nbase().0.first().map_or(0, |d| i64::from(*d)),
        };
        (weight, first)
    }

    /// The scale of a quotient: `select_div_scale` of numeric.c.
    pub(crate) fn quotient_scale(&self, divisor: &Numeric) -> u16 {
        let ((w1, d1), (w2, d2)) = (self.leading(), divisor.leading());
        let weight = w1 - w2 - i64::from(d1 <= d2);
        let scale = SIGNIFICANT_MIN - weight * 4;
        let scale = scale.max(i64::from(self.dscale())).max(i64::from(divisor.dscale()));
        scale.clamp(0, DISPLAY_SCALE_MAX) as u16
    }

    /// The quotient with PostgreSQL's choice of scale, rounded half away from zero.
    pub fn div(&self, other: &Numeric) -> Result<Numeric> {
        self.div_to(other, self.quotient_scale(other), Rounding::HalfAway)
    }

    pub(super) fn div_scale(&self, other: &Numeric, scale: u16) -> Result<Numeric> {
        self.div_to(other, scale, Rounding::HalfAway)
    }

    /// `div(a, b)`: the quotient truncated to an integer.
    pub fn div_int(&self, other: &Numeric) -> Result<Numeric> {
        self.div_to(other, 0, Rounding::Truncate)
    }

    fn div_to(&self, other: &Numeric, scale: u16, rounding: Rounding) -> Result<Numeric> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if other.is_zero() {
            return Err(division_by_zero());
        }
        if self.is_infinite() {
            return Ok(match (other.is_infinite(), self.signum() * other.signum()) {
                (true, _) => Numeric::NAN,
                (false, 1) => Numeric::INFINITY,
                (false, _) => Numeric::NEG_INFINITY,
            });
        }
        if other.is_infinite() {
            return Ok(Numeric::ZERO);
        }
        // a/10^sa / (b/10^sb) at `scale`: a * 10^(scale + sb - sa) / b.
        let shift = i64::from(scale) + i64::from(other.dscale()) - i64::from(self.dscale());
        if let (Repr::Small(a, _), Repr::Small(b, _)) = (&self.0, &other.0)
            && let Some(p) = pow10_small(shift.unsigned_abs())
        {
            let (n, d) = if shift >= 0 { (a.checked_mul(p), Some(*b)) } else { (Some(*a), b.checked_mul(p)) };
            if let (Some(n), Some(d)) = (n, d)
                && n != i128::MIN
                && d != i128::MIN
            {
                let (n, d) = if d < 0 { (-n, -d) } else { (n, d) };
                return Ok(Numeric(Repr::Small(divide_small(n, d, rounding), scale)));
            }
        }
        match (self.parts(), other.parts()) {
            (Some((mut n, _)), Some((mut d, _))) => {
                if d.is_negative() {
                    (n, d) = (-n, -d);
                }
                if shift >= 0 {
                    n *= pow10(shift as u64);
                } else {
                    d *= pow10(shift.unsigned_abs());
                }
                Numeric::make_checked(divide(&n, &d, rounding), scale)
            }
            _ => Ok(Numeric::NAN),
        }
    }

    /// The remainder, with the sign of the dividend.
    pub fn rem(&self, other: &Numeric) -> Result<Numeric> {
        if self.is_nan() || other.is_nan() {
            return Ok(Numeric::NAN);
        }
        if other.is_zero() {
            return Err(division_by_zero());
        }
        if self.is_infinite() {
            return Ok(Numeric::NAN);
        }
        if other.is_infinite() {
            return Ok(self.clone());
        }
        if let Some((a, b, scale)) = self.align_small(other) {
            return Ok(Numeric(Repr::Small(a.wrapping_rem(b), scale)));
        }
        match self.align(other) {
            Some((a, b, scale)) => Ok(Numeric::make(a % b, scale)),
            None => Ok(Numeric::NAN),
        }
    }

    #[must_use]
    pub fn neg(&self) -> Numeric {
        match &self.0 {
            Repr::Small(v, s) => match v.checked_neg() {
                Some(v) => Numeric(Repr::Small(v, *s)),
                None => Numeric::make(-BigInt::from(*v), *s),
            },
            Repr::Big(v, s) => Numeric::make(-v, *s),
            Repr::Nan => Numeric::NAN,
            Repr::Infinity => Numeric::NEG_INFINITY,
            Repr::NegInfinity => Numeric::INFINITY,
        }
    }

    #[must_use]
    pub fn abs(&self) -> Numeric {
        if self.signum() < 0 { self.neg() } else { self.clone() }
    }

    /// `sign(n)`: -1, 0, 1 or NaN.
    #[must_use]
    pub fn sign(&self) -> Numeric {
        if self.is_nan() { Numeric::NAN } else { Numeric::new(i128::from(self.signum()), 0) }
    }

    /// To `scale` digits after the point (before it, if negative), half away from zero.
    #[must_use]
    pub fn round(&self, scale: i32) -> Numeric {
        self.rescale(scale, Rounding::HalfAway)
    }

    /// To `scale` digits after the point, towards zero.
    #[must_use]
    pub fn trunc(&self, scale: i32) -> Numeric {
        self.rescale(scale, Rounding::Truncate)
    }

    #[must_use]
    pub fn floor(&self) -> Numeric {
        self.rescale(0, Rounding::Floor)
    }

    #[must_use]
    pub fn ceil(&self) -> Numeric {
        self.rescale(0, Rounding::Ceil)
    }

    fn rescale(&self, scale: i32, rounding: Rounding) -> Numeric {
        if !self.is_finite() {
            return self.clone();
        }
        let scale = i64::from(scale).clamp(-131_073, i64::from(SCALE_MAX));
        let dscale = scale.max(0) as u16;
        let drop = i64::from(self.dscale()) - scale;
        // Digits dropped, then zeros put back if the scale is negative.
        let zeros = (-scale).max(0) as u64;
        if let Repr::Small(v, _) = &self.0 {
            let moved = match pow10_small(drop.unsigned_abs()) {
                Some(p) if drop > 0 => Some(divide_small(*v, p, rounding)),
                Some(p) => v.checked_mul(p),
                None => None,
            };
            if let Some(v) = moved.and_then(|v| v.checked_mul(pow10_small(zeros)?)) {
                return Numeric(Repr::Small(v, dscale));
            }
        }
        match self.parts() {
            Some((v, _)) if v.is_zero() => Numeric(Repr::Small(0, dscale)),
            Some((v, _)) if drop > 0 => Numeric::make(divide(&v, &pow10(drop as u64), rounding) * pow10(zeros), dscale),
            Some((v, _)) => Numeric::make(v * pow10(drop.unsigned_abs()), dscale),
            None => self.clone(),
        }
    }

    pub(crate) fn is_integral(&self) -> bool {
        match &self.0 {
            Repr::Small(..) | Repr::Big(..) => self.min_scale() == Some(0),
            Repr::Infinity | Repr::NegInfinity => true,
            Repr::Nan => false,
        }
    }

    /// The greatest common divisor, at the larger scale.
    pub fn gcd(&self, other: &Numeric) -> Numeric {
        match self.align(other) {
            Some((mut a, mut b, scale)) => {
                while !b.is_zero() {
                    (a, b) = (b.clone(), a % b);
                }
                Numeric::make(a.abs(), scale)
            }
            None => Numeric::NAN,
        }
    }

    /// The least common multiple, at the larger scale.
    pub fn lcm(&self, other: &Numeric) -> Result<Numeric> {
        match self.align(other) {
            Some((a, b, scale)) => {
                if a.is_zero() || b.is_zero() {
                    return Ok(Numeric(Repr::Small(0, scale)));
                }
                let (gcd, _) = self.gcd(other).parts().unwrap_or_default();
                Numeric::make_checked((a / gcd * b).abs(), scale)
            }
            None => Ok(Numeric::NAN),
        }
    }

    /// `factorial(n)`.
    pub fn factorial(n: i64) -> Result<Numeric> {
        if n < 0 {
            return Err(SqlError::new(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                "factorial of a negative number is undefined",
            ));
        }
        if n > 32_177 {
            return Err(overflow());
        }
        let product = (2..=n).fold(BigInt::from(1u8), |p, i| p * i);
        Numeric::make_checked(product, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(s: &str) -> Numeric {
        Numeric::parse(s).unwrap()
    }

    #[test]
    fn scales_are_postgresqls() {
        for (a, b, sum, difference, product, quotient, remainder) in [
            ("1", "3", "4", "-2", "3", "0.33333333333333333333", "1"),
            ("10", "4.0", "14.0", "6.0", "40.0", "2.5000000000000000", "2.0"),
            ("-7.25", "2", "-5.25", "-9.25", "-14.50", "-3.6250000000000000", "-1.25"),
            (
                "1e30",
                "7",
                "1000000000000000000000000000007",
                "999999999999999999999999999993",
                "7000000000000000000000000000000",
                "142857142857142857142857142857",
                "1",
            ),
            ("0.0001", "12345", "12345.0001", "-12344.9999", "1.2345", "0.0000000081004455245038477116", "0.0001"),
        ] {
            let (a, b) = (n(a), n(b));
            assert_eq!(a.add(&b).unwrap().to_string(), sum);
            assert_eq!(a.sub(&b).unwrap().to_string(), difference);
            assert_eq!(a.mul(&b).unwrap().to_string(), product);
            assert_eq!(a.div(&b).unwrap().to_string(), quotient, "{a}/{b}");
            assert_eq!(a.rem(&b).unwrap().to_string(), remainder);
        }
    }

    #[test]
    fn specials() {
        assert!(n("inf").sub(&n("inf")).unwrap().is_nan());
        assert!(n("inf").mul(&n("0")).unwrap().is_nan());
        assert_eq!(n("5").div(&n("-inf")).unwrap().to_string(), "0");
        assert_eq!(n("5").rem(&n("-inf")).unwrap().to_string(), "5");
        assert_eq!(n("1").div(&n("0.0")).unwrap_err().code(), SqlState::DIVISION_BY_ZERO);
        assert_eq!(n("1e131071").mul(&n("10")).unwrap_err().message(), "value overflows numeric format");
    }

    #[test]
    fn rounding() {
        for (v, scale, rounded, truncated) in [
            ("2.5", 0, "3", "2"),
            ("-2.5", 0, "-3", "-2"),
            ("1234.567", 1, "1234.6", "1234.5"),
            ("1250", -2, "1300", "1200"),
            ("55", -2, "100", "0"),
            ("5", -3, "0", "0"),
            ("1.5", 3, "1.500", "1.500"),
        ] {
            assert_eq!(n(v).round(scale).to_string(), rounded);
            assert_eq!(n(v).trunc(scale).to_string(), truncated);
        }
        assert_eq!(n("-1.5").floor().to_string(), "-2");
        assert_eq!(n("-1.5").ceil().to_string(), "-1");
        assert_eq!(n("1.00").ceil().to_string(), "1");
    }

    #[test]
    fn integer_functions() {
        assert_eq!(n("12.0").gcd(&n("8")).to_string(), "4.0");
        assert_eq!(n("4").lcm(&n("6.0")).unwrap().to_string(), "12.0");
        assert_eq!(Numeric::factorial(25).unwrap().to_string(), "15511210043330985984000000");
        assert_eq!(n("-7").div_int(&n("2")).unwrap().to_string(), "-3");
    }
}
