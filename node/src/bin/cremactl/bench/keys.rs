//! Which key a command is about.

use crema::types::Draw;

/// Digits of a key's number.
pub(super) const DIGITS: usize = 12;

/// Appends the name of a key: the prefix and 12 digits.
pub(super) fn push_name(into: &mut Vec<u8>, prefix: &str, mut number: u64) {
    into.extend_from_slice(prefix.as_bytes());
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    into.extend_from_slice(&digits);
}

/// How often each key is drawn.
#[derive(Clone, Debug)]
pub(super) enum Distribution {
    /// All the same.
    Uniform {
        /// How many there are.
        keys: u64,
    },
    /// The nth as often as `n ^ -exponent`.
    Zipf(Zipf),
}

impl Distribution {
    pub(super) fn uniform(keys: u64) -> Self {
        Self::Uniform { keys }
    }

    pub(super) fn zipf(keys: u64, exponent: f64) -> Self {
        Self::Zipf(Zipf::new(keys, exponent))
    }

    /// A key's number, from 0.
    pub(super) fn draw(&self, draw: &mut Draw) -> u64 {
        match self {
            Self::Uniform { keys } => draw.below(*keys),
            Self::Zipf(zipf) => zipf.draw(draw),
        }
    }
}

/// Zipf's law by rejection-inversion (Hörmann and Derflinger, 1996): exact, with nothing to tabulate.
///
/// Ranks are drawn by inverting the integral of the density, which lies above the steps of the true probabilities; what
/// falls between the two is drawn again, which is rare.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    keys: f64,
    exponent: f64,
    /// The integral up to the right end of the first rank's step, less that step.
    low: f64,
    /// The integral up to the right end of the last one.
    high: f64,
}

impl Zipf {
    fn new(keys: u64, exponent: f64) -> Self {
        let mut zipf = Self { keys: keys as f64, exponent, low: 0.0, high: 0.0 };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(zipf.keys + 0.5);
        zipf
    }

    fn draw(&self, draw: &mut Draw) -> u64 {
        loop {
            let height = self.high + unit(draw) * (self.low - self.high);
            let rank = self.inverse(height).round().clamp(1.0, self.keys);
            if height >= self.integral(rank + 0.5) - rank.powf(-self.exponent) {
                return rank as u64 - 1;
            }
        }
    }

    /// The integral of `x ^ -exponent` from 1 to `x`.
    fn integral(&self, x: f64) -> f64 {
        let power = 1.0 - self.exponent;
        // Near an exponent of 1 the difference of powers would lose its digits.
        if power.abs() < 1e-9 { x.ln() } else { (power * x.ln()).exp_m1() / power }
    }

    fn inverse(&self, height: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power.abs() < 1e-9 { height.exp() } else { ((power * height).ln_1p() / power).exp() }
    }
}

/// From 0 to below 1.
pub(super) fn unit(draw: &mut Draw) -> f64 {
    (draw.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_twelve_digits() {
        let mut name = Vec::new();
        push_name(&mut name, "{t}:", 40_912);
        assert_eq!(name, b"{t}:000000040912");
    }

    /// How often each of the first keys is drawn, against what the law says.
    fn check(keys: u64, exponent: f64) {
        const DRAWS: u64 = 200_000;
        let (zipf, mut draw) = (Distribution::zipf(keys, exponent), Draw::new(7));
        let mut counts = vec![0_u64; keys as usize];
        for _ in 0..DRAWS {
            counts[zipf.draw(&mut draw) as usize] += 1;
        }
        let weight = |rank: u64| (rank as f64).powf(-exponent);
        let all: f64 = (1..=keys).map(weight).sum();
        for rank in 1..=keys.min(5) {
            let (want, got) = (weight(rank) / all, counts[rank as usize - 1] as f64 / DRAWS as f64);
            assert!((want - got).abs() < 0.005, "{keys} keys, {exponent}: rank {rank} is drawn {got}, not {want}");
        }
    }

    #[test]
    fn zipf_draws_as_its_law_says() {
        for exponent in [0.5, 0.99, 1.0, 1.5, 3.0] {
            check(1_000, exponent);
            check(2, exponent);
            check(1, exponent);
        }
    }

    #[test]
    fn uniform_draws_reach_every_key() {
        let (keys, mut draw) = (Distribution::uniform(10), Draw::new(7));
        let drawn: std::collections::BTreeSet<u64> = (0..1_000).map(|_| keys.draw(&mut draw)).collect();
        assert_eq!(drawn, (0..10).collect());
    }
}
