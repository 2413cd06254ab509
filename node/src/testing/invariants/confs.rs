//! A group's configurations: the same on every replica at the same version, and each follows from the one before by one
//! legal step. Voters change by way of a joint configuration only (PROTOCOL 12).

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::{
    checkpoint::ConfState,
    testing::net::Place,
    types::{GroupId, ReplicaId},
};

const NAME: &str = "configurations";

/// What was ever in force.
#[derive(Debug, Default)]
pub struct Confs {
    /// By group and generation.
    seen: BTreeMap<(GroupId, u64), BTreeMap<u64, ConfState>>,
    fresh: Vec<(GroupId, ConfState)>,
}

impl Confs {
    /// Checks the configuration that a replica has applied.
    pub(super) fn see(
        &mut self,
        place: Place,
        (group, generation): (GroupId, u64),
        version: u64,
        conf: &ConfState,
    ) -> Verdict {
        // Who waits for its first snapshot has none.
        if conf.voters.is_empty() {
            return Ok(());
        }
        let versions = self.seen.entry((group, generation)).or_default();
        match versions.get(&version) {
            Some(first) if first == conf => return Ok(()),
            Some(first) => {
                let reason = format!("{group} at place {place}, version {version}: {conf:?}, elsewhere {first:?}");
                return Err((NAME, reason));
            }
            None => {}
        }
        let before = version.checked_sub(1).and_then(|before| versions.get(&before));
        let after = versions.get(&(version + 1));
        for (one, other) in before.map(|before| (before, conf)).into_iter().chain(after.map(|after| (conf, after))) {
            if !follows(one, other) {
                return Err((NAME, format!("{group} at place {place} went from {one:?} to {other:?}")));
            }
        }
        versions.insert(version, conf.clone());
        self.fresh.push((group, conf.clone()));
        Ok(())
    }

    /// The configurations that were first seen since the last call.
    pub(super) fn take_fresh(&mut self) -> Vec<(GroupId, ConfState)> {
        std::mem::take(&mut self.fresh)
    }
}

/// Whether a configuration is one step away from another.
fn follows(before: &ConfState, after: &ConfState) -> bool {
    let set = |ids: &[ReplicaId]| ids.iter().copied().collect::<BTreeSet<_>>();
    let (old, new) = (set(&before.voters), set(&after.voters));
    match (before.voters_outgoing.is_empty(), after.voters_outgoing.is_empty()) {
        (true, true) => {
            let learners = set(&before.learners).symmetric_difference(&set(&after.learners)).count();
            // With none, the version alone was raised.
            old == new && learners <= 1
        }
        (true, false) => {
            let swap = new.difference(&old).count() <= 1 && old.difference(&new).count() <= 1;
            set(&after.voters_outgoing) == old && swap
        }
        (false, true) => old == new,
        (false, false) => false,
    }
}
