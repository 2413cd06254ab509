//! Forming under lost, late and doubled messages and restarts; and each refusal by name.

use crema_api::v1::{self, form_request::Ask};
use proptest::prelude::*;

use super::{FormConfig, FormError, FormMode, FormOutcome, Former};
use crate::{
    cluster::{
        initial::ClusterSpec,
        map::{ClusterMap, SharedSettings},
    },
    faults::Faults,
    partitioning::SlotHash,
    types::{ClusterUid, Draw, GroupId, Incarnation, NodeId},
};

fn config(node: u64, nodes: u64, life: u128) -> FormConfig {
    FormConfig {
        node: NodeId(node),
        incarnation: Incarnation(u128::from(node) << 64 | life),
        mode: FormMode::Static((1..=nodes).map(|n| (NodeId(n), format!("n{n}:7000"))).collect()),
        uid: ClusterUid(u128::from(node) << 64 | life),
        spec: ClusterSpec {
            num_shards: 2,
            slot_hash: SlotHash::Crc16,
            replication_factor: 1,
            settings: SharedSettings::default(),
        },
        host: format!("host-{node}"),
        zone: String::new(),
        client_address: format!("n{node}:6379"),
        faults: Faults::none(),
    }
}

/// The map of a node that is a member.
fn formed(former: &Former) -> Option<ClusterMap> {
    match former.outcome()? {
        Ok(FormOutcome::Formed(map)) => Some(map),
        Ok(FormOutcome::Join { .. }) | Err(_) => None,
    }
}

/// The map of a node that is to join.
fn to_join(former: &Former) -> Option<ClusterMap> {
    match former.outcome()? {
        Ok(FormOutcome::Join { map }) => Some(map),
        Ok(FormOutcome::Formed(_)) | Err(_) => None,
    }
}

fn former(node: u64, nodes: u64, life: u128) -> Former {
    Former::new(config(node, nodes, life)).expect("a sound list")
}

enum Message {
    Request { to: NodeId, request: Box<v1::FormRequest> },
    Reply { from: NodeId, to: NodeId, reply: Box<v1::FormReply> },
}

/// All nodes of a list and the messages between them.
struct World {
    nodes: Vec<Former>,
    lives: u128,
    wire: Vec<Message>,
}

impl World {
    fn new(nodes: u64) -> Self {
        Self { nodes: (1..=nodes).map(|n| former(n, nodes, 1)).collect(), lives: 1, wire: Vec::new() }
    }

    fn node(&mut self, node: NodeId) -> &mut Former {
        &mut self.nodes[usize::try_from(node.0).expect("small") - 1]
    }

    fn tick(&mut self, node: NodeId) {
        let asks = self.node(node).on_tick();
        self.wire.extend(asks.into_iter().map(|(to, request)| Message::Request { to, request: Box::new(request) }));
    }

    fn restart(&mut self, node: NodeId) {
        self.lives += 1;
        let (nodes, life) = (self.nodes.len() as u64, self.lives);
        *self.node(node) = former(node.0, nodes, life);
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Request { to, request } => {
                let back = NodeId(request.node);
                let reply = Box::new(self.node(to).on_request(*request));
                self.wire.push(Message::Reply { from: to, to: back, reply });
            }
            Message::Reply { from, to, reply } => self.node(to).on_reply(from, *reply),
        }
    }

    /// Some turn of fate: ticks, deliveries in any order, losses, doubles; seldom a restart.
    fn step(&mut self, draw: &mut Draw, restarts: bool) {
        let node = NodeId(1 + draw.below(self.nodes.len() as u64));
        match draw.below(40) {
            0 if restarts => self.restart(node),
            0..8 => self.tick(node),
            _ if self.wire.is_empty() => self.tick(node),
            turn => {
                let at = usize::try_from(draw.below(self.wire.len() as u64)).expect("small");
                let message = self.wire.swap_remove(at);
                match turn {
                    8..12 => {}
                    12..16 => {
                        self.wire.push(message.again());
                        self.deliver(message);
                    }
                    _ => self.deliver(message),
                }
            }
        }
        self.check();
    }

    /// The living never disagree about which cluster there is, and each is named as what it is.
    fn check(&self) {
        let members: Vec<_> = self.nodes.iter().filter_map(|n| Some((n, formed(n)?))).collect();
        for (node, map) in &members {
            assert_eq!(map.incarnation_of(node.node), Some(node.incarnation));
            assert_eq!(map, &members[0].1, "two clusters live side by side");
        }
    }

    /// Everything is delivered from now on, in order.
    fn settle(&mut self) {
        for _ in 0..6 {
            for node in 1..=self.nodes.len() as u64 {
                self.tick(NodeId(node));
            }
            while !self.wire.is_empty() {
                let message = self.wire.remove(0);
                self.deliver(message);
                self.check();
            }
        }
    }

    fn map_everywhere(&self) -> ClusterMap {
        let maps: Vec<_> = self.nodes.iter().map(|n| formed(n).expect("a map")).collect();
        assert!(maps.iter().all(|map| *map == maps[0]));
        maps[0].clone()
    }
}

impl Message {
    fn again(&self) -> Self {
        match self {
            Self::Request { to, request } => Self::Request { to: *to, request: request.clone() },
            Self::Reply { from, to, reply } => Self::Reply { from: *from, to: *to, reply: reply.clone() },
        }
    }
}

#[test]
fn a_node_alone_forms_at_once() {
    let mut alone = former(1, 1, 1);
    assert!(alone.on_tick().is_empty());
    assert_eq!(formed(&alone).expect("a map").members.len(), 1);
}

#[test]
fn three_nodes_form_one_cluster_that_describes_them() {
    let mut world = World::new(3);
    world.settle();
    let map = world.map_everywhere();
    assert_eq!(map.uid, ClusterUid(1 << 64 | 1));
    assert_eq!(map.groups.keys().copied().collect::<Vec<_>>(), [GroupId(0), GroupId(1), GroupId(2)]);
    let second = &map.members[&NodeId(2)];
    assert_eq!((second.address.as_str(), second.client_address.as_str()), ("n2:7000", "n2:6379"));
    assert_eq!(second.host, "host-2");
    assert!(!world.nodes[0].has_untold());
}

#[test]
fn nothing_is_promised_while_a_listed_peer_is_silent() {
    let mut world = World::new(3);
    for _ in 0..5 {
        world.tick(NodeId(1));
        for message in std::mem::take(&mut world.wire) {
            let to_third = matches!(&message, Message::Request { to, .. } if *to == NodeId(3));
            if !to_third {
                world.deliver(message);
            }
        }
    }
    assert!(world.nodes[0].outcome().is_none());
    assert_eq!(world.nodes[0].waiting_on().collect::<Vec<_>>(), [(NodeId(3), "no answer yet")]);
    let asked: Vec<_> = world.node(NodeId(1)).on_tick().into_iter().map(|(_, request)| request.ask).collect();
    assert!(asked.iter().all(|ask| *ask == Some(Ask::Probe(true))));
}

#[test]
fn a_member_that_missed_init_learns_the_map() {
    let mut world = World::new(3);
    while !world.nodes[0].has_untold() {
        world.tick(NodeId(1));
        for _ in 0..world.wire.len() {
            let message = world.wire.remove(0);
            world.deliver(message);
        }
    }
    world.wire.clear();
    world.tick(NodeId(3));
    while let Some(message) = world.wire.pop() {
        world.deliver(message);
    }
    assert!(world.nodes[1].outcome().is_none());
    assert_eq!(world.nodes[2].outcome(), world.nodes[0].outcome());
}

#[test]
fn a_restarted_member_is_to_join_and_never_takes_its_old_place() {
    for node in 1..=3 {
        let mut world = World::new(3);
        world.settle();
        let map = world.map_everywhere();
        world.restart(NodeId(node));
        world.settle();
        let again = &world.nodes[node as usize - 1];
        assert_eq!(to_join(again), Some(map.clone()));
        // The cluster takes it in as what it is now.
        let mut newer = map.clone();
        newer.version += 1;
        newer.members.get_mut(&NodeId(node)).expect("a member").incarnation = again.incarnation;
        world.node(NodeId(node)).on_map(&newer);
        assert_eq!(formed(&world.nodes[node as usize - 1]), Some(newer));
    }
}

#[test]
fn a_cluster_that_is_gone_is_not_waited_for() {
    let mut world = World::new(3);
    world.settle();
    world.restart(NodeId(2));
    world.settle();
    assert!(to_join(&world.nodes[1]).is_some());
    // The others end too, but only after the second had heard of the cluster.
    world.restart(NodeId(1));
    world.tick(NodeId(2));
    while let Some(message) = world.wire.pop() {
        world.deliver(message);
    }
    assert!(to_join(&world.nodes[1]).is_some(), "the third one lives");
    world.restart(NodeId(3));
    world.settle();
    assert_ne!(world.map_everywhere().uid, ClusterUid(1 << 64 | 1));
}

#[test]
fn a_node_whose_list_has_grown_finds_its_cluster() {
    let mut world = World::new(2);
    world.settle();
    let mut third = former(3, 3, 1);
    let (_, request) = third.on_tick().remove(0);
    let reply = world.nodes[0].on_request(request);
    assert!(reply.refused.contains("has the list [1, 2]"));
    third.on_reply(NodeId(1), reply);
    assert_eq!(to_join(&third), formed(&world.nodes[0]));
}

#[test]
fn a_node_that_forms_alone_joins_a_cluster_that_was_found_first() {
    let mut world = World::new(2);
    world.settle();
    let map = world.map_everywhere();
    let mode = FormMode::Bootstrap { address: "n7:7000".into() };
    let mut alone = Former::new(FormConfig { mode, ..config(7, 1, 1) }).expect("sound");
    alone.on_found("seed-1:7000", map.clone());
    assert!(alone.on_tick().is_empty());
    assert_eq!(to_join(&alone), Some(map.clone()));
    let elsewhere = ClusterMap { uid: ClusterUid(77), ..map };
    alone.on_found("seed-2:7000", elsewhere);
    let Some(Err(error)) = alone.outcome() else { panic!("two clusters are no error") };
    let said = error.to_string();
    for part in ["seed-1:7000", "seed-2:7000", &ClusterUid(1 << 64 | 1).to_string(), &ClusterUid(77).to_string()] {
        assert!(said.contains(part), "{said:?} lacks {part:?}");
    }
}

#[test]
fn a_node_that_waits_forms_nothing_and_takes_no_part_in_a_list() {
    let mode = FormMode::Await { address: "n2:7000".into() };
    let mut waits = Former::new(FormConfig { mode, ..config(2, 1, 1) }).expect("sound");
    assert!(waits.on_tick().is_empty() && waits.outcome().is_none());
    let one = former(1, 3, 1);
    let reply = waits.on_request(one.request(Ask::Promise(one.incarnation.to_bytes())));
    assert!(reply.refused.contains("has the list []") && reply.promised_to.is_empty(), "{reply:?}");
    let looks = v1::FormRequest { listed: vec![], ..one.request(Ask::Probe(true)) };
    assert_eq!(waits.on_request(looks).refused, "");
    assert!(waits.on_tick().is_empty() && waits.outcome().is_none());
}

#[test]
fn all_restarted_nodes_form_a_new_cluster() {
    let mut world = World::new(3);
    world.settle();
    for node in 1..=3 {
        world.restart(NodeId(node));
    }
    world.settle();
    assert_eq!(world.map_everywhere().uid, ClusterUid(1 << 64 | 2));
}

/// With the planted bug the members forget their cluster for a proposer that came back empty.
#[cfg(feature = "planted-faults")]
#[test]
fn the_planted_fault_lets_a_restarted_proposer_form_again() {
    use crate::faults::Fault;
    let faulty = |node, life| {
        let faults = Faults::none().with(Fault::InitRepeated);
        Former::new(FormConfig { faults, ..config(node, 3, life) }).expect("a sound list")
    };
    let mut world = World { nodes: (1..=3).map(|n| faulty(n, 1)).collect(), lives: 1, wire: Vec::new() };
    world.settle();
    assert_eq!(world.map_everywhere().uid, ClusterUid(1 << 64 | 1));
    *world.node(NodeId(1)) = faulty(1, 2);
    for _ in 0..5 {
        world.tick(NodeId(1));
        while let Some(message) = world.wire.pop() {
            world.deliver(message);
        }
    }
    assert_eq!(world.map_everywhere().uid, ClusterUid(1 << 64 | 2));
}

#[test]
fn a_promise_outlives_the_proposer_and_the_wait_is_explained() {
    let mut world = World::new(2);
    let promise = |node: &Former| node.request(Ask::Promise(node.incarnation.to_bytes()));
    let request = promise(&world.nodes[0]);
    assert_eq!(world.nodes[1].on_request(request).refused, "");
    world.restart(NodeId(1));
    world.settle();
    assert!(world.nodes.iter().all(|node| node.outcome().is_none()));
    let (peer, why) = world.nodes[0].waiting_on().next().expect("a reason");
    assert!(peer == NodeId(2) && why.contains("restart node 2 to free it"), "{why}");
    world.restart(NodeId(2));
    world.settle();
    world.map_everywhere();
}

#[test]
fn lists_that_differ_are_final() {
    let mut one = former(1, 3, 1);
    let mut two = former(2, 2, 1);
    let reply = two.on_request(one.on_tick().remove(0).1);
    assert_eq!(reply.refused, "node 2 has the list [1, 2], not [1, 2, 3]");
    one.on_reply(NodeId(2), reply);
    let expect = FormError::ListsDiffer { peer: NodeId(2), ours: vec![1, 2, 3], theirs: vec![1, 2] };
    assert_eq!(one.outcome(), Some(Err(expect)));
    assert!(two.outcome().is_none(), "a stranger's list harms nobody else");
}

#[test]
fn foreign_clusters_are_refused() {
    let mut world = World::new(2);
    world.settle();
    let mut reply = world.nodes[0].on_request(former(2, 2, 9).request(Ask::Probe(true)));
    let formed = reply.formed.as_mut().expect("formed");
    formed.uid = ClusterUid(77).to_bytes();
    world.nodes[1].on_reply(NodeId(1), reply.clone());
    assert!(matches!(world.nodes[1].outcome(), Some(Err(FormError::TwoClusters { .. }))));

    // Whoever belongs to nothing yet is told of both.
    let mut third = former(3, 3, 9);
    let formed = reply.formed.as_mut().expect("formed");
    let (one, other) = (formed.clone(), v1::ClusterMap { uid: ClusterUid(78).to_bytes(), ..formed.clone() });
    third.on_reply(NodeId(1), v1::FormReply { formed: Some(one), ..reply.clone() });
    assert!(to_join(&third).is_some());
    third.on_reply(NodeId(2), v1::FormReply { node: 2, formed: Some(other), ..reply });
    let expect = FormError::TwoClusters {
        one_at: "node 1".into(),
        one: ClusterUid(77),
        other_at: "node 2".into(),
        other: ClusterUid(78),
    };
    assert_eq!(third.outcome(), Some(Err(expect)));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut two = former(2, 3, 1);
    let one = former(1, 3, 1);
    let mut refused = |request: v1::FormRequest, expect: &str| {
        let said = two.on_request(request).refused;
        assert!(said.contains(expect), "{said:?} lacks {expect:?}");
    };
    refused(former(3, 3, 1).request(Ask::Promise(Incarnation(3 << 64 | 1).to_bytes())), "only node 1");
    refused(one.request(Ask::Promise(Incarnation(5).to_bytes())), "only given to the one who asks");
    refused(former(2, 3, 8).request(Ask::Probe(true)), "two processes have one id");
    refused(v1::FormRequest { ask: None, ..one.request(Ask::Probe(true)) }, "nothing was asked");
    refused(v1::FormRequest { incarnation: vec![1].into(), ..one.request(Ask::Probe(true)) }, "no incarnation");
    refused(one.request(Ask::Init(v1::ClusterMap::default())), "cluster map: uid");
    let mut world = World::new(3);
    world.settle();
    let init = v1::ClusterMap::from(&world.map_everywhere());
    refused(one.request(Ask::Init(init)), "has not promised itself");
    assert!(two.outcome().is_none());
}

#[test]
fn bad_lists_are_refused() {
    let with = |listed: Vec<(u64, &str)>| {
        let listed = listed.into_iter().map(|(node, address)| (NodeId(node), address.to_owned())).collect();
        Former::new(FormConfig { mode: FormMode::Static(listed), ..config(1, 1, 1) })
            .expect_err("a bad list")
            .to_string()
    };
    assert!(with(vec![(1, "a"), (1, "b")]).contains("twice"));
    assert!(with(vec![(0, "a"), (1, "b")]).contains("begin with 1"));
    assert!(with(vec![(1, "")]).contains("empty"));
    assert!(with(vec![(1, "a"), (2, "a")]).contains("an address is there twice"));
    assert!(with(vec![(2, "a")]).contains("does not hold this node, 1"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is lost, late, doubled or restarted: the living never belong to two clusters; and once all start
    /// afresh and are heard, they form one.
    #[test]
    fn never_two_clusters(seed: u64, nodes in prop::sample::select(vec![1_u64, 2, 3, 5])) {
        let mut draw = Draw::new(seed);
        let mut world = World::new(nodes);
        for _ in 0..400 {
            world.step(&mut draw, true);
        }
        world.settle();
        for node in 1..=nodes {
            world.restart(NodeId(node));
        }
        world.settle();
        world.map_everywhere();
    }

    /// Without restarts every history ends with one cluster.
    #[test]
    fn loss_and_disorder_only_delay(seed: u64, nodes in prop::sample::select(vec![3_u64, 5])) {
        let mut draw = Draw::new(seed);
        let mut world = World::new(nodes);
        for _ in 0..200 {
            world.step(&mut draw, false);
        }
        world.settle();
        world.map_everywhere();
    }

    /// Bytes from a stranger never panic a former.
    #[test]
    fn foreign_bytes_never_panic(bytes: Vec<u8>) {
        use prost::Message as _;
        let mut node = former(2, 3, 1);
        if let Ok(request) = v1::FormRequest::decode(bytes.as_slice()) {
            node.on_request(request);
        }
        if let Ok(reply) = v1::FormReply::decode(bytes.as_slice()) {
            node.on_reply(NodeId(1), reply);
        }
    }
}
