//! Known histories, good and bad.

use bytes::Bytes;

use crate::{
    Error,
    machine::command::{Command, Condition, Expiry, Found, Meta, Op, Outcome, Put, Query},
    testing::check::{ClockBounds, End, Recorder, Rules, SearchLimit, check},
    types::{Timestamp, Version},
};

mod resets;

const KEY: Bytes = Bytes::from_static(b"k");

/// Calls written as (client, op, begin, end, how it ended), played in the order of the moments.
struct Script(Vec<(u64, Op, u64, Option<u64>, End)>);

impl Script {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn done(mut self, client: u64, begin: u64, end: u64, op: Op, outcome: Outcome) -> Self {
        self.0.push((client, op, begin, Some(end), End::Done(outcome)));
        self
    }

    fn unknown(mut self, client: u64, begin: u64, end: u64, op: Op) -> Self {
        self.0.push((client, op, begin, Some(end), End::Unknown));
        self
    }

    fn failed(mut self, client: u64, begin: u64, end: u64, op: Op) -> Self {
        self.0.push((client, op, begin, Some(end), End::NotApplied));
        self
    }

    fn open(mut self, client: u64, begin: u64, op: Op) -> Self {
        self.0.push((client, op, begin, None, End::Unknown));
        self
    }

    fn judge(&self, rules: &Rules) -> Result<(), String> {
        let mut moments: Vec<(u64, bool, usize)> = Vec::new();
        for (i, (_, _, begin, end, _)) in self.0.iter().enumerate() {
            moments.push((*begin, false, i));
            moments.extend(end.map(|end| (end, true, i)));
        }
        moments.sort_unstable();
        let mut recorder = Recorder::new();
        let mut ids = vec![None; self.0.len()];
        for (ms, is_end, i) in moments {
            let (client, op, _, _, end) = &self.0[i];
            match (is_end, ids[i]) {
                (true, Some(id)) => recorder.end(id, end.clone(), ms),
                (true, None) => panic!("ends before it begins"),
                (false, _) => ids[i] = Some(recorder.begin(*client, 0, 0, op.clone(), ms)),
            }
        }
        check(&recorder.finish(), rules, SearchLimit::default()).map(|_| ()).map_err(|v| v.reason)
    }

    #[track_caller]
    fn good(&self) {
        self.judge(&Rules::default()).expect("linearizable");
    }

    #[track_caller]
    fn bad(&self) {
        let reason = self.judge(&Rules::default()).expect_err("not linearizable");
        assert!(reason.starts_with("not linearizable"), "{reason}");
    }
}

fn put(value: &'static str) -> Op {
    put_with(value, Condition::Always, Expiry::Never)
}

fn put_with(value: &'static str, condition: Condition, expiry: Expiry) -> Op {
    let value = Bytes::from_static(value.as_bytes());
    Op::Write(Command::Put(Put { key: KEY, value, expiry, condition, return_old: false }))
}

fn get() -> Op {
    Op::Read(Query::Get { key: KEY })
}

fn incr(delta: i64) -> Op {
    Op::Write(Command::Increment { key: KEY, delta })
}

fn append(text: &'static str) -> Op {
    Op::Write(Command::Append { key: KEY, suffix: Bytes::from_static(text.as_bytes()) })
}

fn delete() -> Op {
    Op::Write(Command::Delete { key: KEY, condition: Condition::Always })
}

fn stored(version: u64) -> Outcome {
    Outcome::Stored { version: Version(version), old: None }
}

fn sum(value: i64, version: u64) -> Outcome {
    Outcome::Integer { value, version: Version(version) }
}

fn found(value: &'static str, version: u64) -> Outcome {
    found_until(value, version, None)
}

fn found_until(value: &'static str, version: u64, expires_at: Option<u64>) -> Outcome {
    let meta =
        Meta { version: Version(version), expires_at: expires_at.map(Timestamp), ttl_ms: expires_at.map(|_| 1) };
    Outcome::Value(Some(Found { value: Bytes::from_static(value.as_bytes()), meta }))
}

fn miss() -> Outcome {
    Outcome::Value(None)
}

#[test]
fn one_after_the_other() {
    Script::new()
        .done(1, 1, 2, put("a"), stored(1))
        .done(2, 3, 4, get(), found("a", 1))
        .done(1, 5, 6, delete(), Outcome::Deleted(true))
        .done(2, 7, 8, get(), miss())
        .good();
}

#[test]
fn concurrent_reads_may_see_either() {
    Script::new()
        .done(1, 1, 2, put("a"), stored(1))
        .done(1, 3, 9, put("b"), stored(2))
        .done(2, 4, 5, get(), found("a", 1))
        .done(3, 6, 7, get(), found("b", 2))
        .good();
}

#[test]
fn new_then_old_is_wrong() {
    Script::new()
        .done(1, 1, 2, put("a"), stored(1))
        .done(1, 3, 9, put("b"), stored(2))
        .done(2, 4, 5, get(), found("b", 2))
        .done(3, 6, 7, get(), found("a", 1))
        .bad();
}

#[test]
fn stale_read() {
    Script::new()
        .done(1, 1, 2, put("a"), stored(1))
        .done(1, 3, 4, put("b"), stored(2))
        .done(2, 5, 6, get(), found("a", 1))
        .bad();
}

#[test]
fn lost_write() {
    Script::new().done(1, 1, 2, put("a"), stored(1)).done(2, 3, 4, get(), miss()).bad();
}

#[test]
fn lost_update_of_two_counters() {
    Script::new().done(1, 1, 5, incr(1), sum(1, 1)).done(2, 2, 6, incr(1), sum(1, 2)).bad();
}

#[test]
fn resurrected_value() {
    Script::new()
        .done(1, 1, 2, put("a"), stored(1))
        .done(1, 3, 4, delete(), Outcome::Deleted(true))
        .done(2, 5, 6, get(), miss())
        .done(2, 7, 8, get(), found("a", 1))
        .bad();
}

#[test]
fn increment_applied_twice() {
    Script::new()
        .done(1, 1, 2, incr(1), sum(1, 1))
        .unknown(1, 3, 4, incr(5))
        .done(2, 5, 6, get(), found("11", 3))
        .bad();
}

#[test]
fn append_applied_twice() {
    Script::new()
        .done(1, 1, 2, append("x"), Outcome::Length(1))
        .unknown(1, 3, 4, append("y"))
        .done(2, 5, 6, get(), found("xy", 2))
        .done(2, 7, 8, get(), found("xyy", 3))
        .bad();
}

#[test]
fn unknown_write_may_come_late_or_never() {
    let base = Script::new().done(1, 1, 2, put("a"), stored(1)).unknown(1, 3, 4, put("b"));
    base.done(2, 5, 6, get(), found("a", 1)).done(2, 7, 8, get(), found("b", 2)).good();
    let base = Script::new().done(1, 1, 2, put("a"), stored(1)).open(1, 3, put("b"));
    base.done(2, 5, 6, get(), found("a", 1)).done(2, 7, 8, get(), found("a", 1)).good();
}

#[test]
fn unknown_write_comes_once_only() {
    // A retry of `b` that lands after the acknowledged `c`.
    Script::new()
        .unknown(1, 1, 2, put("b"))
        .done(2, 3, 4, get(), found("b", 1))
        .done(2, 5, 6, put("c"), stored(2))
        .done(3, 7, 8, get(), found("b", 3))
        .bad();
}

#[test]
fn failed_write_must_not_be_seen() {
    Script::new().failed(1, 1, 2, put("a")).done(2, 3, 4, get(), found("a", 1)).bad();
    Script::new().failed(1, 1, 2, put("a")).done(2, 3, 4, get(), miss()).good();
}

#[test]
fn compare_and_set_wins_once() {
    let cas = |value| put_with(value, Condition::IfVersion(Version(1)), Expiry::Never);
    let one = Script::new().done(1, 1, 2, put("a"), stored(1)).done(1, 3, 8, cas("b"), stored(2));
    one.done(2, 4, 9, cas("c"), stored(3)).bad();
    let one = Script::new().done(1, 1, 2, put("a"), stored(1)).done(1, 3, 8, cas("b"), stored(2));
    one.done(2, 4, 9, cas("c"), Outcome::NotMet { current: Some(Version(2)), old: None }).good();
}

#[test]
fn versions_only_rise() {
    Script::new().done(1, 1, 2, put("a"), stored(5)).done(1, 3, 4, put("b"), stored(5)).bad();
    Script::new().done(1, 1, 2, put("a"), stored(5)).done(1, 3, 4, get(), found("a", 6)).bad();
}

#[test]
fn eviction_only_where_it_is_allowed() {
    let script =
        Script::new().done(1, 1, 2, put("a"), stored(1)).done(2, 3, 4, get(), miss()).done(2, 5, 6, get(), miss());
    script.bad();
    let rules = Rules { evictable: true, ..Rules::default() };
    script.judge(&rules).expect("evicted");
    let back = script.done(2, 7, 8, get(), found("a", 1));
    back.judge(&rules).expect_err("an evicted key never comes back");
}

fn ttl_rules() -> Rules {
    Rules { clocks: Some(ClockBounds { behind_ms: 10, ahead_ms: 10 }), ..Rules::default() }
}

fn with_ttl(ms: u64) -> Script {
    let put = put_with("a", Condition::Always, Expiry::AfterMs(ms));
    Script::new().done(1, 1000, 1001, put, stored(1))
}

#[test]
fn a_key_is_visible_until_its_deadline() {
    let script = with_ttl(100).done(2, 1050, 1051, get(), found_until("a", 1, Some(1100)));
    script.judge(&ttl_rules()).expect("visible");
    with_ttl(100).done(2, 1050, 1051, get(), miss()).judge(&ttl_rules()).expect_err("expired early");
}

#[test]
fn a_key_is_gone_after_its_deadline() {
    with_ttl(100).done(2, 1130, 1131, get(), miss()).judge(&ttl_rules()).expect("expired");
    let late = with_ttl(100).done(2, 1130, 1131, get(), found_until("a", 1, Some(1100)));
    late.judge(&ttl_rules()).expect_err("visible after its deadline");
}

#[test]
fn a_key_once_expired_stays_so() {
    let script =
        with_ttl(100).done(2, 1098, 1099, get(), miss()).done(2, 1100, 1101, get(), found_until("a", 1, Some(1100)));
    script.judge(&ttl_rules()).expect_err("came back");
}

#[test]
fn a_deadline_must_be_what_was_asked() {
    let script = with_ttl(100).done(2, 1050, 1051, get(), found_until("a", 1, Some(1500)));
    script.judge(&ttl_rules()).expect_err("a deadline nobody set");
}

#[test]
fn batches_are_one_step_for_each_key() {
    let batch = Op::Write(Command::Batch(vec![
        Command::Append { key: KEY, suffix: Bytes::from_static(b"x") },
        Command::Append { key: KEY, suffix: Bytes::from_static(b"y") },
    ]));
    let told = Outcome::Many(vec![Outcome::Length(1), Outcome::Length(2)]);
    let script = || Script::new().done(1, 1, 9, batch.clone(), told.clone());
    script().done(2, 3, 4, get(), found("xy", 2)).good();
    script().done(2, 3, 4, get(), found("x", 1)).bad();
}

#[test]
fn flush_empties_every_key() {
    let flush = Op::Write(Command::Flush);
    let script = || Script::new().done(1, 1, 2, put("a"), stored(1)).done(1, 3, 4, flush.clone(), Outcome::Count(1));
    script().done(2, 5, 6, get(), miss()).good();
    script().done(2, 5, 6, get(), found("a", 1)).bad();
}

#[test]
fn half_a_batch_is_seen() {
    let other = Bytes::from_static(b"{k}2");
    let put_both = |value: &'static str| {
        let one = |key: &Bytes| {
            let value = Bytes::from_static(value.as_bytes());
            let condition = Condition::Always;
            Command::Put(Put { key: key.clone(), value, expiry: Expiry::Never, condition, return_old: false })
        };
        Op::Write(Command::Batch(vec![one(&KEY), one(&other)]))
    };
    let both = Op::Read(Query::Multi(vec![Query::Get { key: KEY }, Query::Get { key: other.clone() }]));
    let told = |v| Outcome::Many(vec![stored(v), stored(v + 1)]);
    let script = || Script::new().done(1, 1, 2, put_both("a"), told(1)).done(1, 3, 8, put_both("b"), told(3));
    let seen = |x, y| Outcome::Many(vec![x, y]);
    script().done(2, 4, 5, both.clone(), seen(found("b", 3), found("b", 4))).good();
    let half = script().done(2, 4, 5, both.clone(), seen(found("b", 3), found("a", 2)));
    assert!(half.judge(&Rules::default()).expect_err("half a batch").starts_with("half a batch"));
}

#[test]
fn one_ticket_keeps_its_order() {
    let judge = |seen: Outcome| {
        let mut recorder = Recorder::new();
        let first = recorder.begin(1, 7, 0, put("a"), 1);
        let second = recorder.begin(1, 7, 0, get(), 1);
        recorder.end(first, End::of(Ok(stored(1))), 2);
        recorder.end(second, End::of(Ok(seen)), 2);
        check(&recorder.finish(), &Rules::default(), SearchLimit::default())
    };
    judge(found("a", 1)).expect("in order");
    judge(miss()).expect_err("the read overtook the write before it");
}

#[test]
fn many_open_calls_are_not_too_hard() {
    let mut recorder = Recorder::new();
    for i in 0..40 {
        let id = recorder.begin(i, 0, 0, incr(1 << i), i);
        recorder.end(id, End::of(Err(Error::OutcomeUnknown { reason: "timeout".into(), index: None })), i);
    }
    let id = recorder.begin(99, 0, 0, get(), 100);
    recorder.end(id, End::of(Ok(found("5", 2))), 101);
    check(&recorder.finish(), &Rules::default(), SearchLimit::default()).expect("two of them took effect");
}
