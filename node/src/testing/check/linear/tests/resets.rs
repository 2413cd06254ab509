//! Shards that lost all they held: what was open meanwhile may have happened before that or after it.

use super::*;

/// The first version of the second generation.
const HIGH: u64 = (1 << 48) + 1;

/// A value that was there at first.
fn with_a() -> Recorder {
    let mut recorder = Recorder::new();
    tell(&mut recorder, put("a"), stored(1));
    recorder
}

fn tell(recorder: &mut Recorder, op: Op, outcome: Outcome) {
    let call = recorder.begin(1, 0, 0, op, 1);
    recorder.end(call, End::Done(outcome), 2);
}

fn is_good(recorder: Recorder) -> bool {
    check(&recorder.finish(), &Rules::default(), SearchLimit::default()).is_ok()
}

/// What clients are told after a reset of a shard is known to have happened.
fn after_reset_of(shard: u32, op: Op, outcome: Outcome) -> bool {
    let mut recorder = with_a();
    recorder.begin_reset(shard, 2, 3);
    recorder.end_reset(shard, 2, 4);
    tell(&mut recorder, op, outcome);
    is_good(recorder)
}

#[test]
fn what_was_there_is_gone() {
    assert!(after_reset_of(0, get(), miss()));
    assert!(!after_reset_of(0, get(), found("a", 1)));
    assert!(after_reset_of(1, get(), found("a", 1)), "another shard");
    assert!(!after_reset_of(1, get(), miss()), "another shard");
}

#[test]
fn versions_begin_high() {
    assert!(after_reset_of(0, put("b"), stored(HIGH)));
    assert!(!after_reset_of(0, put("b"), stored(2)));
    assert!(!after_reset_of(0, put("b"), stored(HIGH - 1)));
}

#[test]
fn meanwhile_both_may_be_seen_in_one_order() {
    let meanwhile = |seen: [Outcome; 2]| {
        let mut recorder = with_a();
        recorder.begin_reset(0, 2, 3);
        seen.into_iter().for_each(|outcome| tell(&mut recorder, get(), outcome));
        recorder.end_reset(0, 2, 4);
        is_good(recorder)
    };
    assert!(meanwhile([found("a", 1), miss()]));
    assert!(!meanwhile([miss(), found("a", 1)]));
}

#[test]
fn a_reset_that_nobody_has_seen_may_come_or_not() {
    for outcomes in [vec![found("a", 1)], vec![found("a", 1), miss()], vec![miss()]] {
        let mut recorder = with_a();
        recorder.begin_reset(0, 2, 3);
        outcomes.iter().for_each(|outcome| tell(&mut recorder, get(), outcome.clone()));
        assert!(is_good(recorder), "{outcomes:?}");
    }
}

#[test]
fn what_was_open_may_have_happened_in_either() {
    let across = |seen: Outcome| {
        let mut recorder = with_a();
        recorder.begin(2, 0, 0, put("b"), 2);
        recorder.begin_reset(0, 2, 3);
        recorder.end_reset(0, 2, 4);
        tell(&mut recorder, get(), seen);
        is_good(recorder)
    };
    assert!(across(miss()));
    assert!(across(found("b", HIGH)));
    assert!(!across(found("b", 2)), "with a version of before");
}

/// Asked for again and again, it happens once.
#[test]
fn a_reset_is_noted_once() {
    let mut recorder = with_a();
    for ms in 3..6 {
        recorder.begin_reset(0, 2, ms);
    }
    for ms in 6..9 {
        recorder.end_reset(0, 2, ms);
    }
    tell(&mut recorder, put("b"), stored(HIGH));
    tell(&mut recorder, get(), found("b", HIGH));
    let history = recorder.finish();
    assert_eq!(history.resets().len(), 1);
    check(&history, &Rules::default(), SearchLimit::default()).expect("nothing is lost after it");
}
