//! Captures are exact at one index while `apply` goes on, and what they took makes the same machine again.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};

use super::arbitrary;
use crate::{
    checkpoint::{Encoder, Head},
    machine::{
        LogRecord, Machine,
        capture::{CaptureStep, MachineHead, RestoreError},
        command::{Command, Condition, Expiry, Put},
        model::ModelStore,
        store::Entry,
    },
    types::{Key, Version},
};

type Model = Machine<ModelStore>;

/// What happens while a capture runs.
#[derive(Clone, Debug)]
enum Event {
    Apply(LogRecord),
    Step(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![arbitrary::record().prop_map(Event::Apply), (0_usize..4).prop_map(Event::Step)]
}

fn put(key: &str, value: &str) -> Command {
    Command::Put(Put {
        key: Key::from(key.to_owned()),
        value: value.to_owned().into(),
        expiry: Expiry::Never,
        condition: Condition::Always,
        return_old: false,
    })
}

fn apply(machine: &mut Model, commands: Vec<Command>) {
    machine.apply(machine.applied().next(), LogRecord { commands, ..Default::default() });
}

fn filled(keys: usize) -> Model {
    let mut machine = Machine::new(ModelStore::new());
    apply(&mut machine, (0..keys).map(|n| put(&format!("filler{n}"), "x")).collect());
    machine
}

/// One step; whether the capture is over.
fn step(machine: &mut Model, limit: usize, taken: &mut Vec<Arc<Entry>>) -> bool {
    let (entries, over) = match machine.capture_step(limit) {
        CaptureStep::Entries(entries) => (entries, false),
        CaptureStep::Last(entries) => (entries, true),
        CaptureStep::Done => (Vec::new(), true),
    };
    taken.extend(entries);
    over
}

fn finish(machine: &mut Model, limit: usize, taken: &mut Vec<Arc<Entry>>) {
    while !step(machine, limit, taken) {}
    assert_eq!(machine.capture_step(limit), CaptureStep::Done);
}

fn entries(taken: &[Arc<Entry>]) -> impl Iterator<Item = Entry> + '_ {
    taken.iter().map(|entry| Entry::clone(entry))
}

fn restore(head: &MachineHead, taken: &[Arc<Entry>]) -> Result<Model, RestoreError> {
    Machine::restore(ModelStore::new(), head, entries(taken))
}

proptest! {
    #[test]
    fn a_capture_is_the_state_at_its_beginning(
        before in vec(arbitrary::record(), 0..8),
        during in vec(event(), 0..30),
        limit in 1_usize..6,
    ) {
        let mut machine = filled(12);
        for record in before {
            machine.apply(machine.applied().next(), record);
        }
        let want: Vec<Arc<Entry>> = machine.store().iter().cloned().collect();
        let head = machine.begin_capture();
        let (mut taken, mut later) = (Vec::new(), Vec::new());
        for event in during {
            match event {
                Event::Apply(record) => {
                    later.push(record.clone());
                    machine.apply(machine.applied().next(), record);
                }
                Event::Step(limit) => {
                    step(&mut machine, limit, &mut taken);
                }
            }
        }
        finish(&mut machine, limit, &mut taken);
        prop_assert_eq!(&taken, &want);

        let (mut encoder, _) = Encoder::new(&Head { machine: head.clone(), ..Default::default() });
        encoder.block(&taken);
        prop_assert!(encoder.finish().is_ok());

        let mut restored = restore(&head, &taken).expect("the entries of the capture");
        prop_assert_eq!(restored.head(), head);
        for record in later {
            restored.apply(restored.applied().next(), record);
        }
        prop_assert_eq!(restored.head(), machine.head());
    }
}

#[test]
fn a_flush_in_the_midst_is_handed_out_in_bounded_steps() {
    let mut machine = filled(3_000);
    let want: Vec<Arc<Entry>> = machine.store().iter().cloned().collect();
    machine.begin_capture();
    let mut taken = Vec::new();
    step(&mut machine, 100, &mut taken);
    apply(&mut machine, vec![Command::Flush, put("new", "y")]);
    loop {
        let before = taken.len();
        let over = step(&mut machine, 100, &mut taken);
        assert!(taken.len() - before <= 200, "a step of {}", taken.len() - before);
        if over {
            break;
        }
    }
    assert_eq!(taken, want);
}

#[test]
fn a_capture_that_is_cancelled_gives_nothing() {
    let mut machine = filled(3);
    assert_eq!(machine.capture_step(9), CaptureStep::Done);
    machine.begin_capture();
    machine.cancel_capture();
    assert_eq!(machine.capture_step(9), CaptureStep::Done);
    let head = machine.begin_capture();
    apply(&mut machine, vec![Command::Flush]);
    let second = machine.begin_capture();
    assert_eq!((head.entries, second.entries), (3, 0));
    assert_eq!(machine.capture_step(9), CaptureStep::Last(vec![]));
}

#[test]
fn entries_that_are_not_the_heads_are_refused() {
    let mut machine = filled(3);
    let head = machine.begin_capture();
    let mut taken = Vec::new();
    finish(&mut machine, 9, &mut taken);
    assert!(restore(&head, &taken).is_ok());

    let refused = |head: &MachineHead, taken: &[Arc<Entry>]| restore(head, taken).map(|_| ()).unwrap_err();
    assert_eq!(refused(&head, &taken[1..]), RestoreError::Entries { expected: 3, found: 2 });
    let doubled = [taken[0].clone(), taken[0].clone(), taken[1].clone()];
    assert_eq!(refused(&head, &doubled), RestoreError::Entries { expected: 3, found: 2 });

    let mut other = taken.clone();
    let change =
        |entry: &Entry, value: &[u8], version| Arc::new(Entry::new(entry.key(), value, version, entry.expires_at()));
    other[0] = change(&other[0], b"y", other[0].version());
    assert!(matches!(refused(&head, &other), RestoreError::Hash { .. }));
    other[0] = change(&other[0], b"yy", other[0].version());
    assert!(matches!(refused(&head, &other), RestoreError::Weight { .. }));
    other[0] = change(&other[0], b"yy", Version(9));
    let beyond = RestoreError::Version { last: Version(3), found: Version(9) };
    assert_eq!(refused(&head, &other), beyond);
}

#[cfg(feature = "planted-faults")]
#[test]
fn a_fuzzy_capture_is_caught_by_its_hash() {
    use crate::faults::{Fault, Faults};

    let mut machine = filled(20);
    machine.set_faults(Faults::none().with(Fault::FuzzyCapture));
    let head = machine.begin_capture();
    apply(&mut machine, (0..20).map(|n| put(&format!("filler{n}"), "y")).collect());
    let mut taken = Vec::new();
    finish(&mut machine, 9, &mut taken);
    assert!(matches!(restore(&head, &taken), Err(RestoreError::Version { .. } | RestoreError::Hash { .. })));
    let (mut encoder, _) = Encoder::new(&Head { machine: head, ..Default::default() });
    encoder.block(&taken);
    assert!(encoder.finish().is_err());
}
