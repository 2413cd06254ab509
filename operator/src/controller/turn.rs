//! The acting half of a pass: the steps of a plan in their order, and a second look before the one that disturbs somebody.

use std::time::Duration;

use crema_crds::{CremaClusterStatus, Validated};

use crate::{
    apply::{Applied, ApplyError, Ground, Hands},
    chain,
    model::{Formation, MapVersion, Memory, revision},
    objects::Identity,
    observe::{ObserveError, Sight, Subject, observe},
    plan::{Action, ConditionKind, Plan, plan},
};

/// After something was changed the cluster is looked at again this soon: the next step may be due.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// One plan and what came of it.
pub(super) struct Turn<'a> {
    hands: &'a Hands,
    /// What is in force.
    pub(super) spec: Validated,
    /// Whose objects they are.
    pub(super) identity: Identity,
    /// The last look.
    pub(super) sight: Sight,
    /// What was planned from it.
    pub(super) plan: Plan,
    /// What is remembered now.
    pub(super) memory: Memory,
    /// The status that the object has now.
    pub(super) status: CremaClusterStatus,
    /// The version that the object has now, as far as this process knows.
    pub(super) version: String,
    /// What went wrong, in words.
    pub(super) failures: Vec<String>,
    /// The step that would have disturbed somebody was not done.
    pub(super) held_back: bool,
    /// Something was changed that the next plan may build on.
    changed: bool,
}

impl<'a> Turn<'a> {
    /// Plans from a look.
    pub(super) fn new(hands: &'a Hands, spec: Validated, sight: Sight) -> Self {
        let identity = sight.subject.identity(revision(&spec, &sight.seen.object));
        let plan = plan(&spec, &sight.seen);
        let (memory, status) = (sight.seen.memory.clone(), sight.seen.status.clone());
        let version = sight.subject.view.resource_version.clone();
        let (failures, held_back, changed) = (Vec::new(), false, false);
        Self { hands, spec, identity, sight, plan, memory, status, version, failures, held_back, changed }
    }

    /// Does the steps. One that fails does not stop the others, unless they build on it.
    pub(super) async fn act(&mut self) {
        for planned in self.plan.actions.clone() {
            let action = if planned.is_disruptive() || planned.gives_up() {
                match self.confirmed(&planned).await {
                    Ok(Some(action)) => action,
                    Ok(None) => {
                        self.held_back = true;
                        return;
                    }
                    Err(error) => {
                        self.held_back = true;
                        return self.failures.push(chain(&error));
                    }
                }
            } else {
                planned
            };
            if !self.step(&action).await {
                return;
            }
        }
    }

    /// Does one step. False when the rest of the plan must not be done without it.
    async fn step(&mut self, action: &Action) -> bool {
        let ground = Ground { spec: &self.spec, identity: &self.identity, sight: &self.sight };
        match self.hands.apply(ground, action).await {
            Ok(Applied::Done) => self.changed |= !matches!(action, Action::ApplyObjects { .. }),
            Ok(Applied::Remembered { resource_version, status }) => {
                self.changed = true;
                self.version = resource_version;
                self.memory = Memory::read(&status);
                self.status = *status;
            }
            Err(error) => {
                self.failures.push(chain(&error));
                self.held_back |= action.is_disruptive();
                return !action.ends_pass() && !matches!(error, ApplyError::NotLeading);
            }
        }
        true
    }

    /// Looks and plans again, at what is there now. The step, bound to that, if it is still the one to do.
    async fn confirmed(&mut self, planned: &Action) -> Result<Option<Action>, ObserveError> {
        let view = &self.sight.subject.view;
        let subject = Subject::read(&self.hands.client, &view.namespace, &view.name).await?;
        let asks_the_same = |subject: &Subject| {
            let now = &subject.view;
            !now.deleting
                && (&now.uid, now.generation, &now.annotations) == (&view.uid, view.generation, &view.annotations)
        };
        let Some(subject) = subject.filter(asks_the_same) else { return Ok(None) };
        self.sight = observe(&self.hands.client, &self.hands.kinds, subject).await?;
        self.plan = plan(&self.spec, &self.sight.seen);
        self.version = self.sight.subject.view.resource_version.clone();
        self.status = self.sight.seen.status.clone();
        self.memory = self.sight.seen.memory.clone();
        let same = self.plan.actions.iter().find(|now| aim(now) == aim(planned)).cloned();
        if same.is_none() {
            tracing::info!(cluster = self.identity.name, action = %planned, "called off: it is not what is needed now");
        }
        Ok(same)
    }

    /// When to look again: soon after a change, `None` when nothing more is to come by itself.
    pub(super) fn more(&self) -> More {
        let holds = |kind| self.plan.conditions.iter().any(|condition| condition.kind == kind && condition.status);
        if self.changed || self.held_back {
            More::Soon
        } else if !self.plan.waiting_on.is_empty()
            || holds(ConditionKind::Progressing)
            || holds(ConditionKind::Degraded)
        {
            More::Waiting
        } else {
            More::Nothing
        }
    }
}

/// What is still to come of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    /// The next step.
    Soon,
    /// Something that only shows when the nodes are asked.
    Waiting,
    /// Nothing, until somebody changes something.
    Nothing,
}

/// What a step is about, whatever version it is bound to: by that two plans are compared.
fn aim(action: &Action) -> Action {
    let mut aim = action.clone();
    match &mut aim {
        Action::OrphanStatefulSet { sts: live }
        | Action::ApplyTemplate { sts: live, .. }
        | Action::PatchReplicas { sts: live, .. }
        | Action::PatchPartition { sts: live, .. }
        | Action::DeletePod { pod: live, .. }
        | Action::GrowClaim { claim: live, .. }
        | Action::OwnClaim { claim: live, .. }
        | Action::DeleteClaim { claim: live }
        | Action::DeleteConfig { config: live } => live.resource_version.clear(),
        Action::Drain { expected, .. }
        | Action::Undrain { expected, .. }
        | Action::Remove { expected, .. }
        | Action::MarkDown { expected, .. }
        | Action::ResetShards { expected, .. }
        | Action::UpdateSettings { expected, .. } => *expected = MapVersion(0),
        Action::Remember { resource_version, memory } => {
            resource_version.clear();
            // Each look draws another id for the cluster that is to take the place of one.
            if let Formation::Forming { id, replaces: Some(_) } = &mut memory.formation {
                id.0.clear();
            }
        }
        Action::ApplyObjects { .. }
        | Action::CreateStatefulSet { .. }
        | Action::Init { .. }
        | Action::TransferLeaders { .. }
        | Action::PauseMigrations
        | Action::ResumeMigrations => {}
    }
    aim
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Live, NodeId};

    #[test]
    fn two_plans_mean_the_same_step_of_the_same_object() {
        let sts = |uid: &str, version: &str| Live {
            name: "cart".to_owned(),
            uid: uid.to_owned(),
            resource_version: version.to_owned(),
        };
        let lower = |sts, partition| aim(&Action::PatchPartition { sts, partition });
        assert_eq!(lower(sts("u", "1"), 2), lower(sts("u", "2"), 2));
        assert_ne!(lower(sts("u", "1"), 2), lower(sts("u", "1"), 1));
        assert_ne!(lower(sts("u", "1"), 2), lower(sts("x", "1"), 2));
        let remove = |node, version| aim(&Action::Remove { node: NodeId(node), expected: MapVersion(version) });
        assert_eq!(remove(3, 7), remove(3, 9));
        assert_ne!(remove(3, 7), remove(2, 7));
    }
}
