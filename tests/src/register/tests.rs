use super::*;

/// A script: one call per line, `begin end w VALUE`, `… w? VALUE` (not acknowledged), `… r VALUE|-`, `… + SUM|?`.
fn script(text: &str) -> Vec<Call> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| !words.is_empty())
        .map(parse)
        .collect()
}

fn parse(words: Vec<&str>) -> Call {
    let number = |text: &str| text.parse::<u64>().ok();
    let event = match words[2] {
        "w" => Event::Write { value: number(words[3]).unwrap(), acknowledged: true },
        "w?" => Event::Write { value: number(words[3]).unwrap(), acknowledged: false },
        "r" => Event::Read { value: number(words[3]) },
        "+" => Event::Increment { sum: number(words[3]) },
        other => panic!("{other}"),
    };
    Call { key: 0, begin: number(words[0]).unwrap(), end: number(words[1]).unwrap(), event }
}

fn register(text: &str) -> Result<(), String> {
    let calls = script(text);
    check_register(&calls.iter().collect::<Vec<_>>())
}

fn counter(text: &str) -> Result<(), String> {
    let calls = script(text);
    check_counter(&calls.iter().collect::<Vec<_>>())
}

#[test]
fn histories_that_have_an_order() {
    for text in [
        "",
        "1 2 r -",
        "1 2 w 7\n3 4 r 7",
        // Overlapping writes may go either way, and a read beside a write may see either value.
        "1 10 w 1\n2 9 w 2\n11 12 r 1",
        "1 2 w 1\n3 10 w 2\n4 5 r 1\n6 7 r 2\n8 9 r 2",
        // Without an answer: never, at once, or long after.
        "1 2 w 1\n3 4 w? 2\n5 6 r 1\n7 8 r 1",
        "1 2 w 1\n3 4 w? 2\n5 6 r 1\n7 8 r 2\n9 10 r 2",
        "1 2 w? 5\n3 4 r -\n5 6 r 5",
    ] {
        assert_eq!(register(text), Ok(()), "{text}");
    }
}

#[test]
fn histories_that_have_none() {
    for text in [
        // A lost write, a stale read, a value from nowhere, a value from the future.
        "1 2 w 1\n3 4 r -",
        "1 2 w 1\n3 4 w 2\n5 6 r 1",
        "1 2 r 9",
        "1 2 r 7\n3 4 w 7",
        // Back and forth.
        "1 2 w 1\n3 20 w 2\n4 5 r 2\n6 7 r 1",
        "1 2 w 1\n3 4 w? 2\n5 6 r 2\n7 8 r 1",
        "1 2 w 1\n3 4 w? 2\n5 6 r 2\n7 8 w 3\n9 10 r 3\n11 12 r 2",
        // A write that nobody read, yet had to be between.
        "1 2 w 1\n3 4 w 2\n5 6 w 3\n7 8 r 1",
        "1 2 w 1\n3 10 r 1\n4 5 w 2\n6 7 w 3\n8 9 r 1",
    ] {
        assert!(register(text).is_err(), "{text}");
    }
}

#[test]
fn counters() {
    for text in ["1 2 + 1\n3 4 + 2\n5 6 r 2", "1 2 + ?\n3 4 r -\n5 6 r 1", "1 9 + 2\n2 8 + 1\n3 4 r 1"] {
        assert_eq!(counter(text), Ok(()), "{text}");
    }
    for text in ["1 2 + 1\n3 4 + 1", "1 2 + 1\n3 4 r -", "1 2 + 1\n3 4 r 2", "1 2 + ?\n3 4 r 1\n5 6 r -", "1 2 + 2"] {
        assert!(counter(text).is_err(), "{text}");
    }
}

/// Every history of a register that is really linearizable is accepted.
#[test]
fn histories_of_a_real_register_are_accepted() {
    let mut state = 0x9e37_79b9_u64;
    let mut draw = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..200 {
        let mut current = None;
        let calls: Vec<Call> = (1..=60)
            .map(|at| {
                // Takes effect at 100 * at; begins before and ends after by up to ten others.
                let (begin, end) = (100 * at + 2000 - draw(1000), 100 * at + 2001 + draw(1000));
                let event = match draw(3) {
                    0 => {
                        current = Some(at);
                        Event::Write { value: at, acknowledged: draw(4) > 0 }
                    }
                    _ => Event::Read { value: current },
                };
                Call { key: 0, begin, end, event }
            })
            .collect();
        assert_eq!(check_register(&calls.iter().collect::<Vec<_>>()), Ok(()), "round {round}");
    }
}
