//! A plan in the making: what the stages add to, and the rule that at most one step of a pass is disruptive.

use crate::plan::{
    Action, Plan,
    condition::{Condition, ConditionKind, EventNote, Reason, Severity},
};

/// What the stages have decided so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    actions: Vec<Action>,
    waiting_on: Vec<String>,
    events: Vec<EventNote>,
    available: Option<(bool, Reason, String)>,
    progress: Option<(bool, Reason, String)>,
    ailments: Vec<(Reason, String)>,
}

impl Draft {
    /// Adds a step that disturbs nobody.
    pub(super) fn act(&mut self, action: Action) {
        assert!(!action.is_disruptive(), "disturbs somebody: {action}");
        let written = matches!(action, Action::Remember { .. }) && self.remembers();
        assert!(!written, "a second write of the memory: {action}");
        self.actions.push(action);
    }

    /// Adds the disruptive step of this pass, and says so to people. The stages look at [`Self::is_taken`] first.
    pub(super) fn disrupt(&mut self, action: Action, reason: Reason, message: String) {
        assert!(action.is_disruptive() && !self.is_taken(), "a second disruptive step: {action}");
        self.actions.push(action);
        self.note(Severity::Normal, reason, message);
    }

    /// Whether this pass has its disruptive step.
    pub(super) fn is_taken(&self) -> bool {
        self.actions.iter().any(Action::is_disruptive)
    }

    /// Whether a step of this pass changes the cluster map: a second one would meet another version.
    pub(super) fn changes_map(&self) -> bool {
        self.actions.iter().any(|action| match action {
            Action::Drain { .. }
            | Action::Undrain { .. }
            | Action::Remove { .. }
            | Action::MarkDown { .. }
            | Action::TransferLeaders { .. }
            | Action::ResetShards { .. }
            | Action::UpdateSettings { .. }
            | Action::PauseMigrations
            | Action::ResumeMigrations
            | Action::Init { .. } => true,
            Action::ApplyObjects { .. }
            | Action::CreateStatefulSet { .. }
            | Action::ApplyTemplate { .. }
            | Action::PatchReplicas { .. }
            | Action::PatchPartition { .. }
            | Action::OrphanStatefulSet { .. }
            | Action::Remember { .. }
            | Action::DeletePod { .. }
            | Action::GrowClaim { .. }
            | Action::OwnClaim { .. }
            | Action::DeleteClaim { .. }
            | Action::DeleteConfig { .. } => false,
        })
    }

    /// Whether a step of this pass changes the StatefulSet.
    pub(super) fn changes_stateful_set(&self) -> bool {
        self.actions.iter().any(Action::changes_stateful_set)
    }

    /// Whether this pass writes the memory: what relies on it comes in the same pass or later, never a second write.
    pub(super) fn remembers(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Remember { .. }))
    }

    /// Says in plain words what the cluster waits for.
    pub(super) fn wait(&mut self, why: impl Into<String>) {
        let why = why.into();
        if !self.waiting_on.contains(&why) {
            self.waiting_on.push(why);
        }
    }

    /// An event for people.
    pub(super) fn note(&mut self, severity: Severity, reason: Reason, message: String) {
        self.events.push(EventNote { severity, reason, message });
    }

    /// What the cluster is doing; the first that says so is the one that counts.
    pub(super) fn progress(&mut self, reason: Reason, message: impl Into<String>) {
        self.progress.get_or_insert_with(|| (true, reason, message.into()));
    }

    /// Why it does nothing though something is left to do; as [`Self::progress`].
    pub(super) fn stuck(&mut self, reason: Reason, message: impl Into<String>) {
        self.progress.get_or_insert_with(|| (false, reason, message.into()));
    }

    /// Something is wrong with the cluster; the first names the reason.
    pub(super) fn ail(&mut self, reason: Reason, message: impl Into<String>) {
        self.ailments.push((reason, message.into()));
    }

    /// Whether it serves its clients.
    pub(super) fn available(&mut self, serves: bool, reason: Reason, message: impl Into<String>) {
        self.available = Some((serves, reason, message.into()));
    }

    /// The plan.
    pub(super) fn finish(self) -> Plan {
        let Self { actions, waiting_on, events, available, progress, ailments } = self;
        let (moves, why, what) = progress.unwrap_or_else(|| match waiting_on.first() {
            None => (false, Reason::Settled, "nothing to do".to_owned()),
            Some(why) => (true, Reason::Settling, format!("waiting for {why}")),
        });
        let degraded = match ailments.first() {
            None => (false, Reason::Healthy, "nothing is wrong".to_owned()),
            Some((reason, _)) => {
                let messages: Vec<&str> = ailments.iter().map(|(_, message)| message.as_str()).collect();
                (true, *reason, messages.join("; "))
            }
        };
        let mut conditions = Vec::new();
        if let Some((serves, reason, message)) = available {
            conditions.push(Condition { kind: ConditionKind::Available, status: serves, reason, message });
        }
        conditions.push(Condition { kind: ConditionKind::Progressing, status: moves, reason: why, message: what });
        let (ails, reason, message) = degraded;
        conditions.push(Condition { kind: ConditionKind::Degraded, status: ails, reason, message });
        Plan { actions, waiting_on, conditions, events }
    }
}
