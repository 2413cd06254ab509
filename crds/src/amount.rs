//! An amount of memory, disk or processor as Kubernetes writes it: `512Mi`, `1.5Gi`, `500m`, `2`.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// A quantity, not yet looked at. YAML may give it as a number or a text; it is kept as a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Amount(pub String);

/// What the API server lets through.
const PATTERN: &str = r"^[0-9]{1,15}(\.[0-9]{1,3})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";

/// The suffixes, and how many thousandths one of each is.
const SUFFIXES: [(&str, u128); 14] = [
    ("Ki", 1_000 << 10),
    ("Mi", 1_000 << 20),
    ("Gi", 1_000 << 30),
    ("Ti", 1_000 << 40),
    ("Pi", 1_000 << 50),
    ("Ei", 1_000 << 60),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("", 1_000),
];

impl Amount {
    /// So many bytes, by the largest binary suffix that says them exactly.
    #[must_use]
    pub fn of_bytes(bytes: u64) -> Self {
        let binary = SUFFIXES.iter().filter(|(suffix, _)| suffix.ends_with('i')).rev();
        let units = binary.map(|(suffix, unit)| (suffix, u64::try_from(unit / 1_000).unwrap_or(u64::MAX)));
        let exact = units.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
        Self(exact.map_or_else(|| bytes.to_string(), |(suffix, unit)| format!("{}{suffix}", bytes / unit)))
    }

    /// In thousandths, rounded up.
    ///
    /// # Errors
    /// What would be right.
    pub fn milli(&self) -> Result<u128, String> {
        let text = self.0.as_str();
        let wrong =
            || format!("{text:?} is no amount; write a number, perhaps with a suffix, as in 512Mi, 1.5Gi or 500m");
        let (number, unit) = SUFFIXES
            .iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)))
            .ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 15) || !digits(fraction, 3) {
            return Err(wrong());
        }
        let value = |text: &str| text.parse::<u128>().map_err(|_| wrong());
        let parts = [1, 10, 100, 1_000][fraction.len()];
        Ok(value(whole)? * unit + (value(fraction)? * unit).div_ceil(parts))
    }

    /// In whole bytes, rounded up.
    ///
    /// # Errors
    /// What would be right.
    pub fn bytes(&self) -> Result<u64, String> {
        let bytes = self.milli()?.div_ceil(1_000);
        u64::try_from(bytes)
            .ok()
            .filter(|bytes| *bytes <= i64::MAX as u64)
            .ok_or_else(|| format!("{self} is too much"))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Amount {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Text(String),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Number(number) => Self(number.to_string()),
            Written::Text(text) => Self(text),
        })
    }
}

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true, "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_or_refused() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("1500m", 2),
            ("1k", 1_000),
            ("1.5Ki", 1_536),
            ("512Mi", 512 << 20),
            ("2Gi", 2 << 30),
            ("1E", 1_000_000_000_000_000_000),
        ] {
            assert_eq!(Amount::from(text).bytes(), Ok(bytes), "{text}");
        }
        for wrong in
            ["", "Gi", "-1", "1.", ".5", "1,5", "1 Gi", "1gi", "1e3", "1.2345", "+1", "9999999999999999", "999Ei"]
        {
            assert!(Amount::from(wrong).bytes().is_err(), "{wrong}");
        }
        assert_eq!(Amount::from("250m").milli(), Ok(250));
        for text in ["0", "1", "1025", "3Ki", "1536Mi", "2Gi", "1Ei"] {
            assert_eq!(Amount::from(text).bytes().map(Amount::of_bytes), Ok(Amount::from(text)));
        }
    }

    #[test]
    fn numbers_and_texts_are_alike() {
        assert_eq!(serde_json::from_str::<Amount>("2").expect("a number"), Amount::from("2"));
        assert_eq!(serde_json::from_str::<Amount>("\"2Gi\"").expect("a text"), Amount::from("2Gi"));
        assert!(serde_json::from_str::<Amount>("1.5").is_err(), "the API server has refused it before");
    }
}
