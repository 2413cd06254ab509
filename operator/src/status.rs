//! What a pass tells: the status of the object, from what was seen, planned and done. Pure.
//!
//! The controller calls [`status`] at the end of a pass and [`difference`] to know whether, and how soon, to write it. The
//! status is for people and autoscalers; but for [`Memory`] the operator reads nothing of it.

use std::collections::BTreeSet;

use crema_crds::{
    CremaClusterStatus,
    status::{MemberStatus, MigrationsStatus, ShardsStatus},
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::{
    model::{Control, Group, Intent, MapView, MemberState, Memory, NodeId, Observed, PodState},
    plan::{Plan, under_replicated},
};

/// All that a status is made of.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// What is wanted.
    pub intent: &'a Intent,
    /// What was seen.
    pub seen: &'a Observed,
    /// What was planned.
    pub plan: &'a Plan,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// What is remembered now: that of a [`Remember`](crate::plan::Action::Remember) which was written, else as seen.
    pub memory: &'a Memory,
    /// Selects the cache's pods.
    pub selector: &'a str,
    /// The versions that the nodes say they run.
    pub versions: &'a BTreeSet<String>,
    /// What is legal in the spec and probably not meant.
    pub warnings: &'a [String],
    /// What else the operator can't do here, such as reading nodes.
    pub limits: &'a [Limit],
}

/// How a pass went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was planned was done.
    Done,
    /// The spec is refused, for these reasons; the last accepted one is in force.
    Refused(Vec<String>),
    /// Some steps failed; they are tried again.
    Failed(String),
}

/// A condition of the operator's surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The type of the condition, such as `NodesReadable`.
    pub kind: String,
    /// Whether it holds.
    pub status: bool,
    /// Why, in one word.
    pub reason: String,
    /// Why, in plain words.
    pub message: String,
}

/// How much two statuses differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Not at all: nothing is to be written.
    None,
    /// Only in how far something is: that can wait a few seconds.
    Progress,
    /// In what somebody may wait for: it is written at once.
    Change,
}

/// The status after a pass.
#[must_use]
pub fn status(pass: &Pass<'_>) -> CremaClusterStatus {
    let seen = pass.seen;
    let map = seen.cluster.map.as_ref();
    let pods = || {
        seen.pods.iter().filter(|pod| match pod.control {
            Control::Ours | Control::Nobody => true,
            Control::Other(_) => false,
        })
    };
    let ready = pods().filter(|pod| pod.state == PodState::Ready).count();
    let versions: Vec<&str> = pass.versions.iter().map(String::as_str).collect();
    let mut status = CremaClusterStatus {
        observed_generation: Some(seen.object.generation),
        replicas: count(pods().count()),
        ready_replicas: count(ready),
        nodes: Some(format!("{ready}/{}", pass.intent.replicas)),
        selector: Some(pass.selector.to_owned()),
        version: Some(versions.join(", ")).filter(|versions| !versions.is_empty()),
        conditions: conditions(pass),
        members: map.map(|map| members(pass, map)).unwrap_or_default(),
        shards: map.map(|map| shards(pass, map)),
        migrations: map.map(migrations),
        waiting_on: pass.plan.waiting_on.clone(),
        ..CremaClusterStatus::default()
    };
    pass.memory.write(&mut status);
    status
}

/// How much a status differs from the one that is there.
#[must_use]
pub fn difference(before: &CremaClusterStatus, after: &CremaClusterStatus) -> Difference {
    if before == after {
        return Difference::None;
    }
    let steady = |status: &CremaClusterStatus| {
        let mut status = status.clone();
        status.migrations = status
            .migrations
            .map(|migrations| MigrationsStatus { active: migrations.active.min(1), ..MigrationsStatus::default() });
        status.waiting_on = Vec::new();
        status.shards = status.shards.map(|shards| ShardsStatus { moving: 0, healthy: 0, ..shards });
        status.members.iter_mut().for_each(|member| (member.leaders, member.voters) = (0, 0));
        for condition in &mut status.conditions {
            condition.message = String::new();
        }
        status
    };
    if steady(before) == steady(after) { Difference::Progress } else { Difference::Change }
}

fn members(pass: &Pass<'_>, map: &MapView) -> Vec<MemberStatus> {
    let pod = |node: NodeId| pass.seen.pods.iter().find(|pod| pod.ordinal.node() == node);
    map.present()
        .map(|(node, member)| MemberStatus {
            id: i64::try_from(node.0).unwrap_or(i64::MAX),
            pod: pod(node).map(|pod| pod.live.name.clone()),
            zone: Some(member.zone.clone()).filter(|zone| !zone.is_empty()),
            state: state_name(member.state).to_owned(),
            leaders: count(map.led_by(node).filter(|group| *group != Group::Meta).count()),
            voters: count(votes(map, node)),
        })
        .collect()
}

/// Shards that a member has a vote in.
fn votes(map: &MapView, node: NodeId) -> usize {
    let shards = map.groups.iter().filter(|(name, _)| **name != Group::Meta);
    shards.filter(|(_, group)| group.voters.iter().any(|voter| voter.node == node)).count()
}

fn state_name(state: MemberState) -> &'static str {
    match state {
        MemberState::Joining => "joining",
        MemberState::Up => "up",
        MemberState::Draining => "draining",
        MemberState::Down => "down",
        MemberState::Removed => "removed",
    }
}

fn shards(pass: &Pass<'_>, map: &MapView) -> ShardsStatus {
    let is_shard = |group: &Group| *group != Group::Meta;
    let total = map.groups.keys().filter(|name| is_shard(name)).count();
    let lacking = under_replicated(pass.intent, pass.seen).into_iter().filter(is_shard).count();
    let leaderless = map.groups.iter().filter(|(name, group)| is_shard(name) && group.leader.is_none()).count();
    let moving: BTreeSet<Group> = map.migrations.iter().map(|migration| migration.group).filter(is_shard).collect();
    ShardsStatus {
        total: count(total),
        healthy: count(total.saturating_sub(lacking)),
        under_replicated: count(lacking),
        leaderless: count(leaderless),
        moving: count(moving.len()),
        quorum: Some(format!("{}/{total}", total.saturating_sub(leaderless))),
    }
}

fn migrations(map: &MapView) -> MigrationsStatus {
    let (mut done, mut all) = (0_u128, 0_u128);
    for migration in &map.migrations {
        done += u128::from(migration.bytes.min(migration.total_bytes));
        all += u128::from(migration.total_bytes);
    }
    let progress = (done * 100).checked_div(all).and_then(|percent| i32::try_from(percent).ok());
    // The last one counts, and only if all can be told.
    let etas: Option<Vec<u64>> = map.migrations.iter().map(|migration| migration.eta_ms).collect();
    let eta = etas.and_then(|etas| etas.into_iter().max()).map(span);
    MigrationsStatus { active: count(map.migrations.len()), progress, eta }
}

/// A time as people write it.
fn span(ms: u64) -> String {
    let seconds = ms.div_ceil(1000);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, _) => format!("{hours}h{minutes}m"),
    }
}

fn conditions(pass: &Pass<'_>) -> Vec<Condition> {
    let planned = pass.plan.conditions.iter().map(|condition| Limit {
        kind: format!("{:?}", condition.kind),
        status: condition.status,
        reason: condition.reason.to_string(),
        message: condition.message.clone(),
    });
    let warned = Limit {
        kind: "SpecWarned".to_owned(),
        status: !pass.warnings.is_empty(),
        reason: if pass.warnings.is_empty() { "Nothing" } else { "Unusual" }.to_owned(),
        message: if pass.warnings.is_empty() { "nothing is unusual".to_owned() } else { pass.warnings.join("; ") },
    };
    let all = planned.chain([reconciled(pass.outcome), warned]).chain(pass.limits.iter().cloned());
    all.map(|limit| dated(limit, pass.seen)).collect()
}

/// `ReconcileSucceeded`: `Succeeded`, `InvalidSpec` or `Failed`.
fn reconciled(outcome: &Outcome) -> Limit {
    let (status, reason, message) = match outcome {
        Outcome::Done => (true, "Succeeded", "all that was planned is done".to_owned()),
        Outcome::Refused(problems) => {
            (false, "InvalidSpec", format!("{}; the last accepted spec is in force", problems.join("; ")))
        }
        Outcome::Failed(why) => (false, "Failed", why.clone()),
    };
    Limit { kind: "ReconcileSucceeded".to_owned(), status, reason: reason.to_owned(), message }
}

/// A condition with since when it holds: as before, unless it has turned.
fn dated(limit: Limit, seen: &Observed) -> Condition {
    let Limit { kind, status, reason, message } = limit;
    let status = if status { "True" } else { "False" }.to_owned();
    let before = seen.status.conditions.iter().find(|before| before.type_ == kind && before.status == status);
    let now = || Time(i64::try_from(seen.now_ms / 1000).ok().and_then(at_second).unwrap_or(Timestamp::UNIX_EPOCH));
    Condition {
        last_transition_time: before.map_or_else(now, |before| before.last_transition_time.clone()),
        message,
        observed_generation: Some(seen.object.generation),
        reason,
        status,
        type_: kind,
    }
}

fn at_second(second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second).ok()
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
