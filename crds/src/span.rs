//! A length of time as people write it: `500ms`, `30s`, `5m`, `1h`.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A whole number with a unit, not yet looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub String);

/// What the API server lets through.
const PATTERN: &str = "^[0-9]{1,12}(ms|s|m|h|d)$";

impl Span {
    /// As a duration.
    ///
    /// # Errors
    /// What would be right.
    pub fn duration(&self) -> Result<Duration, String> {
        let text = self.0.as_str();
        let wrong = || format!("{text:?} is no time; write a whole number with ms, s, m, h or d, as in 30s or 5m");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (count, unit) = text.split_at(digits);
        let count: u64 = count.parse().map_err(|_| wrong())?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        count.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(wrong)
    }
}

impl From<&str> for Span {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 16, "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_or_refused() {
        for (text, ms) in
            [("0s", 0), ("200ms", 200), ("3s", 3_000), ("2m", 120_000), ("1h", 3_600_000), ("1d", 86_400_000)]
        {
            assert_eq!(Span::from(text).duration(), Ok(Duration::from_millis(ms)), "{text}");
        }
        for wrong in ["", "3", "s", "1.5s", "-1s", "3 s", "3w", "99999999999999999999s", "9999999999999999999h"] {
            assert!(Span::from(wrong).duration().is_err(), "{wrong}");
        }
    }
}
