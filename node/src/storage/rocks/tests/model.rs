//! Random turns, births, ends and restarts against a model of a few lines.

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Entries from some way before the end of the log on.
    Append {
        group: u32,
        back: u64,
        count: u64,
    },
    Truncate {
        group: u32,
        keep: u64,
    },
    Reset {
        group: u32,
        ahead: u64,
    },
    Renew {
        group: u32,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let group = || 1_u32..=3;
    prop_oneof![
        6 => (group(), 0_u64..90, 1_u64..90).prop_map(|(group, back, count)| Step::Append { group, back, count }),
        2 => (group(), 0_u64..90).prop_map(|(group, keep)| Step::Truncate { group, keep }),
        1 => (group(), 0_u64..9).prop_map(|(group, ahead)| Step::Reset { group, ahead }),
        1 => group().prop_map(|group| Step::Renew { group }),
        1 => Just(Step::Restart),
    ]
}

fn last(log: &RecoveredLog) -> SnapshotPoint {
    log.entries.last().map_or(log.base, |entry| SnapshotPoint { index: entry.index, term: entry.term })
}

/// What a request makes of a log.
fn apply(log: &mut RecoveredLog, persist: &Persist) {
    if let Some(point) = persist.reset {
        (log.base, log.entries) = (point, Vec::new());
    }
    if let Some(first) = persist.entries.first() {
        log.entries.retain(|entry| entry.index < first.index);
        log.entries.extend(persist.entries.iter().cloned());
    }
    if let Some(hard_state) = &persist.hard_state {
        log.hard_state = hard_state.clone();
    }
    if let Some(index) = persist.truncate_to {
        let Some(at) = log.entries.iter().position(|entry| entry.index == index.0) else { return };
        log.base = SnapshotPoint { index: index.0, term: log.entries[at].term };
        log.entries.drain(..=at);
    }
}

fn born(group: u32, replica: u64) -> (Birth, RecoveredLog) {
    let birth = birth(group, replica);
    let hard_state = hard_state(BASE.term, 0, BASE.index);
    let log = RecoveredLog { replica: birth.replica, generation: 3, base: BASE, entries: Vec::new(), hard_state };
    (birth, log)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn it_behaves_like_its_model(steps in vec(step(), 1..40)) {
        let dir = Dir::new();
        let mut store = open(&dir);
        let mut model = BTreeMap::new();
        for group in 1..=3 {
            let (birth, log) = born(group, 5);
            store.1[0].create(&[birth]).expect("a birth");
            model.insert(group, log);
        }
        for (n, step) in steps.into_iter().enumerate() {
            let term = n as u64 + 2;
            let mut turn = |group: u32, change: &dyn Fn(&RecoveredLog, &mut Persist)| {
                let log = model.get_mut(&group).expect("a log");
                let mut request = Persist { replica: log.replica, ..persist(group) };
                change(log, &mut request);
                apply(log, &request);
                request.hard_state = Some(hard_state(term, 5, log.base.index));
                apply(log, &Persist { hard_state: request.hard_state.clone(), ..persist(group) });
                store.1[group as usize % 2].write(&[request]).expect("a turn");
            };
            match step {
                Step::Append { group, back, count } => turn(group, &|log, request| {
                    let first = (last(log).index + 1).saturating_sub(back).max(log.base.index + 1);
                    request.entries = entries(first..=first + count - 1, term);
                }),
                Step::Truncate { group, keep } => turn(group, &|log, request| {
                    request.truncate_to = Some(LogIndex(last(log).index.saturating_sub(keep)));
                }),
                Step::Reset { group, ahead } => turn(group, &|log, request| {
                    request.reset = Some(SnapshotPoint { index: last(log).index + ahead, term });
                }),
                Step::Renew { group } => {
                    let old = model[&group].replica;
                    let (birth, log) = born(group, old.0 + 1);
                    store.1[0].destroy(GroupId(group), old).expect("an end");
                    store.1[1].create(&[birth]).expect("a birth");
                    model.insert(group, log);
                }
                Step::Restart => {
                    drop(store);
                    store = open(&dir);
                }
            }
        }
        for (group, log) in &model {
            prop_assert_eq!(&load(&store.1[0], *group), log);
        }
        drop(store);
        let store = open(&dir);
        for (group, log) in &model {
            prop_assert_eq!(&load(&store.1[0], *group), log);
        }
    }
}
