//! Roots, powers, exponentials and logarithms of numerics.
//!
//! Values are computed in fixed point with guard digits and rounded once; the result scales follow `sqrt_var`,
//! `exp_var`, `ln_var`, `log_var` and `power_var` of numeric.c, whose estimates are repeated here term by term.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::num_traits::{Signed, ToPrimitive, Zero};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::arith::{DISPLAY_SCALE_MAX, SIGNIFICANT_MIN};
use super::{Numeric, digit_count, div_round, overflow, pow10};

/// Beyond this an exponent overflows or underflows (NUMERIC_MAX_RESULT_SCALE * 3).
const EXP_MAX: f64 = 6000.0;
/// Digits carried beyond the requested ones.
const GUARD: i64 = 25;

fn clamp_scale(scale: i64) -> u16 {
    scale.clamp(0, DISPLAY_SCALE_MAX) as u16
}

/// `value * 10^-from` at another number of digits after the point.
fn shift(value: &BigInt, from: i64, to: i64) -> BigInt {
    if to >= from { value * pow10((to - from) as u64) } else { div_round(value, &pow10((from - to) as u64)) }
}

fn zero_at(scale: i64) -> Numeric {
    Numeric::new(0, clamp_scale(scale))
}

/// ln of `x * 10^-p`, positive, in the same fixed point.
fn ln_fixed(x: &BigInt, p: i64) -> BigInt {
    // x = m * 10^k with m in 0.3..3, so that ln x = ln m + k ln 10, without cancellation near 1.
    let digits = digit_count(x);
    let lead = (x / pow10((digits - 3).max(0) as u64)).to_f64().unwrap_or(1.0) / 10f64.powi((digits - 1).min(2) as i32);
    let k = digits - 1 - p + i64::from(lead > 3.0);
    let m = shift(x, p + k, p);
    let ln_m = ln_near_one(m, p);
    if k == 0 { ln_m } else { ln_m + ln_ten(p) * k }
}

fn ln_ten(p: i64) -> BigInt {
    // ln 10 = 3 ln 2 + ln 1.25; both arguments are in the good range of the series.
    let p2 = p + 5;
    let unit = pow10(p2 as u64);
    let ln2 = ln_near_one(&unit * 2, p2);
    let rest = ln_near_one(&unit * 5 / 4, p2);
    shift(&(ln2 * 3 + rest), p2, p)
}

/// ln of a value in about 0.2..4: square roots to bring it near 1, then ln x = 2 atanh((x - 1) / (x + 1)).
fn ln_near_one(x: BigInt, p: i64) -> BigInt {
    let p2 = p + 10;
    let unit = pow10(p2 as u64);
    let mut x = shift(&x, p, p2);
    let mut doublings = 0u32;
    while (&x - &unit).abs() * 100 > unit && doublings < 12 {
        x = (&x * &unit).sqrt();
        doublings += 1;
    }
    let z = (&x - &unit) * &unit / (&x + &unit);
    let z2 = &z * &z / &unit;
    let (mut term, mut sum, mut i) = (z.clone(), z, 3u32);
    while !term.is_zero() {
        term = &term * &z2 / &unit;
        sum += &term / i;
        i += 2;
    }
    shift(&(sum << (doublings + 1)), p2, p)
}

/// e^(x * 10^-xs) rounded to `scale` digits after the point. |x| is below [`EXP_MAX`].
fn exp_scaled(x: &BigInt, xs: i64, scale: i64) -> BigInt {
    let approx = shift(x, xs, 4).to_f64().unwrap_or(0.0) / 1e4;
    let k = (approx * std::f64::consts::LOG10_E).round() as i64;
    // e^x = 10^k e^r with |r| < 1.2; e^r needs scale + k digits.
    let p = (scale + k).max(0) + GUARD;
    let r = shift(x, xs, p + 6) - ln_ten(p + 6) * k;
    let halvings = 8u32;
    let p2 = p + 10;
    let unit = pow10(p2 as u64);
    let r = shift(&r, p + 6, p2) >> halvings;
    let (mut term, mut sum, mut i) = (unit.clone(), unit.clone(), 1u32);
    while !term.is_zero() {
        term = &term * &r / &unit / i;
        sum += &term;
        i += 1;
    }
    for _ in 0..halvings {
        sum = &sum * &sum / &unit;
    }
    shift(&sum, p2 - k, scale)
}

impl Numeric {
    pub fn sqrt(&self) -> Result<Numeric> {
        if self.is_nan() || (self.is_infinite() && self.signum() > 0) {
            return Ok(self.clone());
        }
        if self.signum() < 0 {
            return Err(SqlError::new(
                SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
                "cannot take square root of a negative number",
            ));
        }
        let scale = SIGNIFICANT_MIN - (self.leading().0 * 2 + 1);
        Ok(self.sqrt_scale(clamp_scale(scale.max(i64::from(self.dscale())))))
    }

    /// The root of a number not negative, at a given scale.
    pub(crate) fn sqrt_scale(&self, scale: u16) -> Numeric {
        let Some((v, s)) = self.parts() else { return self.clone() };
        // One digit more than asked decides the rounding.
        let shift_by = 2 * (i64::from(scale) + 1) - i64::from(s);
        let v = if shift_by >= 0 { v * pow10(shift_by as u64) } else { v / pow10(shift_by.unsigned_abs()) };
        Numeric::make(div_round(&v.sqrt(), &BigInt::from(10u8)), scale)
    }

    pub fn exp(&self) -> Result<Numeric> {
        if !self.is_finite() {
            return Ok(if self.is_infinite() && self.signum() < 0 { Numeric::ZERO } else { self.clone() });
        }
        let value = self.to_f64();
        let weight = (value * std::f64::consts::LOG10_E).clamp(-2000.0, 2000.0);
        let scale = clamp_scale((SIGNIFICANT_MIN - weight as i64).max(i64::from(self.dscale())));
        self.exp_at(value, scale)
    }

    fn exp_at(&self, value: f64, scale: u16) -> Result<Numeric> {
        if value.abs() >= EXP_MAX {
            return if value > 0.0 { Err(overflow()) } else { Ok(Numeric::new(0, scale)) };
        }
        let (v, s) = self.parts().unwrap_or_default();
        Numeric::make_checked(exp_scaled(&v, i64::from(s), i64::from(scale)), scale)
    }

    /// 22-class errors of ln, log and log10 for arguments not positive.
    fn check_logarithm(&self) -> Result<()> {
        let what = match self.signum() {
            0 if !self.is_nan() => "zero",
            -1 => "a negative number",
            _ => return Ok(()),
        };
        Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_LOG, format!("cannot take logarithm of {what}")))
    }

    /// Decimal weight of ln(self), approximately: `estimate_ln_dweight`.
    fn ln_weight(&self) -> i64 {
        if self.signum() <= 0 {
            return 0;
        }
        if *self >= Numeric::new(9, 1) && *self <= Numeric::new(11, 1) {
            return self.sub(&Numeric::ONE).ok().and_then(|x| x.exponent10()).unwrap_or(0);
        }
        let (digits, weight) = self.nbase();
        let Some(first) = digits.first() else { return 0 };
        let (mut lead, mut power) = (f64::from(*first), f64::from(weight) * 4.0);
        if let Some(second) = digits.get(1) {
            lead = lead * 10_000.0 + f64::from(*second);
            power -= 4.0;
        }
        (lead.ln() + power * std::f64::consts::LN_10).abs().log10() as i64
    }

    /// ln at `scale` digits after the point, as an unscaled integer.
    fn ln_at(&self, scale: i64) -> BigInt {
        let (v, s) = self.parts().unwrap_or_default();
        let p = (scale + GUARD).max(i64::from(s) + GUARD);
        // Small arguments have many leading zeros; they must not cost digits.
        let p = p + self.exponent10().map_or(0, |e| (-e).max(0));
        shift(&ln_fixed(&shift(&v, i64::from(s), p), p), p, scale)
    }

    pub fn ln(&self) -> Result<Numeric> {
        if self.is_nan() {
            return Ok(Numeric::NAN);
        }
        self.check_logarithm()?;
        if self.is_infinite() {
            return Ok(Numeric::INFINITY);
        }
        let scale = clamp_scale((SIGNIFICANT_MIN - self.ln_weight()).max(i64::from(self.dscale())));
        Ok(Numeric::make(self.ln_at(i64::from(scale)), scale))
    }

    /// `log(base, self)`.
    pub fn log(&self, base: &Numeric) -> Result<Numeric> {
        if self.is_nan() || base.is_nan() {
            return Ok(Numeric::NAN);
        }
        // With an infinity among them the signs are looked at first, then the zeros.
        let special = base.is_infinite() || self.is_infinite();
        if special && self.signum() < 0 {
            self.check_logarithm()?;
        }
        base.check_logarithm()?;
        self.check_logarithm()?;
        match (base.is_infinite(), self.is_infinite()) {
            (true, true) => return Ok(Numeric::NAN),
            (true, false) => return Ok(Numeric::ZERO),
            (false, true) => return Ok(Numeric::INFINITY),
            (false, false) => {}
        }
        let weight = self.ln_weight() - base.ln_weight();
        let scale = (SIGNIFICANT_MIN - weight).max(i64::from(self.dscale())).max(i64::from(base.dscale()));
        let scale = clamp_scale(scale);
        let p = i64::from(scale) + 2 * GUARD + base.ln_weight().unsigned_abs() as i64 * 2;
        let (ln_self, ln_base) = (self.ln_at(p), base.ln_at(p));
        if ln_base.is_zero() {
            return Err(SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"));
        }
        let (n, d) = if ln_base.is_negative() { (-ln_self, -ln_base) } else { (ln_self, ln_base) };
        Ok(Numeric::make(div_round(&(n * pow10(u64::from(scale))), &d), scale))
    }

    pub fn log10(&self) -> Result<Numeric> {
        self.log(&Numeric::new(10, 0))
    }

    pub fn power(&self, exponent: &Numeric) -> Result<Numeric> {
        if !self.is_finite() || !exponent.is_finite() {
            return self.power_special(exponent);
        }
        if self.is_zero() && exponent.signum() < 0 {
            return Err(SqlError::new(
                SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
                "zero raised to a negative power is undefined",
            ));
        }
        let integral = exponent.is_integral();
        if self.signum() < 0 && !integral {
            return Err(complex_result());
        }
        if integral && let Ok(e) = exponent.to_i32() {
            return self.power_int(i64::from(e));
        }
        if self.is_zero() {
            return Ok(zero_at(SIGNIFICANT_MIN));
        }
        let odd = integral && !exponent.rem(&Numeric::new(2, 0))?.is_zero();
        let result = self.abs().power_real(exponent)?;
        Ok(if self.signum() < 0 && odd { result.neg() } else { result })
    }

    /// e^(exponent * ln(self)) for a positive base.
    fn power_real(&self, exponent: &Numeric) -> Result<Numeric> {
        let ln_weight = self.ln_weight();
        let rough_scale = (8 - ln_weight).max(0);
        let rough = Numeric::make(self.ln_at(rough_scale), rough_scale.min(16_000) as u16).mul(exponent)?;
        let rough = rough.round(rough_scale as i32).to_f64();
        if rough.abs() > EXP_MAX * 3.01 / 3.0 {
            return if rough > 0.0 { Err(overflow()) } else { Ok(zero_at(DISPLAY_SCALE_MAX)) };
        }
        let weight = (rough * std::f64::consts::LOG10_E) as i64;
        let scale = (SIGNIFICANT_MIN - weight).max(i64::from(self.dscale())).max(i64::from(exponent.dscale()));
        let scale = clamp_scale(scale);
        let (e, es) = exponent.parts().unwrap_or_default();
        let digits = (i64::from(scale) + weight).max(0) + GUARD;
        let p = digits + exponent.exponent10().unwrap_or(0).max(0);
        let product = self.ln_at(p) * e;
        if rough.abs() >= EXP_MAX {
            return if rough > 0.0 { Err(overflow()) } else { Ok(Numeric::new(0, scale)) };
        }
        Numeric::make_checked(exp_scaled(&product, p + i64::from(es), i64::from(scale)), scale)
    }

    /// `power_var_int`: repeated squaring, keeping as many digits as the result shows and some more.
    fn power_int(&self, exponent: i64) -> Result<Numeric> {
        let (base, base_scale) = self.parts().unwrap_or_default();
        let scale = clamp_scale(SIGNIFICANT_MIN.max(i64::from(base_scale)));
        match exponent {
            0 => return Ok(Numeric::ONE.round(i32::from(scale))),
            1 => return Ok(self.round(i32::from(scale))),
            -1 => return Numeric::ONE.div_scale(self, scale),
            2 => return self.mul(self).map(|v| v.round(i32::from(scale))),
            _ => {}
        }
        if self.is_zero() {
            return Ok(Numeric::new(0, scale));
        }
        let weight = self.log10_estimate() * exponent as f64;
        if weight > 131_073.0 {
            return Err(overflow());
        }
        if weight + 1.0 < -f64::from(scale) {
            return Ok(Numeric::new(0, scale));
        }
        let digits_max = (i64::from(scale) + weight as i64).max(0) + GUARD + 12;
        let (mut square, mut square_scale) = (base, i64::from(base_scale));
        let (mut result, mut result_scale) = (BigInt::from(1u8), 0i64);
        let mut mask = exponent.unsigned_abs();
        loop {
            if mask & 1 == 1 {
                result *= &square;
                result_scale += square_scale;
                truncate(&mut result, &mut result_scale, digits_max);
            }
            mask >>= 1;
            if mask == 0 {
                break;
            }
            square = &square * &square;
            square_scale *= 2;
            truncate(&mut square, &mut square_scale, digits_max);
        }
        let scale = i64::from(scale);
        let value = if exponent > 0 {
            shift(&result, result_scale, scale)
        } else {
            let n = result_scale + scale;
            let (n, d) =
                if n >= 0 { (pow10(n as u64), result) } else { (BigInt::from(1u8), result * pow10(n.unsigned_abs())) };
            if d.is_negative() { div_round(&-n, &-d) } else { div_round(&n, &d) }
        };
        Numeric::make_checked(value, scale as u16)
    }

    /// log10 of the magnitude in double precision.
    fn log10_estimate(&self) -> f64 {
        let (digits, weight) = self.nbase();
        let (mut f, mut p) = (digits.first().map_or(0.0, |d| f64::from(*d)), f64::from(weight) * 4.0);
        for d in digits.iter().skip(1).take(3) {
            f = f * 10_000.0 + f64::from(*d);
            p -= 4.0;
        }
        f.log10() + p
    }

    /// Powers with NaN or an infinity in them, as POSIX pow().
    fn power_special(&self, exponent: &Numeric) -> Result<Numeric> {
        if self.is_nan() {
            return Ok(if exponent.is_zero() { Numeric::ONE } else { Numeric::NAN });
        }
        if exponent.is_nan() {
            return Ok(if *self == Numeric::ONE { Numeric::ONE } else { Numeric::NAN });
        }
        if self.is_zero() && exponent.signum() < 0 {
            return Err(SqlError::new(
                SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
                "zero raised to a negative power is undefined",
            ));
        }
        if self.signum() < 0 && !exponent.is_integral() {
            return Err(complex_result());
        }
        if *self == Numeric::ONE || exponent.is_zero() {
            return Ok(Numeric::ONE);
        }
        if self.is_zero() {
            return Ok(Numeric::ZERO);
        }
        if exponent.is_infinite() {
            let magnitude = self.abs();
            if magnitude == Numeric::ONE {
                return Ok(Numeric::ONE);
            }
            let grows = (magnitude > Numeric::ONE) == (exponent.signum() > 0);
            return Ok(if grows { Numeric::INFINITY } else { Numeric::ZERO });
        }
        if exponent.signum() < 0 {
            return Ok(Numeric::ZERO);
        }
        let odd = exponent.is_integral() && !exponent.rem(&Numeric::new(2, 0))?.is_zero();
        Ok(if self.signum() < 0 && odd { Numeric::NEG_INFINITY } else { Numeric::INFINITY })
    }
}

fn complex_result() -> SqlError {
    SqlError::new(
        SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
        "a negative number raised to a non-integer power yields a complex result",
    )
}

/// Keeps the first `digits_max` digits of `value * 10^-scale`.
fn truncate(value: &mut BigInt, scale: &mut i64, digits_max: i64) {
    let excess = (value.bits() as f64 * std::f64::consts::LOG10_2) as i64 - digits_max;
    if excess > 0 {
        *value = &*value / pow10(excess as u64);
        *scale -= excess;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(s: &str) -> Numeric {
        Numeric::parse(s).unwrap()
    }

    #[test]
    fn functions_of_one_argument() {
        for (x, sqrt, ln, exp, log10) in [
            ("2", "1.414213562373095", "0.6931471805599453", "7.3890560989306502", "0.3010299956639812"),
            ("1", "1.000000000000000", "0.0000000000000000", "2.7182818284590452", "0.0000000000000000"),
            ("0.5", "0.70710678118654752", "-0.6931471805599453", "1.6487212707001281", "-0.3010299956639812"),
            ("10.50", "3.240370349203930", "2.3513752571634777", "36315.502674246638", "1.0211892990699381"),
        ] {
            assert_eq!(n(x).ln().unwrap().to_string(), ln, "ln {x}");
            assert_eq!(n(x).exp().unwrap().to_string(), exp, "exp {x}");
            assert_eq!(n(x).log10().unwrap().to_string(), log10, "log {x}");
            assert_eq!(n(x).sqrt().unwrap().to_string(), sqrt, "sqrt {x}");
        }
        assert_eq!(n("-1").sqrt().unwrap_err().code(), SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION);
        assert_eq!(n("0").ln().unwrap_err().message(), "cannot take logarithm of zero");
        assert_eq!(n("6000").exp().unwrap_err().message(), "value overflows numeric format");
    }

    #[test]
    fn powers() {
        for (a, b, result) in [
            ("2", "10", "1024.0000000000000000"),
            ("2", "0.5", "1.4142135623730950"),
            ("2", "-3", "0.1250000000000000"),
            ("-2", "3", "-8.0000000000000000"),
            ("0", "0", "1.0000000000000000"),
            ("1.5", "2", "2.2500000000000000"),
            ("10", "20", "100000000000000000000.0000000000000000"),
        ] {
            assert_eq!(n(a).power(&n(b)).unwrap().to_string(), result, "{a}^{b}");
        }
        assert_eq!(n("0").power(&n("-1")).unwrap_err().message(), "zero raised to a negative power is undefined");
    }
}
