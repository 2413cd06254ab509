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
    /// What has queued up is written.
    Write,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let group = || 1_u32..=3;
    prop_oneof![
        6 => (group(), 0_u64..90, 1_u64..90).prop_map(|(group, back, count)| Step::Append { group, back, count }),
        2 => (group(), 0_u64..90).prop_map(|(group, keep)| Step::Truncate { group, keep }),
        1 => (group(), 0_u64..9).prop_map(|(group, ahead)| Step::Reset { group, ahead }),
        1 => group().prop_map(|group| Step::Renew { group }),
        4 => Just(Step::Write),
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

fn born(group: u32, replica: u64) -> (Persist, RecoveredLog) {
    let birth = birth(group, replica);
    let hard_state = hard_state(BASE.term, 0, BASE.index);
    let log = RecoveredLog { replica: birth.replica, generation: 3, base: BASE, entries: Vec::new(), hard_state };
    (birth, log)
}

/// What a lane is still to write.
type Queue = (Vec<(GroupId, ReplicaId)>, Vec<Persist>);

/// The store, what its two lanes are still to write, and what it must hold then.
struct Run {
    dir: Dir,
    store: (RocksLogs, Vec<RocksLane>),
    queued: [Queue; 2],
    model: BTreeMap<u32, RecoveredLog>,
}

impl Run {
    fn new() -> Self {
        let dir = Dir::new();
        let store = open(&dir);
        let mut run = Self { dir, store, queued: Default::default(), model: BTreeMap::new() };
        (1..=3).for_each(|group| run.begin(group, 5));
        run
    }

    fn queue(&mut self, group: u32) -> &mut Queue {
        &mut self.queued[group as usize % 2]
    }

    fn begin(&mut self, group: u32, replica: u64) {
        let (birth, log) = born(group, replica);
        self.queue(group).1.push(birth);
        self.model.insert(group, log);
    }

    fn turn(&mut self, group: u32, term: u64, change: impl Fn(&RecoveredLog, &mut Persist)) {
        let log = self.model.get_mut(&group).expect("a log");
        let mut request = Persist { replica: log.replica, ..persist(group) };
        change(log, &mut request);
        apply(log, &request);
        request.hard_state = Some(hard_state(term, 5, log.base.index));
        apply(log, &Persist { hard_state: request.hard_state.clone(), ..persist(group) });
        self.queue(group).1.push(request);
    }

    fn write(&mut self) {
        for ((destroyed, batch), lane) in self.queued.iter_mut().zip(&mut self.store.1) {
            lane.commit(destroyed, batch).expect("some turns");
            destroyed.clear();
            batch.clear();
        }
    }

    fn restart(self) -> Self {
        let Self { dir, store, queued, model } = self;
        drop(store);
        Self { store: open(&dir), dir, queued, model }
    }

    fn step(mut self, step: Step, term: u64) -> Self {
        match step {
            Step::Append { group, back, count } => self.turn(group, term, |log, request| {
                let first = (last(log).index + 1).saturating_sub(back).max(log.base.index + 1);
                request.entries = entries(first..=first + count - 1, term);
            }),
            Step::Truncate { group, keep } => self.turn(group, term, |log, request| {
                request.truncate_to = Some(LogIndex(last(log).index.saturating_sub(keep)));
            }),
            Step::Reset { group, ahead } => self.turn(group, term, |log, request| {
                request.reset = Some(SnapshotPoint { index: last(log).index + ahead, term });
            }),
            Step::Renew { group } => {
                let old = self.model[&group].replica;
                self.queue(group).0.push((GroupId(group), old));
                self.begin(group, old.0 + 1);
            }
            Step::Write => self.write(),
            Step::Restart => {
                self.write();
                return self.restart();
            }
        }
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn it_behaves_like_its_model(steps in vec(step(), 1..60)) {
        let mut run = (2..).zip(steps).fold(Run::new(), |run, (term, step)| run.step(step, term));
        run.write();
        for _ in 0..2 {
            for (group, log) in &run.model {
                prop_assert_eq!(&load(&run.store.1[0], *group), log);
            }
            run = run.restart();
        }
    }
}
