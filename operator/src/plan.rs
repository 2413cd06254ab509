//! What to do next: a pure function of what is wanted and what was seen.
//!
//! The controller calls [`plan`] once a pass and does what it says, in order. It asks nobody, knows no clock, and leaves
//! `apply` no choices. A plan has at most one disruptive step; what stands in the way of the next is said in
//! `waiting_on`. Planning twice from the same sight gives the same plan.

mod action;
mod claims;
mod condition;
mod draft;
mod forming;
mod health;
mod quorum;
mod repair;
mod roll;
mod scale;
mod scene;
mod settings;
mod workload;

#[cfg(test)]
pub(crate) mod tests;

use crema_crds::Validated;

pub use action::{Action, SettingsChange, eviction_name};
pub use condition::{Condition, ConditionKind, EventNote, Reason, Severity};

use crate::model::{Group, Intent, MapView, Observed, StatefulSetView};
use draft::Draft;
use scene::Scene;

/// What to do in this pass, and what to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in order.
    pub actions: Vec<Action>,
    /// What the cluster waits for, in plain words.
    pub waiting_on: Vec<String>,
    /// What the planner judges of the cluster.
    pub conditions: Vec<Condition>,
    /// What a person would ask about later.
    pub events: Vec<EventNote>,
}

/// Plans one pass for a spec that was found valid.
#[must_use]
pub fn plan(spec: &Validated, seen: &Observed) -> Plan {
    decide(&Intent::of(spec, &seen.object), seen)
}

/// [`plan`], for what the planner takes from a spec.
#[must_use]
pub fn decide(intent: &Intent, seen: &Observed) -> Plan {
    let scene = Scene { intent, seen };
    let mut draft = Draft::default();
    if seen.object.deleting {
        // Kubernetes collects what has owners; any write would race with it.
        return Plan::default();
    }
    if intent.paused {
        draft.stuck(Reason::Paused, "spec.paused is set: nothing is changed");
        draft.wait("spec.paused to be taken back");
    } else {
        stages(&scene, &mut draft);
    }
    health::judge(&scene, &mut draft);
    draft.finish()
}

/// Groups that have no leader, or fewer caught-up voters than they should; none while nobody has the map.
#[must_use]
pub fn under_replicated(intent: &Intent, seen: &Observed) -> Vec<Group> {
    let scene = Scene { intent, seen };
    seen.cluster.map.as_ref().map_or_else(Vec::new, |map| scene.under_replicated(map))
}

/// The stages that lead to a cluster; the rest needs one.
fn stages(scene: &Scene<'_>, draft: &mut Draft) {
    workload::objects(scene, draft);
    let Some(sts) = workload::stateful_set(scene, draft) else { return };
    claims::retention(scene, draft);
    match forming::stage(scene, sts, draft) {
        forming::Stage::Formed(map) => formed(scene, sts, map, draft),
        // What was just decided rests on the lives that are there.
        forming::Stage::Waiting if is_decided(draft) => {}
        forming::Stage::Waiting => roll::blind(scene, sts, draft),
        forming::Stage::Stopped => {}
    }
}

/// Whether this pass has a step that another could spoil.
fn is_decided(draft: &Draft) -> bool {
    draft.is_taken() || draft.changes_map() || draft.remembers() || draft.changes_stateful_set()
}

/// A stage of a formed cluster.
type Stage = fn(&Scene<'_>, &StatefulSetView, &MapView, &mut Draft);

/// What a formed cluster needs, the most urgent first. Each stage takes the disruptive step of the pass, or leaves it.
fn formed(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    let urgent: [Stage; 2] = [quorum::shards, repair::stage];
    let others: [Stage; 4] = [scale::stage, claims::growth, roll::stage, claims::scaled];
    // A template that the API server refuses again and again must not keep anything from being repaired.
    let others: &[Stage] = if draft.changes_stateful_set() { &[] } else { &others };
    for stage in urgent.iter().chain(others) {
        stage(scene, sts, map, draft);
        if draft.is_taken() || draft.changes_map() {
            break;
        }
    }
    if !draft.changes_map() {
        settings::stage(scene, sts, map, draft);
    }
}
