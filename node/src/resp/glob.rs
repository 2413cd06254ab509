//! Redis's glob patterns (`KEYS`, `SCAN MATCH`, `CONFIG GET`): `*`, `?`, `[a-z]`, `[^a]` and `\` for itself.
//!
//! Backtracks to the last `*` only, so a hostile pattern costs at most pattern times text.

/// Whether all of `text` matches `pattern`.
pub(super) fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on when the rest doesn't match: behind the last star, with one more byte given to it.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', behind @ ..] = pattern {
            star = Some((behind, text));
            pattern = behind;
            continue;
        }
        if pattern.is_empty() && text.is_empty() {
            return true;
        }
        let step = text.split_first().and_then(|(byte, rest)| Some((one(pattern, *byte, ignore_case)?, rest)));
        match (step, star) {
            (Some((behind, rest)), _) => (pattern, text) = (behind, rest),
            (None, Some((behind, [_, rest @ ..]))) => {
                star = Some((behind, rest));
                (pattern, text) = (behind, rest);
            }
            (None, _) => return false,
        }
    }
}

/// Matches one byte with the head of the pattern and returns the pattern behind it.
fn one(pattern: &[u8], byte: u8, ignore_case: bool) -> Option<&[u8]> {
    let same = |a: u8| if ignore_case { a.eq_ignore_ascii_case(&byte) } else { a == byte };
    match pattern {
        [] => None,
        [b'?', behind @ ..] => Some(behind),
        [b'[', class @ ..] => class_match(class, byte, ignore_case),
        [b'\\', escaped, behind @ ..] => same(*escaped).then_some(behind),
        [literal, behind @ ..] => same(*literal).then_some(behind),
    }
}

/// Matches a class, given behind its `[`. One that doesn't close ends with the pattern, as in Redis.
fn class_match(class: &[u8], byte: u8, ignore_case: bool) -> Option<&[u8]> {
    let fold = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte };
    let (negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    let behind = loop {
        class = match class {
            [] => break class,
            [b']', behind @ ..] => break behind,
            [b'\\', escaped, rest @ ..] => {
                found |= *escaped == byte;
                rest
            }
            [from, b'-', to, rest @ ..] => {
                let (from, to) = (fold(*from), fold(*to));
                found |= (from.min(to)..=from.max(to)).contains(&fold(byte));
                rest
            }
            [member, rest @ ..] => {
                found |= fold(*member) == fold(byte);
                rest
            }
        };
    };
    (found != negated).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        let yes = [
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("h[ae]llo", "hello"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            ("\\*", "*"),
            ("a\\?", "a?"),
            ("**a**", "a"),
            ("*a*b*c", "xxaxbxxc"),
            ("[\\]]", "]"),
            ("[a", "a"),
            ("", ""),
            ("user:*:[0-9]", "user:x:y:7"),
        ];
        let no = [
            ("", "a"),
            ("a", ""),
            ("a?c", "ac"),
            ("h[^e]llo", "hello"),
            ("h[a-c]llo", "hdllo"),
            ("\\*", "a"),
            ("a*c", "ab"),
            ("ABC", "abc"),
            ("[a", "b"),
            ("a*b*c", "acb"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
        }
        assert!(matches(b"MAX*[A-C]", b"maxib", true));
    }

    #[test]
    fn hostile_pattern_is_quick() {
        let pattern = b"*a".repeat(1000);
        assert!(!matches(&pattern, &b"a".repeat(999), false));
        assert!(!matches(&[pattern.as_slice(), b"b"].concat(), &b"a".repeat(20_000), false));
    }
}
