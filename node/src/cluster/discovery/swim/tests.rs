//! Whole groups of nodes on one clock and a network that loses, cuts and changes packets.

use std::{collections::BTreeMap, net::SocketAddr};

use proptest::prelude::*;

use super::{
    Life, MAX_META_BYTES, MAX_PACKET_BYTES, Outgoing, Packet, Record, Settings, Swim,
    wire::{Kind, WireError},
};
use crate::types::{Draw, NodeId};

const TICK_MS: u64 = 50;

fn address(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], node as u16))
}

fn record(node: u64, incarnation: u64, life: Life) -> Record {
    Record {
        node: NodeId(node),
        incarnation,
        life,
        gossip: address(node),
        raft: format!("n{node}:7000"),
        meta: String::new(),
    }
}

/// Nodes and what is on its way between them.
struct World {
    nodes: BTreeMap<u64, Swim>,
    now_ms: u64,
    draw: Draw,
    /// Packets lost, of a hundred.
    loss: u64,
    /// Nodes of different sides do not reach each other.
    side: BTreeMap<u64, u8>,
}

impl World {
    /// Nodes 1 to `nodes`, all with node 1 as their seed.
    fn new(nodes: u64) -> Self {
        let mut world =
            Self { nodes: BTreeMap::new(), now_ms: 0, draw: Draw::new(1), loss: 0, side: BTreeMap::new() };
        for node in 1..=nodes {
            world.start(node, 1);
        }
        world
    }

    fn start(&mut self, node: u64, incarnation: u64) {
        let me = record(node, incarnation, Life::Alive);
        self.nodes.insert(node, Swim::new(Settings::default(), me, vec![address(1)], node));
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / TICK_MS {
            self.now_ms += TICK_MS;
            let nodes: Vec<u64> = self.nodes.keys().copied().collect();
            for node in nodes {
                let out = self.nodes.get_mut(&node).map(|swim| swim.on_tick(self.now_ms)).unwrap_or_default();
                self.deliver(node, out);
            }
        }
    }

    /// Delivers packets and their answers, through bytes, until nothing is on its way.
    fn deliver(&mut self, from: u64, out: Vec<Outgoing>) {
        let mut way: Vec<_> = out.into_iter().map(|one| (from, one)).collect();
        let mut steps = 0;
        while let Some((from, Outgoing { to, packet })) = way.pop() {
            steps += 1;
            assert!(steps < 10_000, "packets answer each other without end");
            let bytes = packet.encode();
            assert!(bytes.len() <= MAX_PACKET_BYTES);
            let to = u64::from(to.port());
            if self.side.get(&from) != self.side.get(&to) || self.draw.below(100) < self.loss {
                continue;
            }
            let Some(swim) = self.nodes.get_mut(&to) else { continue };
            let packet = Packet::decode(&bytes).expect("our own packet");
            way.extend(swim.on_packet(address(from), packet, self.now_ms).into_iter().map(|one| (to, one)));
        }
    }

    /// What a node thinks of the others: `2:Alive 3:Dead`.
    fn view(&self, node: u64) -> String {
        let words: Vec<_> = self.nodes[&node].members().map(|one| format!("{}:{:?}", one.node, one.life)).collect();
        words.join(" ")
    }

    fn assert_all_know_all(&self) {
        for node in self.nodes.keys() {
            let others: Vec<_> =
                self.nodes.keys().filter(|other| *other != node).map(|other| format!("{other}:Alive")).collect();
            assert_eq!(self.view(*node), others.join(" "), "as node {node} sees it");
        }
    }
}

#[test]
fn nodes_find_each_other_through_one_seed() {
    let mut world = World::new(20);
    world.run(30_000);
    world.assert_all_know_all();
    let known = world.nodes[&20].members().next().expect("node 1");
    assert_eq!((known.raft.as_str(), known.gossip), ("n1:7000", address(1)));
}

#[test]
fn a_dead_node_is_noticed_by_all_and_forgotten_at_last() {
    let mut world = World::new(5);
    world.run(10_000);
    world.nodes.remove(&3);
    world.run(30_000);
    assert_eq!(world.view(1), "2:Alive 3:Dead 4:Alive 5:Alive");
    assert_eq!(world.view(5), "1:Alive 2:Alive 3:Dead 4:Alive");
    world.run(Settings::default().reap_after_ms + 60_000);
    world.assert_all_know_all();
}

#[test]
fn a_node_that_leaves_is_believed_at_once() {
    let mut world = World::new(3);
    world.run(10_000);
    let goodbye = world.nodes.get_mut(&2).expect("there").leave();
    world.deliver(2, goodbye);
    world.nodes.remove(&2);
    assert_eq!(world.view(1), "2:Left 3:Alive");
    assert_eq!(world.view(3), "1:Alive 2:Left");
    world.start(2, 2);
    world.run(10_000);
    world.assert_all_know_all();
}

#[test]
fn a_restarted_node_outbids_its_earlier_life_even_with_a_clock_that_is_behind() {
    let mut world = World::new(3);
    world.run(10_000);
    world.nodes.remove(&3);
    world.run(30_000);
    assert_eq!(world.view(1), "2:Alive 3:Dead");
    world.start(3, 0);
    world.run(15_000);
    world.assert_all_know_all();
}

#[test]
fn lost_packets_kill_nobody() {
    let mut world = World::new(6);
    world.loss = 20;
    world.run(120_000);
    // A suspicion may be in the air at any moment, a death not.
    for node in 1..=6 {
        assert!(!world.view(node).contains("Dead"), "{}", world.view(node));
        assert_eq!(world.nodes[&node].members().count(), 5);
    }
    world.loss = 0;
    world.run(30_000);
    world.assert_all_know_all();
}

#[test]
fn a_node_that_one_cannot_reach_is_kept_alive_through_others() {
    let mut world = World::new(4);
    world.run(10_000);
    // Only node 1 and node 2 don't reach each other: a filter in the network, not a death.
    for _ in 0..1_200 {
        world.now_ms += TICK_MS;
        for node in 1..=4 {
            let out = world.nodes.get_mut(&node).expect("there").on_tick(world.now_ms);
            let passes = |one: &Outgoing| !matches!((node, one.to.port()), (1, 2) | (2, 1));
            world.deliver(node, out.into_iter().filter(passes).collect());
        }
    }
    assert!(!world.view(1).contains("2:Dead") && !world.view(2).contains("1:Dead"));
    assert_eq!(
        (world.view(3).as_str(), world.view(4).as_str()),
        ("1:Alive 2:Alive 4:Alive", "1:Alive 2:Alive 3:Alive")
    );
}

#[test]
fn the_sides_of_a_partition_come_together_again() {
    let mut world = World::new(6);
    world.run(10_000);
    world.side = [(4, 1), (5, 1), (6, 1)].into();
    world.run(60_000);
    assert_eq!(world.view(1), "2:Alive 3:Alive 4:Dead 5:Dead 6:Dead");
    assert_eq!(world.view(6), "1:Dead 2:Dead 3:Dead 4:Alive 5:Alive");
    world.side.clear();
    world.run(60_000);
    world.assert_all_know_all();
}

#[test]
fn what_a_node_says_of_itself_reaches_all() {
    let mut world = World::new(8);
    world.run(20_000);
    world.nodes.get_mut(&5).expect("there").set_meta("0:5:7".to_owned());
    world.run(5_000);
    for (node, swim) in world.nodes.iter_mut().filter(|(node, _)| **node != 5) {
        let told = swim.members().find(|one| one.node == NodeId(5)).expect("known");
        assert_eq!(told.meta, "0:5:7", "at node {node}");
        assert!(swim.take_changed() && !swim.take_changed());
    }
    let full = "x".repeat(MAX_META_BYTES);
    world.nodes.get_mut(&6).expect("there").set_meta(full.clone());
    world.run(5_000);
    assert!(world.nodes[&1].members().any(|one| one.meta == full), "the largest there may be");
}

#[test]
fn an_unspecified_host_is_the_one_that_the_packet_came_from() {
    let mut swim = Swim::new(Settings::default(), record(1, 1, Life::Alive), vec![], 1);
    let any = |node| Record { gossip: SocketAddr::from(([0, 0, 0, 0], 9)), ..record(node, 1, Life::Alive) };
    let packet = Packet::new(NodeId(2), Kind::Gossip, vec![any(2), any(3)]);
    swim.on_packet(address(2), packet, 0);
    let known: Vec<_> = swim.members().map(|one| (one.node.0, one.gossip.to_string())).collect();
    assert_eq!(known, [(2, "127.0.0.1:9".to_owned())], "for node 3 nobody can say");
}

#[test]
fn of_two_records_the_higher_incarnation_and_then_the_worse_life_counts() {
    let lives = [Life::Alive, Life::Suspect, Life::Dead, Life::Left];
    let all: Vec<_> = (1..=3).flat_map(|incarnation| lives.map(|life| (incarnation, life))).collect();
    for first in all.iter().filter(|(_, life)| *life <= Life::Suspect) {
        for second in &all {
            let mut swim = Swim::new(Settings::default(), record(1, 1, Life::Alive), vec![], 1);
            for (incarnation, life) in [first, second] {
                let news = vec![record(2, *incarnation, *life)];
                swim.on_packet(address(3), Packet::new(NodeId(3), Kind::Gossip, news), 0);
            }
            let known = swim.members().next().expect("node 2");
            assert_eq!((known.incarnation, known.life), *first.max(second));
        }
    }
}

#[test]
fn made_up_records_do_not_stick() {
    let mut swim = Swim::new(Settings::default(), record(1, 5, Life::Alive), vec![], 1);
    let news = vec![record(1, u64::MAX, Life::Dead), record(2, u64::MAX, Life::Alive), record(3, 1, Life::Dead)];
    swim.on_packet(address(9), Packet::new(NodeId(9), Kind::Gossip, news), 0);
    assert_eq!(swim.members().count(), 0);
    assert_eq!(swim.me.incarnation, 5);
    // A probe asked for by a stranger goes to members only.
    let out = swim.on_packet(address(9), Packet::new(NodeId(9), Kind::PingFor { seq: 1, to: NodeId(2) }, vec![]), 0);
    assert!(out.iter().all(|one| one.to == address(9)), "{out:?}");
}

#[test]
fn foreign_bytes_are_refused_by_field() {
    let good = Packet::new(NodeId(1), Kind::Gossip, vec![record(2, 1, Life::Alive)]);
    assert_eq!(Packet::decode(&good.encode()), Ok(good));
    let of = |change: &dyn Fn(&mut Record)| {
        let mut one = record(2, 1, Life::Alive);
        change(&mut one);
        Packet::decode(&Packet::new(NodeId(1), Kind::Gossip, vec![one]).encode())
    };
    assert_eq!(of(&|one| one.node = NodeId(0)), Err(WireError::Field("node")));
    assert_eq!(of(&|one| one.raft.clear()), Err(WireError::Field("address")));
    assert_eq!(of(&|one| one.raft = "a b".to_owned()), Err(WireError::Field("address")));
    assert_eq!(of(&|one| one.raft = "a".repeat(300)), Err(WireError::Field("address")));
    assert_eq!(of(&|one| one.meta = "a".repeat(901)), Err(WireError::Field("meta")));
    assert_eq!(Packet::decode(&[]), Err(WireError::Field("kind")));
    assert_eq!(Packet::decode(&Packet::new(NodeId(0), Kind::Join, vec![]).encode()), Err(WireError::Field("sender")));
    let nobody = Packet::new(NodeId(1), Kind::Ping { seq: 1, to: NodeId(0) }, vec![]);
    assert_eq!(Packet::decode(&nobody.encode()), Err(WireError::Field("to")));
    assert_eq!(Packet::decode(&[0; 1_351]), Err(WireError::TooLong(1_351)));
}

proptest! {
    #[test]
    fn any_bytes_are_a_packet_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(packet) = Packet::decode(&bytes) {
            let mut swim = Swim::new(Settings::default(), record(1, 1, Life::Alive), vec![], 1);
            for out in swim.on_packet(address(2), packet, 0) {
                prop_assert!(out.packet.encode().len() <= MAX_PACKET_BYTES);
            }
        }
    }
}
