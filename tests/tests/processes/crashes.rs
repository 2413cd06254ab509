//! kill -9 while a shard moves, in every phase of its migration: it completes or is rolled back by itself, with no lost
//! write, and a node that comes back empty takes its share again.

use std::time::Instant;

use crema_tests::{PATIENCE, cluster::Cluster, load::Load, wait_for};
use serde_json::Value;

use crate::membership::{TOKEN, admin};

const PHASES: [&str; 5] = ["add-learner", "catch-up", "joint-swap", "leave-joint", "cleanup"];
const NODES: usize = 4;
const SHARDS: usize = 16;

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The node whose replica goes.
    Source,
    /// The node whose replica comes.
    Target,
    /// Who drives the migration.
    MetaLeader,
}

#[test]
fn the_source_killed_in_each_phase() {
    kill_in_each_phase("source", Victim::Source);
}

#[test]
fn the_target_killed_in_each_phase() {
    kill_in_each_phase("target", Victim::Target);
}

#[test]
fn the_meta_leader_killed_in_each_phase() {
    kill_in_each_phase("meta-leader", Victim::MetaLeader);
}

fn kill_in_each_phase(name: &str, victim: Victim) {
    let mut cluster = Cluster::start(&format!("phases-{name}"), NODES, &["--cluster-token", TOKEN]);
    let all: Vec<usize> = (0..NODES).collect();
    cluster.wait_balanced(&all, 3);
    let load = Load::gentle(cluster.resp(), 16);
    for phase in PHASES {
        load.wait_answers(5);
        let (migration, place) = catch(&cluster, phase, victim);
        cluster.nodes[place].kill();
        let witness = (place + 1) % NODES;
        wait_for(&format!("the end of migration {migration}, {name} killed in {phase}"), || {
            let page = cluster.nodes[witness].status()?;
            let open = migrations(&page)?.iter().any(|one| number(one, "migration") == Some(migration));
            (!open).then_some(())
        });
        load.wait_answers(5);
        cluster.nodes[place].start();
        cluster.wait_balanced(&all, 3);
    }
    load.finish(&cluster.resp()).judge(&format!("{name} killed in each phase"));
}

/// Moves one replica after the other until a migration is seen in a phase; gives its number and the victim's place.
fn catch(cluster: &Cluster, phase: &str, victim: Victim) -> (u64, usize) {
    for shard in (0..SHARDS).cycle().take(20 * SHARDS) {
        let page = wait_for("a status page", || cluster.nodes[0].status());
        let (Some((from, to)), Some(leader)) = (a_move(&page, shard), meta_leader(&page)) else { continue };
        let (shard, from, to) = (shard.to_string(), from.to_string(), to.to_string());
        // Refused when the planner is just moving that shard.
        let _ = admin(cluster, 0, &["move-shard", &shard, "--from", &from, "--to", &to]);
        if let Some(caught) = watch(cluster, leader, phase, victim) {
            return caught;
        }
    }
    panic!("no migration was seen in {phase}");
}

/// Looks until a migration of a shard is in the phase, or none is under way any more.
fn watch(cluster: &Cluster, leader: usize, phase: &str, victim: Victim) -> Option<(u64, usize)> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let page = cluster.nodes[leader].status()?;
        // Those of the meta group name no shard.
        let mut open = migrations(&page)?.iter().filter(|one| number(one, "shard").is_some()).peekable();
        open.peek()?;
        if let Some(one) = open.find(|one| one.get("phase").and_then(Value::as_str) == Some(phase)) {
            let node = match victim {
                Victim::Source => number(one, "from")?,
                Victim::Target => number(one, "to")?,
                Victim::MetaLeader => leader as u64 + 1,
            };
            return Some((number(one, "migration")?, node as usize - 1));
        }
    }
    None
}

/// From a voter of the shard to the node that has none.
fn a_move(page: &Value, shard: usize) -> Option<(u64, u64)> {
    let voters: Vec<u64> =
        page.pointer(&format!("/shards/{shard}/voters"))?.as_array()?.iter().filter_map(Value::as_u64).collect();
    let to = (1..=NODES as u64).find(|node| !voters.contains(node))?;
    Some((*voters.get(shard % voters.len().max(1))?, to))
}

fn meta_leader(page: &Value) -> Option<usize> {
    Some(page.pointer("/cluster/meta_leader")?.as_u64()? as usize - 1)
}

fn migrations(page: &Value) -> Option<&Vec<Value>> {
    page.pointer("/cluster/migrations")?.as_array()
}

fn number(of: &Value, name: &str) -> Option<u64> {
    of.get(name)?.as_u64()
}
