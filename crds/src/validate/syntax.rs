//! How Kubernetes writes names, labels and networks.

use std::net::IpAddr;

/// Letters, digits and hyphens, none of these at an end: 63 at most.
pub(super) fn is_dns_label(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(legal) && !text.starts_with('-') && !text.ends_with('-')
}

/// Labels with dots between.
pub(super) fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// The key of a label or annotation, perhaps with a prefix.
pub(super) fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_name(prefix) && is_word(name),
        None => is_word(text),
    }
}

/// The value of a label.
pub(super) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_word(text)
}

fn is_word(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let outer = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len()) && text.chars().all(inner) && text.starts_with(outer) && text.ends_with(outer)
}

/// The name of a variable.
pub(super) fn is_env_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !text.is_empty() && text.chars().all(legal) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// `10.0.0.0/8` or `fd00::/8`.
pub(super) fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known() {
        assert!(is_dns_label("a-1") && is_dns_name("a.b-2") && is_key("example.com/a_B.c") && is_label_value(""));
        for wrong in ["", "-a", "a-", "A", "a_b", "a b"] {
            assert!(!is_dns_label(wrong), "{wrong}");
        }
        for wrong in ["", "/a", "a/", "a/b/c", ".a", "a.", "A/b"] {
            assert!(!is_key(wrong), "{wrong}");
        }
        assert!(is_env_name("_A.b-1") && !is_env_name("1A") && !is_env_name("A=B") && !is_env_name(""));
    }

    #[test]
    fn networks_are_known() {
        assert!(is_network("10.0.0.0/8") && is_network("fd00::/8") && is_network("0.0.0.0/0"));
        for wrong in ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/33", "fd00::/129", "10.0.0.0/-1", "a/8"] {
            assert!(!is_network(wrong), "{wrong}");
        }
    }
}
