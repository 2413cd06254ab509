//! What a person reads in `kubectl describe`: conditions and events, with the table of their reasons.

use std::fmt;

/// A condition as this pass sees it; the status adds since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which.
    pub kind: ConditionKind,
    /// Whether it holds.
    pub status: bool,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in plain words.
    pub message: String,
}

/// The conditions that the planner judges. `ReconcileSucceeded` is the controller's: it knows what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionKind {
    /// Every shard and the meta group have a leader.
    Available,
    /// The operator is changing something, or waits to go on with it.
    Progressing,
    /// Something needs repair, or a person.
    Degraded,
}

/// How an event is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// All as it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Something that a person would ask about later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// How it is shown.
    pub severity: Severity,
    /// What it is about, in one word.
    pub reason: Reason,
    /// What was decided, in plain words.
    pub message: String,
}

/// Why, in one word: the reasons of conditions and events.
///
/// | of | reasons |
/// |---|---|
/// | Available | `Serving`, `Leaderless`, `Forming`, `NoMap` |
/// | Progressing, True | `Forming`, `Scaling`, `Rolling`, `Repairing`, `Growing`, `Settling` |
/// | Progressing, False | `Settled`, `Paused`, `RollFailed`, `RollHeld`, `Refused` |
/// | Degraded, True | `TwoClusters`, `QuorumLost`, `NoMap`, `Foreign`, `UnderReplicated`, `NotGrown`, `RollFailed`, `MachineLost` |
/// | Degraded, False | `Healthy` |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Every shard has a leader.
    Serving,
    /// Some groups have none.
    Leaderless,
    /// No cluster is formed yet, or one is found.
    Forming,
    /// A cluster that was there already goes on.
    Adopted,
    /// No majority of the meta group answers.
    NoMap,
    /// Pods come or go.
    Scaling,
    /// Pods are replaced one by one.
    Rolling,
    /// What was lost is replaced.
    Repairing,
    /// Volumes grow.
    Growing,
    /// A change was made and Kubernetes has yet to follow.
    Settling,
    /// Nothing to do.
    Settled,
    /// `paused` is set.
    Paused,
    /// A step of a roll missed its deadline.
    RollFailed,
    /// A roll waits for a person.
    RollHeld,
    /// What is asked for can't be done.
    Refused,
    /// Nothing is wrong.
    Healthy,
    /// Pods belong to different clusters.
    TwoClusters,
    /// A group lost its majority.
    QuorumLost,
    /// An object of a name that is ours belongs to somebody else.
    Foreign,
    /// Groups have fewer caught-up voters than they should.
    UnderReplicated,
    /// Volumes can't grow.
    NotGrown,
    /// A machine does not answer Kubernetes, or is gone.
    MachineLost,
    /// A volume is kept, handed over or deleted.
    Retention,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names of the variants are what is shown, so that the table above is the truth.
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, status, reason, message } = self;
        write!(f, "{kind:?}={} {reason}", if *status { "True" } else { "False" })?;
        if message.is_empty() { Ok(()) } else { write!(f, ": {message}") }
    }
}

impl fmt::Display for EventNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.severity, self.reason, self.message)
    }
}
