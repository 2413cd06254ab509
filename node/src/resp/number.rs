//! Numbers in requests and replies, by Redis's rules and without allocation.

/// A whole decimal number as Redis's `string2ll` takes it: no space, no `+`, no leading zero, no `-0`.
pub(super) fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = parse_u64(digits)?;
    if !negative {
        return i64::try_from(magnitude).ok();
    }
    match magnitude {
        0 => None,
        _ => 0_i64.checked_sub_unsigned(magnitude),
    }
}

/// A whole number without a sign; no leading zero.
pub(super) fn parse_u64(digits: &[u8]) -> Option<u64> {
    match digits {
        [] | [b'0', _, ..] => return None,
        _ => {}
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { sum.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// The decimal digits of a number, in a buffer on the stack.
pub(super) struct Decimal {
    bytes: [u8; 20],
    from: usize,
}

impl Decimal {
    /// Formats a number.
    pub(super) fn new(number: i64) -> Self {
        let mut decimal = Self { bytes: [0; 20], from: 20 };
        let mut rest = number.unsigned_abs();
        loop {
            decimal.push((rest % 10) as u8 + b'0');
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            decimal.push(b'-');
        }
        decimal
    }

    /// The digits, with a `-` in front of a negative number.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    /// 20 bytes hold 19 digits and a sign, the longest an `i64` needs.
    fn push(&mut self, byte: u8) {
        self.from -= 1;
        self.bytes[self.from] = byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_parses_the_whole_range() {
        for number in [0, 1, -1, 9, 10, -10, 1234567890, i64::MAX, i64::MIN] {
            let text = number.to_string();
            assert_eq!(Decimal::new(number).as_bytes(), text.as_bytes());
            assert_eq!(parse_i64(text.as_bytes()), Some(number));
        }
    }

    #[test]
    fn refuses_what_redis_refuses() {
        for text in ["", "-", "-0", "+1", " 1", "1 ", "01", "1.0", "a", "9223372036854775808", "--1"] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
    }
}
