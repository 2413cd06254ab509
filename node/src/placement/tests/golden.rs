//! Scripts (`crate::golden`) in `placement/testdata` of events and what the planner said.
//!
//! A script has one world. The words are in [`Script::line`].

use std::fmt::Write as _;

use super::{
    properties::{converge, round},
    world::World,
};
use crate::{
    cluster::{
        command::{Incoming, MetaCommand},
        map::MemberState,
    },
    golden,
    placement::{plan, preflight_drain},
    types::{GroupId, NodeId, ReplicaId},
};

#[test]
fn scripts() {
    golden::check("src/placement/testdata", || {
        let mut script = Script { world: World::new(&[""], 1, 1) };
        move |line: &str| script.line(line)
    });
}

struct Script {
    world: World,
}

impl Script {
    /// | words | what |
    /// |---|---|
    /// | `cluster ZONES SHARDS FACTOR` | a new world; zones as `a,b,-`, `-` for none |
    /// | `join NODE [ZONE]`, `kill NODE`, `silent NODE MS` | what nodes do; `join` of a member is an empty restart |
    /// | `corrupt NODE SHARD`, `fail NODE` | a replica's state is wrong; a node's disk fails |
    /// | `drain NODE`, `undrain NODE`, `factor N`, `pause`, `bytes SHARD N`, `limit NODE N` | what people do |
    /// | `plan`, `preflight NODE...`, `show` | answers, nothing is done |
    /// | `rounds N`, `settle` | plans are carried out |
    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap_or_else(|_| panic!("a number in {line}"));
        let node = |at: usize| NodeId(number(at));
        let world = &mut self.world;
        match words[0] {
            "cluster" => {
                let zones: Vec<&str> = words[1].split(',').map(|zone| if zone == "-" { "" } else { zone }).collect();
                *world = World::new(&zones, number(2) as u32, number(3) as u32);
            }
            "join" => world.join(node(1), words.get(2).copied().unwrap_or_default()),
            "kill" => world.kill(node(1)),
            "fail" => world.fail_disk(node(1)),
            "corrupt" => world.corrupt(node(1), number(2) as u32),
            "silent" => _ = world.silent_ms.insert(node(1), number(2)),
            "drain" => world.set_state(node(1), MemberState::Draining),
            "undrain" => world.set_state(node(1), MemberState::Up),
            "factor" => world.map.replication_factor = number(1) as u32,
            "pause" => world.map.settings.migrations_paused = true,
            "bytes" => _ = world.bytes.insert(GroupId::of_shard(number(1) as u32), number(2)),
            "limit" => _ = world.limits.insert(node(1), number(2)),
            "plan" => return self.plan(),
            "preflight" => {
                let nodes: Vec<NodeId> = (1..words.len()).map(node).collect();
                return self.preflight(&nodes);
            }
            "show" => return self.show(),
            "rounds" => (0..number(1)).for_each(|_| _ = round(world).expect("a sound plan")),
            "settle" => converge(world).expect("it settles"),
            _ => panic!("no such words: {line}"),
        }
        String::new()
    }

    fn plan(&self) -> String {
        let plan = plan(&self.world.map, &self.world.health());
        let mut out = String::new();
        for action in &plan.actions {
            let _ = writeln!(out, "{}", self.action(action));
        }
        for line in &plan.waiting_on {
            let _ = writeln!(out, "waits: {line}");
        }
        if out.is_empty() { "nothing to do\n".to_owned() } else { out }
    }

    fn action(&self, action: &MetaCommand) -> String {
        let place = |group: GroupId, replica: ReplicaId| match self.world.map.node_of(group, replica) {
            Some(node) => format!("replica {replica} on node {node}"),
            None => format!("replica {replica}"),
        };
        match action {
            MetaCommand::SetState { node, state, .. } => format!("node {node} is {state:?}"),
            MetaCommand::StartMigration { group, incoming, outgoing, learner, reason } => {
                let come = match incoming {
                    Incoming::None => String::new(),
                    Incoming::New(node) => format!(" +node {node}"),
                    Incoming::Promote(replica) => format!(" +vote of {}", place(*group, *replica)),
                };
                let go = outgoing.map(|replica| format!(" -{}", place(*group, replica))).unwrap_or_default();
                let learner = if *learner { " as learner" } else { "" };
                format!("{group}:{come}{learner}{go} ({})", reason.name())
            }
            MetaCommand::Prefer { group, replica } => format!("{group}: prefer {}", place(*group, *replica)),
            other => format!("{other:?}"),
        }
    }

    fn preflight(&self, nodes: &[NodeId]) -> String {
        match preflight_drain(&self.world.map, &self.world.health(), nodes) {
            Err(refusal) => format!("refused: {refusal}\n"),
            Ok(forecast) => {
                let moves = forecast.moves.iter().map(|moved| {
                    let from = self.world.map.node_of(moved.group, moved.from).unwrap_or_default();
                    format!("{}: node {from} to node {}\n", moved.group, moved.to)
                });
                moves.collect::<String>() + &format!("{} bytes\n", forecast.bytes)
            }
        }
    }

    /// Each group's nodes, the preferred leader first; learners in brackets. Then the members.
    fn show(&self) -> String {
        let mut out = String::new();
        for (group, set) in &self.world.map.groups {
            let nodes = set.replicas.iter().map(|at| match at.learner {
                true => format!("[{}]", at.node),
                false => at.node.to_string(),
            });
            let _ = writeln!(out, "{group}: {}", nodes.collect::<Vec<_>>().join(" "));
        }
        let members = self.world.map.members.iter().map(|(node, member)| format!("{node} {:?}", member.state));
        let _ = writeln!(out, "nodes: {}", members.collect::<Vec<_>>().join(", "));
        out
    }
}
