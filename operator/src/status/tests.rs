//! What is told of a cluster, and how soon.

use super::*;
use crate::{
    model::{MigrationView, Ordinal},
    plan::{decide, tests::world::World},
};

/// A cluster at rest.
fn formed() -> World {
    let mut world = World::new(3, 4, 4);
    let (_, end) = world.settle(200);
    assert!(end.is_some(), "it comes to rest");
    world
}

/// The status after a pass that did what it planned, or didn't.
fn told(world: &mut World, outcome: &Outcome) -> CremaClusterStatus {
    let intent = world.intent.clone();
    let plan = decide(&intent, world.observe());
    let versions: BTreeSet<String> = ["0.1.0".to_owned(), "0.2.0".to_owned()].into();
    let limits = [Limit {
        kind: "NodesReadable".to_owned(),
        status: false,
        reason: "Forbidden".to_owned(),
        message: "zones are off".to_owned(),
    }];
    status(&Pass {
        intent: &intent,
        seen: &world.seen,
        plan: &plan,
        outcome,
        memory: &world.seen.memory,
        selector: "app=cache",
        versions: &versions,
        warnings: &["spec.cache.maxMemory: a lot".to_owned()],
        limits: &limits,
    })
}

fn condition<'a>(status: &'a CremaClusterStatus, kind: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == kind).expect("the condition")
}

#[test]
fn a_cluster_at_rest_is_told() {
    let status = told(&mut formed(), &Outcome::Done);
    assert_eq!((status.replicas, status.ready_replicas, status.nodes.as_deref()), (3, 3, Some("3/3")));
    assert_eq!((status.version.as_deref(), status.selector.as_deref()), (Some("0.1.0, 0.2.0"), Some("app=cache")));
    assert_eq!((status.observed_generation, status.cluster_id.is_some()), (Some(1), true));
    let shards = status.shards.clone().expect("shards");
    assert_eq!((shards.total, shards.healthy, shards.under_replicated, shards.leaderless), (4, 4, 0, 0));
    assert_eq!(shards.quorum.as_deref(), Some("4/4"));
    let members: Vec<(i64, Option<&str>, &str, i32)> = status
        .members
        .iter()
        .map(|member| (member.id, member.pod.as_deref(), member.state.as_str(), member.voters))
        .collect();
    assert_eq!(members, [(1, Some("cart-0"), "up", 4), (2, Some("cart-1"), "up", 4), (3, Some("cart-2"), "up", 4)]);
    assert_eq!(status.members.iter().map(|member| member.leaders).sum::<i32>(), 4);
    let said: Vec<(&str, &str, &str)> = status
        .conditions
        .iter()
        .map(|condition| (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str()))
        .collect();
    let expected = [
        ("Available", "True", "Serving"),
        ("Progressing", "False", "Settled"),
        ("Degraded", "False", "Healthy"),
        ("ReconcileSucceeded", "True", "Succeeded"),
        ("SpecWarned", "True", "Unusual"),
        ("NodesReadable", "False", "Forbidden"),
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_refused_spec_is_named_and_what_runs_is_told() {
    let problems = Outcome::Refused(vec!["spec.shards: is 8".to_owned()]);
    let status = told(&mut formed(), &problems);
    let reconciled = condition(&status, "ReconcileSucceeded");
    assert_eq!((reconciled.status.as_str(), reconciled.reason.as_str()), ("False", "InvalidSpec"));
    assert!(reconciled.message.starts_with("spec.shards: is 8;"), "{}", reconciled.message);
    assert_eq!(condition(&status, "Available").status, "True");
}

#[test]
fn since_when_changes_only_with_what_it_is_about() {
    let mut world = formed();
    let first = told(&mut world, &Outcome::Done);
    world.seen.status = first.clone();
    world.seen.now_ms += 60_000;
    let again = told(&mut world, &Outcome::Done);
    assert_eq!(difference(&first, &again), Difference::None);
    let failed = told(&mut world, &Outcome::Failed("no answer".to_owned()));
    let (before, after) = (condition(&first, "ReconcileSucceeded"), condition(&failed, "ReconcileSucceeded"));
    assert_ne!(before.last_transition_time, after.last_transition_time);
    assert_eq!(difference(&first, &failed), Difference::Change);
}

#[test]
fn how_far_a_move_is_can_wait_and_a_lost_pod_can_not() {
    let mut world = formed();
    let before = told(&mut world, &Outcome::Done);
    let moving = |bytes| MigrationView {
        group: Group::Shard(0),
        phase: "catch-up".to_owned(),
        from: None,
        to: Some(NodeId(1)),
        bytes,
        total_bytes: 400,
        eta_ms: Some(61_000),
    };
    let migrating = |world: &mut World, bytes| {
        world.map.iter_mut().for_each(|map| map.migrations = vec![moving(bytes)]);
        told(world, &Outcome::Done)
    };
    let (early, late) = (migrating(&mut world, 100), migrating(&mut world, 300));
    assert_eq!(difference(&before, &early), Difference::Change, "it has begun");
    assert_eq!(difference(&early, &late), Difference::Progress);
    let migrations = late.migrations.expect("migrations");
    assert_eq!((migrations.active, migrations.progress, migrations.eta.as_deref()), (1, Some(75), Some("1m1s")));
    world.map.iter_mut().for_each(|map| map.migrations.clear());
    world.crash(Ordinal(1));
    assert_eq!(difference(&before, &told(&mut world, &Outcome::Done)), Difference::Change);
}

#[test]
fn what_is_remembered_is_written() {
    let mut world = formed();
    world.seen.memory.shrink = Some(Ordinal(4));
    let status = told(&mut world, &Outcome::Done);
    assert_eq!(status.shrink, Some(4));
    assert_eq!(Memory::read(&status), world.seen.memory);
}

#[test]
fn times_are_written_as_people_do() {
    for (ms, text) in [(0, "0s"), (1, "1s"), (59_000, "59s"), (61_000, "1m1s"), (3_700_000, "1h1m")] {
        assert_eq!(span(ms), text, "{ms}");
    }
}
