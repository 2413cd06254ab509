//! Whole groups of nodes on one clock and a network that loses, cuts and changes packets.

use std::{collections::BTreeMap, net::SocketAddr};

use foca::{Header, Member, Message};
use proptest::prelude::*;

use super::*;

const TICK_MS: u64 = 50;

fn address(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], node as u16))
}

fn id(node: u64, generation: u64) -> Id {
    Id { node: NodeId(node), generation, gossip: address(node), raft: format!("n{node}:7000") }
}

fn swim(node: u64, generation: u64) -> Swim {
    Swim::new(Settings::default(), id(node, generation), vec![address(1)], node)
}

/// A packet of gossip to node 1 in its first life.
fn gossip(from: Id, members: Vec<Member<Id>>) -> Packet {
    let header = Header { src: from, src_incarnation: 0, dst: id(1, 1), message: Message::Gossip };
    Packet { header, members: Some(members), said: Vec::new() }
}

fn bytes(packet: &Packet) -> Vec<u8> {
    packet.encode().expect("it can be written")
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
    /// Two nodes that don't reach each other directly.
    cut: Option<(u64, u64)>,
}

impl World {
    /// Nodes 1 to `nodes`, all with node 1 as their seed.
    fn new(nodes: u64) -> Self {
        let (nodes_, draw) = (BTreeMap::new(), Draw::new(1));
        let mut world = Self { nodes: nodes_, now_ms: 0, draw, loss: 0, side: BTreeMap::new(), cut: None };
        for node in 1..=nodes {
            world.start(node, 1);
        }
        world
    }

    fn start(&mut self, node: u64, generation: u64) {
        self.nodes.insert(node, swim(node, generation));
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

    /// Delivers packets and their answers until nothing is on its way.
    fn deliver(&mut self, from: u64, out: Vec<Outgoing>) {
        let mut way: Vec<_> = out.into_iter().map(|one| (from, one)).collect();
        let mut steps = 0;
        while let Some((from, Outgoing { to, packet })) = way.pop() {
            steps += 1;
            assert!(steps < 10_000, "packets answer each other without end");
            assert!(packet.len() <= MAX_PACKET_BYTES);
            let to = u64::from(to.port());
            let cut = self.cut == Some((from, to)) || self.cut == Some((to, from));
            if cut || self.side.get(&from) != self.side.get(&to) || self.draw.below(100) < self.loss {
                continue;
            }
            let Some(swim) = self.nodes.get_mut(&to) else { continue };
            let answers = swim.on_packet(address(from), &packet, self.now_ms).expect("our own packet");
            way.extend(answers.into_iter().map(|one| (to, one)));
        }
    }

    /// What a node thinks of the others: `2:Alive 3:Dead`.
    fn view(&self, node: u64) -> String {
        let words = self.nodes[&node].members().into_iter().map(|one| format!("{}:{:?}", one.node, one.life));
        words.collect::<Vec<_>>().join(" ")
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
    world.run(60_000);
    world.assert_all_know_all();
    let known = world.nodes[&20].members().swap_remove(0);
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
    assert_eq!(world.view(1), "2:Dead 3:Alive");
    assert_eq!(world.view(3), "1:Alive 2:Dead");
    world.start(2, 2);
    world.run(10_000);
    world.assert_all_know_all();
}

#[test]
fn a_restarted_node_outbids_its_earlier_life_even_with_a_clock_that_is_behind() {
    let mut world = World::new(3);
    world.run(10_000);
    let earlier = world.nodes.get_mut(&3).expect("there");
    earlier.foca.change_identity(id(3, 1_000), &mut earlier.desk).expect("a higher one");
    world.run(10_000);
    world.nodes.remove(&3);
    world.run(30_000);
    assert_eq!(world.view(1), "2:Alive 3:Dead");
    world.start(3, 5);
    world.run(60_000);
    world.assert_all_know_all();
    assert!(world.nodes[&3].me().generation > 1_000);
}

#[test]
fn lost_packets_kill_nobody_for_long() {
    let mut world = World::new(6);
    world.loss = 20;
    world.run(120_000);
    for node in 1..=6 {
        assert_eq!(world.nodes[&node].members().len(), 5);
    }
    world.loss = 0;
    world.run(60_000);
    world.assert_all_know_all();
}

#[test]
fn a_node_that_one_cannot_reach_is_kept_alive_through_others() {
    let mut world = World::new(4);
    world.run(10_000);
    // A filter in the network, not a death.
    world.cut = Some((1, 2));
    for _ in 0..60 {
        world.run(1_000);
        assert!(!world.view(1).contains("Dead") && !world.view(2).contains("Dead"));
    }
    world.assert_all_know_all();
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
    world.run(120_000);
    world.assert_all_know_all();
}

#[test]
fn what_a_node_says_of_itself_reaches_all_and_those_that_come_later() {
    let mut world = World::new(8);
    world.run(20_000);
    world.nodes.get_mut(&5).expect("there").set_meta("0:5:7".to_owned());
    world.run(5_000);
    for (node, swim) in world.nodes.iter_mut().filter(|(node, _)| **node != 5) {
        let told = swim.members().into_iter().find(|one| one.node == NodeId(5)).expect("known");
        assert_eq!(told.meta, "0:5:7", "at node {node}");
        assert!(swim.take_changed() && !swim.take_changed());
    }
    let full = "x".repeat(MAX_META_BYTES);
    world.nodes.get_mut(&6).expect("there").set_meta(full.clone());
    world.run(5_000);
    assert!(world.nodes[&1].members().iter().any(|one| one.meta == full), "the largest there may be");
    world.start(9, 1);
    world.run(30_000);
    assert!(world.nodes[&9].members().iter().any(|one| one.meta == "0:5:7"));
    // In its next life it says something else, and the old word is outbid.
    world.nodes.remove(&5);
    world.start(5, 2);
    world.run(5_000);
    world.nodes.get_mut(&5).expect("there").set_meta("0:5:9".to_owned());
    world.run(30_000);
    assert!(world.nodes[&9].members().iter().any(|one| one.meta == "0:5:9"));
}

#[test]
fn an_unspecified_host_is_the_one_that_the_packet_came_from() {
    let mut swim = swim(1, 1);
    let any = |node| Id { gossip: SocketAddr::from(([0, 0, 0, 0], 9)), ..id(node, 1) };
    let packet = gossip(any(2), vec![Member::alive(any(3))]);
    swim.on_packet(address(2), &bytes(&packet), 0).expect("sound");
    let known: Vec<_> = swim.members().iter().map(|one| (one.node.0, one.gossip.to_string())).collect();
    assert_eq!(known, [(2, "127.0.0.1:9".to_owned())], "for node 3 nobody can say");
    let goodbye = gossip(any(2), vec![Member::down(any(2))]);
    swim.on_packet(address(2), &bytes(&goodbye), 0).expect("sound");
    let known = &swim.members()[0];
    assert_eq!((known.life, known.gossip.to_string()), (Life::Dead, "127.0.0.1:9".to_owned()));
}

#[test]
fn made_up_news_does_not_stick() {
    let mut swim = swim(1, 1);
    let take = |swim: &mut Swim, packet: &Packet| swim.on_packet(address(9), &bytes(packet), 0);
    let too_high = gossip(id(9, 1), vec![Member::alive(id(2, u64::MAX))]);
    assert_eq!(take(&mut swim, &too_high), Err(Refused::Wire(WireError::Field("generation"))));
    take(&mut swim, &gossip(id(9, 1), vec![Member::down(id(3, 1))])).expect("sound");
    assert_eq!(swim.members().len(), 1, "a death of somebody unknown is no news");
    // A probe asked for by a stranger goes to members only, at the address that is known.
    let mut probe = gossip(id(9, 1), vec![]);
    probe.header.message = Message::PingReq { target: id(2, 1), probe_number: 1 };
    assert_eq!(take(&mut swim, &probe), Ok(vec![]));
    let elsewhere = Id { gossip: address(77), ..id(9, 1) };
    probe.header.src = id(8, 1);
    probe.header.message = Message::PingReq { target: elsewhere, probe_number: 1 };
    let out = take(&mut swim, &probe).expect("sound");
    assert!(out.iter().all(|one| one.to != address(77)), "{out:?}");
    // A lie about this node is outlived.
    take(&mut swim, &gossip(id(9, 1), vec![Member::down(id(1, 500))])).expect("sound");
    assert_eq!(swim.me().generation, 501);
    // Words put into its mouth are, too.
    swim.set_meta("0:1:1".to_owned());
    let said = Said { node: NodeId(1), generation: 700, stamp: 1, text: "0:9:9".to_owned() }.encode();
    let mut lie = gossip(id(9, 1), vec![]);
    lie.header.dst = swim.me().clone();
    lie.said = [(said.len() as u16).to_be_bytes().to_vec(), said].concat();
    take(&mut swim, &lie).expect("sound");
    swim.on_tick(1);
    assert!(swim.heard.lock().said > (700, 1));
}

#[test]
fn a_flood_takes_bounded_memory() {
    let mut swim = swim(1, 1);
    for round in 0..4_000_u64 {
        let sender = id(2 + round, 1);
        // New faces, and old ones that die again and again, each time in another life.
        let news = (0..8).map(|n| Member::alive(id(10_000 + round * 8 + n, 1)));
        let deaths = (2..10).map(|node| Member::down(id(node, 2 + round)));
        let said = Said { node: NodeId(2 + round), generation: 1, stamp: round, text: "x".repeat(300) }.encode();
        let mut packet = gossip(sender, news.chain(deaths).collect());
        packet.header.dst = swim.me().clone();
        packet.said = [(said.len() as u16).to_be_bytes().to_vec(), said].concat();
        let _ = swim.on_packet(address(2), &bytes(&packet), round);
        if round % 50 == 0 {
            swim.on_tick(round);
        }
    }
    assert!(swim.members().len() <= MAX_MEMBERS, "{}", swim.members().len());
    assert!(swim.heard.lock().words.len() <= MAX_MEMBERS);
    assert!(swim.desk.timers() <= 2 * MAX_MEMBERS + 5, "{} timers", swim.desk.timers());
    assert!(swim.foca.updates_backlog() <= 2 * MAX_MEMBERS + 1);
    assert!(swim.foca.custom_broadcast_backlog() <= 2 * MAX_MEMBERS + 1);
}

#[test]
fn foreign_bytes_are_refused_by_field() {
    let good = gossip(id(2, 1), vec![Member::alive(id(3, 1))]);
    assert_eq!(Packet::decode(&bytes(&good)), Ok(good));
    let of = |change: &dyn Fn(&mut Id)| {
        let mut one = id(2, 1);
        change(&mut one);
        Packet::decode(&bytes(&gossip(id(3, 1), vec![Member::alive(one)])))
    };
    assert_eq!(of(&|one| one.node = NodeId(0)), Err(WireError::Field("node")));
    assert_eq!(of(&|one| one.raft.clear()), Err(WireError::Field("address")));
    assert_eq!(of(&|one| one.raft = "a b".to_owned()), Err(WireError::Field("address")));
    assert_eq!(of(&|one| one.raft = "a".repeat(300)), Err(WireError::Field("address")));
    let nobody = bytes(&gossip(id(0, 1), vec![]));
    assert_eq!(Packet::decode(&nobody), Err(WireError::Field("node")));
    assert!(matches!(Packet::decode(&[]), Err(WireError::Protobuf(_))));
    assert_eq!(Packet::decode(&[0; 1_351]), Err(WireError::TooLong(1_351)));
    let too_long = Said { node: NodeId(1), generation: 1, stamp: 1, text: "a".repeat(MAX_META_BYTES + 1) };
    assert_eq!(Said::decode(&too_long.encode()), Err(WireError::Field("meta")));
}

/// Packets of nodes 2 to 5 to node 1, true in form and false in content.
fn lies() -> impl Strategy<Value = Packet> {
    let who = || (2_u64..6, 0_u64..3).prop_map(|(node, generation)| id(node, generation));
    let member = (1_u64..6, 0_u64..3, 0_u16..3, 0..3_usize).prop_map(|(node, generation, incarnation, state)| {
        Member::new(id(node, generation), incarnation, [State::Alive, State::Suspect, State::Down][state])
    });
    let message = (0..8_usize, who(), any::<u8>()).prop_map(|(kind, other, probe_number)| match kind {
        0 => Message::Ping(probe_number),
        1 => Message::Ack(probe_number),
        2 => Message::PingReq { target: other, probe_number },
        3 => Message::IndirectPing { origin: other, probe_number },
        4 => Message::IndirectAck { target: other, probe_number },
        5 => Message::ForwardedAck { origin: other, probe_number },
        6 => Message::TurnUndead,
        _ => Message::Feed,
    });
    let said = proptest::collection::vec(any::<u8>(), 0..20);
    (who(), message, proptest::collection::vec(member, 0..5), said).prop_map(|(src, message, members, said)| {
        let header = Header { src, src_incarnation: 0, dst: id(1, 1), message };
        Packet { header, members: Some(members), said }
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_packet_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut swim = swim(1, 1);
        for out in swim.on_packet(address(2), &bytes, 0).unwrap_or_default() {
            prop_assert!(out.packet.len() <= MAX_PACKET_BYTES);
        }
    }

    #[test]
    fn any_lies_are_survived(lies in proptest::collection::vec(lies(), 1..30)) {
        let mut swim = swim(1, 1);
        for (now_ms, mut packet) in (0..).step_by(300).zip(lies) {
            packet.header.dst = swim.me().clone();
            let _ = swim.on_packet(address(2), &bytes(&packet), now_ms);
            for out in swim.on_tick(now_ms) {
                prop_assert!(out.packet.len() <= MAX_PACKET_BYTES);
            }
            prop_assert!(swim.members().len() <= 4);
        }
    }
}
