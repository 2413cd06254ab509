//! Whether the cluster serves, and what ails it, whatever is being done about it.

use super::{Draft, Reason, Scene, action::named};
use crate::model::{Formation, Group};

/// Says so in the conditions.
pub(super) fn judge(scene: &Scene<'_>, draft: &mut Draft) {
    let Some(map) = scene.seen.cluster.map.as_ref().filter(|map| map.confirmed) else {
        return match &scene.seen.memory.formation {
            Formation::Formed { id } => {
                let message = format!("nobody speaks for a majority of the meta group of cluster {id}");
                draft.available(false, Reason::NoMap, message.clone());
                draft.ail(Reason::NoMap, message);
            }
            Formation::Unknown | Formation::Forming { .. } => {
                draft.available(false, Reason::Forming, "no cluster is formed yet");
            }
        };
    };
    let leaderless = map.groups.iter().filter(|(_, group)| group.leader.is_none()).map(|(name, _)| *name);
    let leaderless: Vec<Group> = leaderless.collect();
    if leaderless.is_empty() {
        draft.available(true, Reason::Serving, "every shard has a leader");
    } else {
        draft.available(false, Reason::Leaderless, format!("without a leader: {}", named(&leaderless)));
    }
    let lacking = scene.under_replicated(map);
    if !lacking.is_empty() {
        let message = format!("without every replica caught up: {}", named(&lacking));
        // The budget says so, unless it is not written.
        let held = if scene.intent.paused { "" } else { "; no pod may be evicted" };
        draft.ail(Reason::UnderReplicated, message + held);
    }
}
