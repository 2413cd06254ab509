//! The cluster changes its shape while it works.

use super::*;
use crate::{
    cluster::{
        command::{Incoming, MetaCommand},
        map::{MemberState, Phase, Reason},
    },
    multiraft::govern::GovernError,
};

mod asleep;
mod reset;
mod unfit;

const META: GroupId = GroupId::META;

impl Cluster {
    /// Changes the map through whoever leads the meta group.
    fn govern(&mut self, command: MetaCommand) -> Result<Arc<ClusterMap>, GovernError> {
        for _ in 0..200 {
            let Some(leader) = self.leader_of(META) else {
                self.run_ms(50);
                continue;
            };
            self.next_ticket += 1;
            let ticket = Ticket(self.next_ticket);
            let deadline_mono_ms = self.now.mono_ms + 3_000;
            let command = command.clone();
            self.input(leader, Input::Govern { ticket, command, expected_version: None, deadline_mono_ms });
            self.settle();
            for _ in 0..100 {
                match self.governed.remove(&ticket) {
                    Some(Err(GovernError::NotLeader(_))) => break,
                    Some(result) => return result,
                    None => self.run_ms(50),
                }
            }
        }
        panic!("{command:?} was not answered");
    }

    /// A node that was told to join: a new member, or a new life of one.
    fn join(&mut self, node: u64, life: u128) {
        let member = Member { state: MemberState::Joining, ..member(node, life) };
        let map = loop {
            match self.govern(MetaCommand::Join { node: NodeId(node), member: member.clone() }) {
                Ok(map) => break map,
                Err(GovernError::Refused(_)) => self.run_ms(200),
                Err(error) => panic!("join of node {node}: {error}"),
            }
        };
        self.start(node, life, map);
    }

    fn start(&mut self, node: u64, life: u128, map: Arc<ClusterMap>) {
        let core = core(node, life, self.limits, map);
        self.nodes.insert(NodeId(node), core);
        for peer in self.nodes.keys().copied().filter(|peer| *peer != NodeId(node)).collect::<Vec<_>>() {
            self.input(peer, Input::SessionUp { peer: NodeId(node), session: 1 });
            self.input(NodeId(node), Input::SessionUp { peer, session: 1 });
        }
    }

    fn kill(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        for peer in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.input(peer, Input::SessionDown { peer: node, session: 1 });
        }
    }

    /// The newest map that any node has.
    fn map(&self) -> Arc<ClusterMap> {
        self.nodes.values().map(|node| node.map().clone()).max_by_key(|map| map.version).expect("a node")
    }

    /// Runs, with a write now and then, until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        for step in 0..2_000 {
            if done(self) {
                return;
            }
            self.run_ms(50);
            if step % 4 == 0 {
                self.write_one();
            }
        }
        panic!("{what} did not come about; the map is {:#?}", self.map());
    }

    /// One write through any node that must succeed; the model has it.
    fn write_one(&mut self) {
        self.written += 1;
        let nodes: Vec<u64> = self.nodes.keys().map(|node| node.0).collect();
        let through = nodes[self.written as usize % nodes.len()];
        let key = format!("w{}", self.written);
        self.run(through, vec![put(&key, &self.written.to_string())]).expect("a write while the cluster changes");
    }

    /// Every acknowledged write is there, through every node, and all replicas are equal.
    fn check(&mut self) {
        let nodes: Vec<u64> = self.nodes.keys().map(|node| node.0).collect();
        for n in 1..=self.written {
            let through = nodes[n as usize % nodes.len()];
            let read = self.run(through, vec![get(&format!("w{n}"))]).expect("read");
            assert_eq!(value(&read[0]), Some(n.to_string()), "w{n} through node {through}");
        }
        self.run_ms(2_000);
        let statuses: Vec<_> = self.nodes.values().filter_map(|node| node.group_status(SHARD)).collect();
        let hashes: BTreeSet<_> = statuses.iter().map(|status| (status.applied, status.state_hash)).collect();
        assert_eq!(hashes.len(), 1, "replicas differ: {statuses:#?}");
    }

    fn settled(&self) -> bool {
        self.map().migrations.is_empty()
            && self.map().members.values().all(|member| member.state != MemberState::Joining)
            && self.nodes.values().all(|node| node.map().version == self.map().version)
    }

    /// The nodes of a group's voters, as its leader has them applied.
    fn voters(&self, group: GroupId) -> BTreeSet<NodeId> {
        let Some(leader) = self.leader_of(group) else { return BTreeSet::new() };
        let map = self.map();
        let status = self.nodes[&leader].group_status(group).expect("replica");
        let set = &map.groups[&group];
        let node = |replica: &ReplicaId| set.replicas.iter().find(|at| at.replica == *replica).map(|at| at.node);
        status.voters.iter().filter_map(node).collect()
    }

    /// The nodes of a group's voters in the map.
    fn mapped(&self, group: GroupId) -> BTreeSet<NodeId> {
        self.map().groups[&group].voters().map(|at| at.node).collect()
    }

    fn start_move(&mut self, from: u64, to: u64) {
        let outgoing = self.map().groups[&SHARD].on(NodeId(from)).expect("a replica").replica;
        self.govern(MetaCommand::StartMigration {
            group: SHARD,
            incoming: Incoming::New(NodeId(to)),
            outgoing: Some(outgoing),
            learner: false,
            reason: Reason::Asked,
        })
        .expect("start");
    }
}

fn nodes(of: &[u64]) -> BTreeSet<NodeId> {
    of.iter().copied().map(NodeId).collect()
}

fn cluster(count: u64) -> Cluster {
    Cluster::new(count, Limits::default(), SharedSettings::default())
}

/// Three nodes and a fourth, which has a copy of the map and no shard yet.
fn three_and_one() -> Cluster {
    let mut cluster = cluster(3);
    cluster.join(4, 1_004);
    cluster.until("node 4 has come", |cluster| cluster.settled() && cluster.has_meta(4));
    cluster
}

impl Cluster {
    fn has_meta(&self, node: u64) -> bool {
        self.nodes[&NodeId(node)].group_status(META).is_some_and(|status| status.applied.0 > 1)
    }
}

#[test]
fn a_node_joins_and_has_its_copy_of_the_map() {
    let mut cluster = three_and_one();
    let member = cluster.map().members[&NodeId(4)].clone();
    assert_eq!((member.state, member.incarnation), (MemberState::Up, Incarnation(1_004)));
    assert_eq!(cluster.nodes[&NodeId(4)].map().version, cluster.map().version);
    cluster.check();
}

#[test]
fn who_missed_the_map_that_places_its_first_replica_is_told_again() {
    let mut cluster = cluster(3);
    cluster.join(4, 1_004);
    let leader = cluster.leader_of(META).expect("a leader");
    cluster.disconnect(leader, NodeId(4));
    let is_learner = |cluster: &Cluster| {
        let conf = cluster.nodes[&leader].conf(META).map(|(_, conf)| conf.learners.clone());
        conf.is_some_and(|learners| !learners.is_empty())
    };
    cluster.until("a learner that does not know", is_learner);
    assert!(cluster.nodes[&NodeId(4)].group_status(META).is_none(), "it does not know");
    cluster.reconnect(leader, NodeId(4));
    cluster.until("node 4 has come", |cluster| cluster.settled() && cluster.has_meta(4));
}

#[test]
fn who_was_told_the_map_reports_in_every_later_session_too() {
    let mut cluster = three_and_one();
    let leader = cluster.leader_of(META).expect("a leader");
    cluster.disconnect(leader, NodeId(4));
    cluster.run_ms(1_000);
    cluster.reconnect(leader, NodeId(4));
    cluster.run_ms(20_000);
    assert_eq!(cluster.leader_of(META), Some(leader), "the term of the last news is the present one");
    let governing = cluster.nodes[&leader].governing().expect("it governs");
    assert_eq!(governing.health.nodes[&NodeId(4)].silent_ms, 0);
}

#[test]
fn a_shard_moves_under_writes() {
    for from in 1..=3 {
        let mut cluster = three_and_one();
        let to = if cluster.mapped(SHARD).contains(&NodeId(4)) { from % 3 + 1 } else { 4 };
        if cluster.map().groups[&SHARD].on(NodeId(to)).is_some() {
            continue;
        }
        cluster.start_move(from, to);
        let want: BTreeSet<NodeId> = nodes(&[1, 2, 3, 4]).into_iter().filter(|node| *node != NodeId(from)).collect();
        cluster.until("the move", |cluster| cluster.settled() && cluster.voters(SHARD) == want);
        assert_eq!(cluster.mapped(SHARD), want);
        assert!(cluster.nodes[&NodeId(from)].group_status(SHARD).is_none(), "node {from} has freed its replica");
        cluster.check();
    }
}

#[test]
fn the_only_voter_moves() {
    let mut cluster = cluster(1);
    cluster.join(2, 1_002);
    cluster.until("node 2 has come", Cluster::settled);
    let from = *cluster.mapped(SHARD).first().expect("one");
    let to = NodeId(3 - from.0);
    cluster.start_move(from.0, to.0);
    cluster.until("the move", |cluster| cluster.settled() && cluster.voters(SHARD) == BTreeSet::from([to]));
    assert!(cluster.nodes[&from].group_status(SHARD).is_none());
    cluster.check();
}

#[test]
fn a_node_that_comes_back_empty_is_repaired() {
    let mut cluster = cluster(3);
    for round in 0..4_u64 {
        let node = round % 3 + 1;
        let before = cluster.map().groups[&SHARD].on(NodeId(node)).expect("a replica").replica;
        cluster.write_one();
        cluster.kill(NodeId(node));
        cluster.join(node, 2_000 + u128::from(round));
        cluster.until("the repair", |cluster| {
            cluster.settled()
                && cluster.voters(SHARD) == nodes(&[1, 2, 3])
                && cluster.voters(META) == nodes(&[1, 2, 3])
                && cluster.map().groups[&SHARD].replicas.iter().all(|at| cluster.map().is_alive(at))
        });
        let after = cluster.map().groups[&SHARD].on(NodeId(node)).expect("a replica").replica;
        assert!(after > before, "it never votes under its old id");
        cluster.check();
    }
}

#[test]
fn a_stranger_is_let_in_only_as_far_as_the_switches_say() {
    let mut cluster = cluster(3);
    let admit = |cluster: &mut Cluster, join| {
        let admission = Admission { join, hold: false, by_hand: nodes(&[1, 2, 3]) };
        cluster.nodes.values_mut().for_each(|node| node.config.admission = admission.clone());
    };
    admit(&mut cluster, false);
    let member = Member { state: MemberState::Joining, ..member(4, 1_004) };
    let refused = cluster.govern(MetaCommand::Join { node: NodeId(4), member });
    let is_clear =
        |error: &GovernError| error.to_string().contains("node 4 is a stranger, and auto_add_peers is off");
    assert!(refused.as_ref().is_err_and(is_clear), "{refused:?}");

    admit(&mut cluster, true);
    cluster.join(4, 1_004);
    cluster.run_ms(10_000);
    let state = |cluster: &Cluster| cluster.map().members[&NodeId(4)].state;
    assert_eq!(state(&cluster), MemberState::Joining);
    assert_eq!(cluster.map().replicas_on(NodeId(4)).count(), 0);
    let governing = cluster.nodes.values().find_map(Node::governing).expect("somebody governs");
    assert!(governing.waiting_on[0].contains("node 4 is not let in"), "{:?}", governing.waiting_on);

    let incarnation = Incarnation(1_004);
    cluster.govern(MetaCommand::SetState { node: NodeId(4), incarnation, state: MemberState::Up }).expect("by hand");
    cluster.until("node 4 has come", |cluster| cluster.settled() && cluster.has_meta(4));
    // Who had a replica is no stranger.
    cluster.kill(NodeId(4));
    cluster.join(4, 2_004);
    cluster.until("node 4 is back", |cluster| cluster.settled() && cluster.has_meta(4));
    assert_eq!(state(&cluster), MemberState::Up);
    cluster.check();
}

#[test]
fn a_second_life_has_to_wait_for_the_end_of_the_first() {
    let mut cluster = cluster(3);
    let leader = cluster.leader_of(META).expect("a leader");
    let other = if leader == NodeId(1) { 2 } else { 1 };
    let join = MetaCommand::Join { node: NodeId(other), member: member(other, 77) };
    let refused = cluster.govern(join.clone());
    assert!(matches!(refused, Err(GovernError::Refused(_))), "{refused:?}");
    cluster.kill(NodeId(other));
    let refused = cluster.govern(join.clone());
    assert!(matches!(refused, Err(GovernError::Refused(_))), "heard of just now: {refused:?}");
    cluster.run_ms(2_000);
    cluster.govern(join).expect("silent for long enough");
}

#[test]
fn a_superseded_node_says_so_and_serves_nothing() {
    let mut cluster = cluster(3);
    let old = cluster.nodes.remove(&NodeId(3)).expect("node");
    cluster.kill(NodeId(3));
    cluster.join(3, 3_000);
    cluster.until("the new life is known", |cluster| cluster.settled());
    let map = cluster.map();
    let mut old = old;
    old.input(cluster.now, Input::Map(map));
    let effects = old.turn(cluster.now);
    assert!(effects.events.contains(&Event::Superseded));
    assert_eq!(old.status().count(), 0);
}

#[test]
fn a_drained_node_can_be_removed() {
    let mut cluster = three_and_one();
    let incarnation = cluster.map().members[&NodeId(1)].incarnation;
    let set = |state| MetaCommand::SetState { node: NodeId(1), incarnation, state };
    cluster.govern(set(MemberState::Draining)).expect("drain");
    cluster.until("the drain", |cluster| {
        cluster.settled() && (0..2).all(|group| cluster.map().groups[&GroupId(group)].on(NodeId(1)).is_none())
    });
    cluster.govern(set(MemberState::Removed)).expect("removal");
    assert_eq!(cluster.voters(SHARD), nodes(&[2, 3, 4]));
    cluster.kill(NodeId(1));
    cluster.check();
}

#[test]
fn whoever_leads_the_meta_group_next_goes_on() {
    for phase in Phase::ALL {
        let mut cluster = cluster(3);
        cluster.join(4, 1_004);
        cluster.join(5, 1_005);
        cluster.until("nodes 4 and 5 have come", |cluster| cluster.settled() && cluster.has_meta(5));
        let set = cluster.mapped(SHARD);
        let leader = cluster.leader_of(META).expect("a leader");
        // Neither the leader of the meta group nor the target is what the shard loses.
        let Some(to) = nodes(&[1, 2, 3, 4, 5]).into_iter().find(|node| !set.contains(node) && *node != leader) else {
            continue;
        };
        let from = set.iter().copied().find(|node| *node != leader).expect("two others");
        cluster.start_move(from.0, to.0);
        cluster.until("the phase", |cluster| {
            let migration = cluster.map().migration_of(SHARD).copied();
            migration.is_none_or(|migration| migration.phase >= phase)
        });
        let leader = cluster.leader_of(META).expect("a leader");
        cluster.kill(leader);
        cluster.until("the move goes on", |cluster| {
            cluster.map().migration_of(SHARD).is_none() && cluster.leader_of(META).is_some()
        });
        cluster.check();
    }
}

#[test]
fn a_cancelled_move_leaves_nothing_behind() {
    let mut cluster = three_and_one();
    let set = cluster.mapped(SHARD);
    let to = *nodes(&[1, 2, 3, 4]).difference(&set).next().expect("one is free");
    cluster.start_move(set.first().expect("three").0, to.0);
    let id = cluster.map().migration_of(SHARD).expect("a migration").id;
    cluster.govern(MetaCommand::CancelMigration(id)).expect("cancel");
    cluster.until("the roll-back", Cluster::settled);
    assert_eq!(cluster.voters(SHARD), set);
    let leader = cluster.leader_of(SHARD).expect("a leader");
    assert!(cluster.nodes[&leader].group_status(SHARD).expect("replica").learners.is_empty());
    assert!(cluster.nodes[&to].group_status(SHARD).is_none());
    cluster.check();
}

/// With two voters the incoming half needs the new one: without it the joint configuration could never be left.
#[test]
fn no_joint_configuration_begins_with_a_dead_newcomer() {
    let mut cluster = cluster(2);
    cluster.join(3, 1_003);
    cluster.until("node 3 has come", |cluster| cluster.settled() && cluster.voters(META).len() == 3);
    assert_eq!(cluster.mapped(SHARD), nodes(&[1, 2]));
    cluster.start_move(1, 3);
    cluster.until("the swap", |cluster| {
        cluster.map().migration_of(SHARD).is_some_and(|migration| migration.phase == Phase::JointSwap)
    });
    cluster.kill(NodeId(3));
    for _ in 0..20 {
        cluster.run_ms(500);
        cluster.write_one();
    }
    let leader = cluster.leader_of(SHARD).expect("a leader");
    let (_, conf) = cluster.nodes[&leader].conf(SHARD).expect("a configuration");
    assert!(conf.voters_outgoing.is_empty() && conf.voters.len() == 2, "{conf:?}");
}

#[test]
fn the_meta_group_grows_to_five_voters() {
    let mut cluster = cluster(1);
    for node in 2..=6 {
        cluster.join(node, 1_000 + u128::from(node));
    }
    cluster.until("five voters and a learner", |cluster| cluster.settled() && cluster.voters(META).len() == 5);
    assert_eq!(cluster.map().groups[&META].replicas.len(), 6);
    assert!(cluster.nodes.values().all(|node| node.map().version == cluster.map().version));
    cluster.check();
}

#[test]
fn leadership_goes_where_the_map_wants_it() {
    let mut cluster = cluster(3);
    let set = cluster.map().groups[&SHARD].clone();
    for at in set.replicas {
        cluster.govern(MetaCommand::Prefer { group: SHARD, replica: at.replica }).expect("prefer");
        cluster.until("the preferred one leads", |cluster| cluster.leader_of(SHARD) == Some(at.node));
    }
    cluster.check();
}

#[test]
fn a_node_is_relieved_for_a_while_when_somebody_moves_leaders_away() {
    let mut cluster = cluster(3);
    let relieved = |cluster: &Cluster| {
        let governing = cluster.nodes.values().find_map(|node| node.governing()).expect("a meta leader");
        governing.health.relieved.iter().copied().collect::<Vec<_>>()
    };
    let set = cluster.map().groups[&SHARD].clone();
    let (first, second) = (set.replicas[0], set.replicas[1]);
    for (from, to) in [(first, second), (second, first)] {
        cluster.govern(MetaCommand::Prefer { group: SHARD, replica: to.replica }).expect("prefer");
        cluster.until("it is known", |cluster| relieved(cluster) == [from.node]);
    }
    cluster.run_ms(120_000);
    assert!(relieved(&cluster).is_empty(), "{:?}", relieved(&cluster));
}

#[test]
fn a_preferred_leader_whose_clock_is_wrong_is_not_asked() {
    let mut cluster = cluster(3);
    let leader = cluster.leader_of(SHARD).expect("a leader");
    let set = cluster.map().groups[&SHARD].clone();
    let at = *set.replicas.iter().find(|at| at.node != leader).expect("another");
    cluster.ahead = Some((at.node, 3_600_000));
    cluster.run_ms(1_000);
    let changes = |cluster: &Cluster| {
        cluster
            .nodes
            .values()
            .map(|node| node.group_status(SHARD).expect("replica").counters.leader_changes)
            .sum::<u64>()
    };
    let before = changes(&cluster);
    cluster.govern(MetaCommand::Prefer { group: SHARD, replica: at.replica }).expect("prefer");
    for _ in 0..30 {
        cluster.run_ms(1_000);
        cluster.write_one();
    }
    assert_eq!(changes(&cluster), before, "it would only hand it back");
    cluster.ahead = None;
    cluster.until("the preferred one leads", |cluster| cluster.leader_of(SHARD) == Some(at.node));
    cluster.check();
}

/// Its node is still there and beats, but for the map its life is over: nobody would wake the others.

#[test]
fn settings_change_while_the_cluster_runs() {
    let mut cluster = cluster(3);
    for i in 0..50 {
        cluster.run(1, vec![put(&format!("k{i}"), "v")]).expect("write");
    }
    let mut settings = SharedSettings::default();
    settings.capacity.max_entries = 20;
    cluster.govern(MetaCommand::SetSettings(settings)).expect("settings");
    cluster.run_ms(3_000);
    assert!((1..=3).all(|node| cluster.status(node).entries == 20), "evicted everywhere");
}
