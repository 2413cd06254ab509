//! Scripts (`crate::golden`) in `cluster/testdata` of changes and what they did to the map.
//!
//! Each block begins with a map of its own, or goes on with that of the block before. The words are in [`Script::line`]
//! and [`command`].

use std::{collections::BTreeSet, fmt::Write as _};

use super::{cluster, life, member};
use crate::{
    cluster::{
        command::{Incoming, Life, MetaCommand, ShardReset, apply},
        map::{ClusterMap, FeatureLevels, Member, MemberState, Migration, Phase, Reason, ReplicaSet, SharedSettings},
    },
    golden,
    types::{GroupId, MigrationId, NodeId, ReplicaId},
};

#[test]
fn scripts() {
    golden::check("src/cluster/testdata", || {
        let mut script = Script { map: cluster(3, 1, 3) };
        move |line: &str| script.line(line)
    });
}

struct Script {
    map: ClusterMap,
}

impl Script {
    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["cluster", nodes, shards, factor] => {
                self.map = cluster(number(nodes), number(shards), number(factor));
                self.map.settings.repair_after_ms = None;
                draw(&self.map).into_iter().map(|line| line + "\n").collect()
            }
            ["at", version, ref rest @ ..] => self.apply(Some(number(version)), rest),
            _ => self.apply(None, &words),
        }
    }

    fn apply(&mut self, expected: Option<u64>, words: &[&str]) -> String {
        let before = draw(&self.map);
        let command = command(&self.map, words);
        match apply(&mut self.map, 1_000, expected, &command) {
            Err(refused) => format!("refused: {refused}\n"),
            Ok(()) => diff(&before, &draw(&self.map)),
        }
    }
}

fn diff(before: &[String], after: &[String]) -> String {
    let set = |lines: &[String]| lines.iter().cloned().collect::<BTreeSet<_>>();
    let (old, new) = (set(before), set(after));
    let gone = before.iter().filter(|line| !new.contains(*line)).map(|line| format!("- {line}\n"));
    let come = after.iter().filter(|line| !old.contains(*line)).map(|line| format!("+ {line}\n"));
    let all: String = gone.chain(come).collect();
    if all.is_empty() { "unchanged\n".to_owned() } else { all }
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

/// `meta` or `s0`, `s1`, …
fn group(word: &str) -> GroupId {
    word.strip_prefix('s').map_or(GroupId::META, |shard| GroupId::of_shard(number(shard)))
}

fn phase(word: &str) -> Phase {
    Phase::ALL.into_iter().find(|phase| phase.name() == word).unwrap_or_else(|| panic!("no phase {word}"))
}

fn command(map: &ClusterMap, words: &[&str]) -> MetaCommand {
    match *words {
        ["join", node, ref options @ ..] => {
            MetaCommand::Join { node: NodeId(number(node)), member: joining(number(node), options) }
        }
        ["state", node, state, ref options @ ..] => set_state(map, number(node), state, options),
        ["start", at, ref options @ ..] => start(group(at), options),
        ["advance", id, from, to, ref options @ ..] => MetaCommand::AdvanceMigration {
            migration: MigrationId(number(id)),
            from: phase(from),
            to: (to != "end").then(|| phase(to)),
            conf_version: options.first().map_or(0, |word| number(word)),
        },
        ["cancel", id] => MetaCommand::CancelMigration(MigrationId(number(id))),
        ["prefer", at, replica] => MetaCommand::Prefer { group: group(at), replica: ReplicaId(number(replica)) },
        ["settings", ref options @ ..] => MetaCommand::SetSettings(settings(map.settings, options)),
        ["factor", factor] => MetaCommand::SetReplicationFactor(number(factor)),
        ["level", level] => MetaCommand::RaiseFeatureLevel(number(level)),
        ["reset", ref options @ ..] => reset(options),
        _ => panic!("unknown change {words:?}"),
    }
}

fn joining(node: u64, options: &[&str]) -> Member {
    let mut joining = member(node, 1);
    for option in options {
        match option.split_once('=') {
            Some(("life", "0")) => joining.incarnation.0 = 0,
            Some(("life", n)) => joining.incarnation = life(node, number(n)),
            Some(("address", to)) => joining.address = to.to_owned(),
            Some(("host", host)) => joining.host = host.to_owned(),
            Some(("levels", n)) => joining.levels = FeatureLevels { min: number(n), max: number(n) },
            _ => panic!("unknown option {option}"),
        }
    }
    joining
}

fn set_state(map: &ClusterMap, node: u64, state: &str, options: &[&str]) -> MetaCommand {
    use MemberState::{Down, Draining, Joining, Removed, Up};
    let known = map.members.get(&NodeId(node)).map(|member| member.incarnation);
    let state = [Joining, Up, Draining, Down, Removed].into_iter().find(|known| known.name() == state);
    MetaCommand::SetState {
        node: NodeId(node),
        incarnation: options.first().map_or(known.unwrap_or_default(), |n| life(node, number(n))),
        state: state.expect("a state"),
    }
}

fn start(group: GroupId, options: &[&str]) -> MetaCommand {
    let (mut incoming, mut outgoing, mut learner) = (Incoming::None, None, false);
    for option in options {
        match option.split_once('=') {
            Some(("to", node)) => incoming = Incoming::New(NodeId(number(node))),
            Some(("promote", replica)) => incoming = Incoming::Promote(ReplicaId(number(replica))),
            Some(("out", replica)) => outgoing = Some(ReplicaId(number(replica))),
            None if *option == "learner" => learner = true,
            _ => panic!("unknown option {option}"),
        }
    }
    MetaCommand::StartMigration { group, incoming, outgoing, learner, reason: Reason::Asked }
}

/// `s0=1:2,3` is shard 0, whose generation 1 is lost, on nodes 2 and 3; `dead=2:1` is node 2 in its first life.
fn reset(options: &[&str]) -> MetaCommand {
    let (mut shards, mut dead): (Vec<ShardReset>, Vec<Life>) = (Vec::new(), Vec::new());
    for option in options {
        let (name, value) = option.split_once('=').expect("name=value");
        let (first, second) = value.split_once(':').expect("a:b");
        if name == "dead" {
            dead.push((NodeId(number(first)), life(number(first), number(second))));
        } else {
            let nodes = second.split(',').filter(|node| !node.is_empty()).map(|node| NodeId(number(node))).collect();
            shards.push(ShardReset { group: group(name), generation: number(first), nodes });
        }
    }
    MetaCommand::ResetShards { shards, dead }
}

fn settings(mut settings: SharedSettings, options: &[&str]) -> SharedSettings {
    for option in options {
        match option.split_once('=') {
            Some(("concurrency", n)) => settings.migration_concurrency = number(n),
            Some(("ttl", n)) => settings.default_ttl_ms = Some(number(n)),
            Some(("bytes_per_s", n)) => settings.migration_bytes_per_s = Some(number(n)),
            Some(("paused", paused)) => settings.migrations_paused = number(paused),
            _ => panic!("unknown option {option}"),
        }
    }
    settings
}

/// The map in lines, so that changes show.
fn draw(map: &ClusterMap) -> Vec<String> {
    let mut lines = vec![
        format!("version {}", map.version),
        format!("level {}, factor {}", map.feature_level, map.replication_factor),
        format!(
            "settings ttl={:?} concurrency={} bytes_per_s={:?} paused={}",
            map.settings.default_ttl_ms,
            map.settings.migration_concurrency,
            map.settings.migration_bytes_per_s,
            map.settings.migrations_paused
        ),
    ];
    lines.extend(map.members.iter().map(|(node, member)| {
        let Member { incarnation, address, host, state, levels, .. } = member;
        let number = incarnation.0 & u128::from(u64::MAX);
        let mut line = format!("node {node} life {number} {} {address} {}-{}", state.name(), levels.min, levels.max);
        let _ = if host.is_empty() { Ok(()) } else { write!(line, " host {host}") };
        line
    }));
    lines.extend(map.groups.iter().map(|(group, set)| draw_set(map, *group, set)));
    lines.extend(map.migrations.values().map(draw_migration));
    lines
}

fn draw_set(map: &ClusterMap, group: GroupId, set: &ReplicaSet) -> String {
    let mut line = format!("{group}:");
    for at in &set.replicas {
        let role = if at.learner { "(learner)" } else { "" };
        let dead = if map.is_alive(at) { "" } else { "(dead)" };
        let _ = write!(line, " {}@{}{role}{dead}", at.replica, at.node);
    }
    let _ = write!(line, " changes {} conf {}", set.changes, set.conf_version);
    if set.generation > 1 {
        let founders: Vec<String> = set.founders.iter().map(|at| format!("{}@{}", at.replica, at.node)).collect();
        let _ = write!(line, " generation {} of {}", set.generation, founders.join(" "));
    }
    line
}

fn draw_migration(migration: &Migration) -> String {
    let mut line = format!("migration {} of {}: {}", migration.id, migration.group, migration.phase.name());
    let replica = |id: Option<ReplicaId>| id.map_or("none".to_owned(), |id| id.to_string());
    let _ = write!(line, " in {} out {}", replica(migration.incoming), replica(migration.outgoing));
    for (set, word) in
        [(migration.learner, "learner"), (migration.promoted, "promoted"), (migration.cancelled, "cancelled")]
    {
        let _ = if set { write!(line, " {word}") } else { Ok(()) };
    }
    if let Some(left) = migration.left {
        let _ = write!(line, " left node {} at version {}", left.node, left.version);
    }
    line
}
