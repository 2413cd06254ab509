//! Numbers as `INCR` and `INCRBYFLOAT` read, add and print them. Pure, and the same on every platform.
//!
//! Integers are what Redis's `string2ll` takes: the canonical form only (no blanks, no `+`, no leading zero, no
//! `-0`).
//!
//! Decimals: `[+-] digits [. digits] [e [+-] digits]`, with digits on at least one side of the point; at most
//! [`MAX_NUMBER_BYTES`]. Redis adds in the C compiler's `long double`, whose width depends on the platform, so
//! replicas could differ. Here:
//!
//! 1. Both numbers are rounded to multiples of 10^-17, halves away from zero (most are multiples already). When they
//!    and their sum, times 10^17, fit an `i128` (about ±1.7 * 10^21), the sum is exact.
//! 2. Otherwise both are rounded to the nearest `f64` (ties to even), added as IEEE 754 says, and the exact value
//!    of the sum is rounded to 17 fractional digits. Beyond `f64` is [`Refusal::NotFinite`].
//!
//! Either way the result is printed as Redis does: plain digits, at most 17 after the point, no trailing zeros,
//! never `-0`. `inf` is read and then refused as not finite, `nan` is not a number (both as in Redis). Hexadecimal
//! floats, which `strtold` would take, are not numbers here.

use crate::machine::command::Refusal;

/// The longest text that is read as a number (Redis has the same bound).
pub const MAX_NUMBER_BYTES: usize = 5 * 1024 - 1;

const FRACTION_DIGITS: i64 = 17;
const SCALE: i128 = 10_i128.pow(17);

/// Reads a 64-bit integer in its canonical form.
#[must_use]
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    // The longest is "-9223372036854775808"; `parse` refuses what is longer, but only after a walk over it.
    if !canonical || text.len() > 20 {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Adds two decimal numbers and prints the sum.
pub fn add_decimals(value: &[u8], delta: &[u8]) -> Result<String, Refusal> {
    let (value, delta) = (Decimal::parse(value)?, Decimal::parse(delta)?);
    if let (Some(a), Some(b)) = (value.scaled(), delta.scaled())
        && let Some(sum) = a.checked_add(b)
    {
        return Ok(print_scaled(sum));
    }
    let sum = value.nearest() + delta.nearest();
    if sum.is_finite() { Ok(trim(format!("{sum:.17}"))) } else { Err(Refusal::NotFinite) }
}

/// A number as it was written.
enum Decimal<'a> {
    Finite { text: &'a str, negative: bool, whole: &'a [u8], fraction: &'a [u8], exponent: i64 },
    Infinite,
}

impl<'a> Decimal<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_NUMBER_BYTES {
            return Err(Refusal::NotANumber);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Refusal::NotANumber)?;
        let (negative, rest) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Ok(Self::Infinite);
        }
        let (mantissa, exponent) = match rest.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&rest[..at], parse_exponent(&rest[at + 1..]).ok_or(Refusal::NotANumber)?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|&b| b == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        let digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
        if !digits || whole.is_empty() && fraction.is_empty() {
            return Err(Refusal::NotANumber);
        }
        Ok(Self::Finite { text, negative, whole, fraction, exponent })
    }

    /// The number times 10^17, rounded to a whole number (halves away from zero), if that fits.
    fn scaled(&self) -> Option<i128> {
        let Self::Finite { text: _, negative, whole, fraction, exponent } = self else { return None };
        let mut size = 0_i128;
        // The power of ten, after scaling, of the digit at hand.
        let mut power = (whole.len() as i64).saturating_add(FRACTION_DIGITS).saturating_add(*exponent);
        for digit in whole.iter().chain(fraction.iter()).map(|b| i128::from(b - b'0')) {
            power = power.saturating_sub(1);
            if power < 0 {
                size += i128::from(power == -1 && digit >= 5);
                break;
            }
            size = size.checked_mul(10)?.checked_add(digit)?;
        }
        if power > 0 {
            size = shift(size, u32::try_from(power).ok())?;
        }
        Some(if *negative { -size } else { size })
    }

    fn nearest(&self) -> f64 {
        match self {
            // Every text of this form is one that `f64` reads, correctly rounded; the fallback can't be reached.
            Self::Finite { text, .. } => text.parse().unwrap_or(f64::NAN),
            Self::Infinite => f64::INFINITY,
        }
    }
}

/// `size` times a power of ten (`None`: one that is too large for anything but 0).
fn shift(size: i128, power: Option<u32>) -> Option<i128> {
    if size == 0 { Some(0) } else { size.checked_mul(10_i128.checked_pow(power?)?) }
}

/// An exponent; one beyond `i64` is as good as the largest.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().fold(0_i64, |n, b| n.saturating_mul(10).saturating_add(i64::from(b - b'0')));
    Some(if negative { -size } else { size })
}

fn print_scaled(scaled: i128) -> String {
    let size = scaled.unsigned_abs();
    let sign = if scaled < 0 { "-" } else { "" };
    let scale = SCALE.unsigned_abs();
    trim(format!("{sign}{}.{:017}", size / scale, size % scale))
}

/// Without trailing zeros, nor a point at the end, nor a minus before zero.
fn trim(text: String) -> String {
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_canonical_only() {
        for good in ["0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(parse_integer(good.as_bytes()), good.parse().ok(), "{good}");
        }
        for bad in [
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "01",
            "-0",
            "-01",
            "1.0",
            "0x1",
            "00",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999999",
            "\u{0661}",
        ] {
            assert_eq!(parse_integer(bad.as_bytes()), None, "{bad}");
        }
    }

    #[track_caller]
    fn check(value: &str, delta: &str, want: Result<&str, Refusal>) {
        let got = add_decimals(value.as_bytes(), delta.as_bytes());
        assert_eq!(got.as_deref().map_err(|e| *e), want, "{value} + {delta}");
    }

    #[test]
    fn sums_print_as_in_redis() {
        check("10.5", "0.1", Ok("10.6"));
        check("5.0e3", "2.0e2", Ok("5200"));
        check("0", "0.1", Ok("0.1"));
        check("0.1", "0.2", Ok("0.3"));
        check("3", "-3.0", Ok("0"));
        check("-0.0", "-0", Ok("0"));
        check("-1.5", "0.25", Ok("-1.25"));
        check("0.2", "-0.3", Ok("-0.1"));
        check("5.", ".5", Ok("5.5"));
        check("+1", "1", Ok("2"));
        check("17179869184", "1.5", Ok("17179869185.5"));
        check("1e-17", "0", Ok("0.00000000000000001"));
        check("100000000000000000000", "1", Ok("100000000000000000001"));
        check("0e999999999999999999999", "1", Ok("1"));
    }

    #[test]
    fn more_than_17_fractional_digits_are_rounded() {
        check("1e-18", "0", Ok("0"));
        check("-1e-18", "0", Ok("0"));
        check("5e-18", "0", Ok("0.00000000000000001"));
        check("-5e-18", "0", Ok("-0.00000000000000001"));
        check("49e-19", "0", Ok("0"));
        check("0.3", "1e-30", Ok("0.3"));
        check("0.99999999999999999999", "0", Ok("1"));
        check("3.14159265358979323846", "1", Ok("4.14159265358979324"));
        check(&format!("0.{}", "3".repeat(4_000)), "0", Ok("0.33333333333333333"));
        check(&format!("{}1", "0".repeat(4_000)), "0", Ok("1"));
        check("1e-9223372036854775808", "1", Ok("1"));
    }

    #[test]
    fn what_is_too_large_goes_through_f64() {
        check("1e22", "1", Ok("10000000000000000000000"));
        check("0.12345678901234567890", "0", Ok("0.12345678901234568"));
        check("1e-99999999999999999999", "1", Ok("1"));
        assert_eq!(add_decimals(b"1e308", b"0").map(|s| s.len()), Ok(309));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bad in ["", " 1", "1 ", "nan", "1e", "1e+", ".", "e1", "--1", "1.2.3", "0x10", "1_0", "1.5\0"] {
            check(bad, "1", Err(Refusal::NotANumber));
            check("1", bad, Err(Refusal::NotANumber));
        }
        check("1", "inf", Err(Refusal::NotFinite));
        check("1", "-Infinity", Err(Refusal::NotFinite));
        check("1e308", "1e308", Err(Refusal::NotFinite));
        check("1e400", "0", Err(Refusal::NotFinite));
        check(&"1".repeat(MAX_NUMBER_BYTES + 1), "1", Err(Refusal::NotANumber));
    }
}
