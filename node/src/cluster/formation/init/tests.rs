//! Init from outside: who it names, what it refuses, and that two of them never make two clusters.

use std::collections::BTreeMap;

use crema_api::v1;
use proptest::prelude::*;

use super::{Ballot, FirstMember, InitConfig, InitError, Initiator};
use crate::{
    cluster::{
        formation::{FormConfig, FormError, FormMode, FormOutcome, Former},
        initial::{ClusterSpec, SpecError},
        map::{ClusterMap, SharedSettings},
    },
    faults::Faults,
    partitioning::SlotHash,
    types::{ClusterUid, Draw, Incarnation, NodeId},
};

fn spec() -> ClusterSpec {
    ClusterSpec {
        num_shards: 2,
        slot_hash: SlotHash::Crc16,
        replication_factor: 1,
        settings: SharedSettings::default(),
    }
}

fn life(node: u64, number: u64) -> Incarnation {
    Incarnation(u128::from(node) << 64 | u128::from(number))
}

/// A node that waits, in its so many-th life.
fn waiting(node: u64, number: u64) -> Former {
    let config = FormConfig {
        node: NodeId(node),
        incarnation: life(node, number),
        mode: FormMode::Await { address: format!("n{node}:7000") },
        uid: ClusterUid(life(node, number).0),
        spec: spec(),
        host: format!("host-{node}"),
        zone: String::new(),
        client_address: String::new(),
        faults: Faults::none(),
    };
    Former::new(config).expect("sound")
}

fn config(ballot: u128, nodes: u64) -> InitConfig {
    let member = |node: u64| FirstMember { node: NodeId(node), address: format!("n{node}:7000"), incarnation: None };
    let members = (1..=nodes).map(member).collect();
    InitConfig { ballot: Ballot(ballot << 64), uid: ClusterUid(ballot), named: false, spec: spec(), members }
}

fn init(ballot: u128, nodes: u64) -> Initiator {
    Initiator::new(config(ballot, nodes)).expect("sound")
}

fn formed(former: &Former) -> Option<ClusterMap> {
    match former.outcome()? {
        Ok(FormOutcome::Formed(map)) => Some(map),
        Ok(FormOutcome::Join { .. }) | Err(_) => None,
    }
}

/// One round in which nothing is lost.
fn round(initiator: &mut Initiator, nodes: &mut [Former]) {
    for (to, request) in initiator.on_tick() {
        let reply = nodes[to.0 as usize - 1].on_request(request);
        initiator.on_reply(to, reply);
    }
}

fn settle(initiator: &mut Initiator, nodes: &mut [Former]) -> Option<Result<ClusterMap, InitError>> {
    for _ in 0..6 {
        round(initiator, nodes);
    }
    initiator.outcome()
}

fn three() -> Vec<Former> {
    (1..=3).map(|node| waiting(node, 1)).collect()
}

#[test]
fn three_waiting_nodes_form_the_cluster_that_was_named() {
    let mut nodes = three();
    let map = settle(&mut init(7, 3), &mut nodes).expect("an outcome").expect("a map");
    assert_eq!((map.uid, map.members.len()), (ClusterUid(7), 3));
    assert_eq!(map.members[&NodeId(2)].host, "host-2");
    assert_eq!(map.members[&NodeId(2)].address, "n2:7000");
    assert!(nodes.iter().all(|node| formed(node).as_ref() == Some(&map)));
}

#[test]
fn nothing_is_promised_before_all_have_answered() {
    let mut nodes = three();
    let mut initiator = init(7, 3);
    for _ in 0..3 {
        for (to, request) in initiator.on_tick().into_iter().filter(|(to, _)| to.0 != 3) {
            let reply = nodes[to.0 as usize - 1].on_request(request);
            assert!(reply.promised_to.is_empty());
            initiator.on_reply(to, reply);
        }
    }
    assert!(initiator.outcome().is_none());
    assert_eq!(initiator.waiting_on().collect::<Vec<_>>(), [(NodeId(3), "no answer yet")]);
}

#[test]
fn an_init_is_refused_once_formed_unless_it_names_the_same_cluster() {
    let mut nodes = three();
    let map = settle(&mut init(7, 3), &mut nodes).expect("an outcome").expect("a map");
    let again = settle(&mut init(8, 3), &mut nodes);
    assert_eq!(again, Some(Err(InitError::Formed { node: NodeId(1), uid: ClusterUid(7) })));
    let named = |uid| InitConfig { uid: ClusterUid(uid), named: true, ..config(9, 3) };
    let same = settle(&mut Initiator::new(named(7)).expect("sound"), &mut nodes);
    assert_eq!(same, Some(Ok(map)));
    let other = settle(&mut Initiator::new(named(8)).expect("sound"), &mut nodes);
    assert_eq!(other, Some(Err(InitError::Formed { node: NodeId(1), uid: ClusterUid(7) })));
}

#[test]
fn who_was_observed_must_answer() {
    let mut nodes = three();
    let mut config = config(7, 3);
    config.members[1].incarnation = Some(life(2, 9));
    let outcome = settle(&mut Initiator::new(config).expect("sound"), &mut nodes);
    let expect = InitError::Incarnation { node: NodeId(2), named: life(2, 9), found: life(2, 1) };
    assert_eq!(outcome, Some(Err(expect)));
    assert!(nodes.iter().all(|node| node.outcome().is_none()));
}

#[test]
fn a_node_that_restarts_before_the_end_is_met_again() {
    let mut nodes = three();
    let mut initiator = init(7, 3);
    round(&mut initiator, &mut nodes);
    nodes[1] = waiting(2, 2);
    let map = settle(&mut initiator, &mut nodes).expect("an outcome").expect("a map");
    assert_eq!(map.incarnation_of(NodeId(2)), Some(life(2, 2)));
    assert!(nodes.iter().all(|node| formed(node).is_some()));
}

#[test]
fn an_init_that_was_given_up_can_be_repeated() {
    for rounds in 0..4 {
        let mut nodes = three();
        let mut first = init(7, 3);
        (0..rounds).for_each(|_| round(&mut first, &mut nodes));
        let named = InitConfig { uid: ClusterUid(7), named: true, ..config(8, 3) };
        let map = settle(&mut Initiator::new(named).expect("sound"), &mut nodes).expect("an outcome").expect("a map");
        assert!(nodes.iter().all(|node| formed(node).as_ref() == Some(&map)), "after {rounds} rounds");
    }
}

#[test]
fn an_init_that_stopped_in_the_middle_is_completed_by_the_next() {
    let mut nodes = three();
    let mut first = init(7, 3);
    round(&mut first, &mut nodes);
    round(&mut first, &mut nodes);
    let (to, request) = first.on_tick().remove(0);
    assert_eq!(nodes[to.0 as usize - 1].on_request(request).refused, "");
    assert!(formed(&nodes[0]).is_some() && formed(&nodes[1]).is_none());
    let map = settle(&mut init(8, 3), &mut nodes).expect("an outcome").expect("a map");
    assert_eq!(map.uid, ClusterUid(7));
    assert!(nodes.iter().all(|node| formed(node).as_ref() == Some(&map)));
}

/// Three nodes of which two have come back in another life and found their cluster 7 at the third, which then came back too.
fn bereft() -> Vec<Former> {
    let old = settle(&mut init(7, 3), &mut three()).expect("an outcome").expect("a map");
    let mut nodes: Vec<Former> = (1..=3).map(|node| waiting(node, 2)).collect();
    nodes[..2].iter_mut().for_each(|node| node.on_found("node 3", old.clone()));
    nodes
}

#[test]
fn who_was_to_join_a_cluster_that_is_gone_is_bound_by_an_init_or_takes_part_in_nothing() {
    for rounds in 0..4 {
        let mut nodes = bereft();
        let mut initiator = init(8, 3);
        (0..rounds).for_each(|_| round(&mut initiator, &mut nodes));
        let is_bound = |node: &Former| !matches!(node.outcome(), Some(Ok(FormOutcome::Join { .. })));
        let bound = nodes.iter().all(is_bound);
        nodes[..2].iter_mut().for_each(Former::on_gone);
        let formed_all = |nodes: &[Former]| nodes.iter().all(|node| formed(node).is_some());
        if bound {
            settle(&mut initiator, &mut nodes).expect("an outcome").expect("a map");
            assert!(formed_all(&nodes), "after {rounds} rounds");
        } else {
            assert!(nodes[..2].iter().all(|node| matches!(node.outcome(), Some(Err(FormError::Gone { .. })))));
            assert!(settle(&mut initiator, &mut nodes).is_none_or(|outcome| outcome.is_err()));
            assert!(!nodes.iter().any(|node| formed(node).is_some()), "after {rounds} rounds");
        }
    }
}

#[test]
fn an_earlier_init_is_refused_by_those_that_have_promised_a_later_one() {
    let mut nodes = three();
    let mut first = init(7, 3);
    round(&mut first, &mut nodes);
    round(&mut first, &mut nodes);
    let mut second = init(8, 3);
    round(&mut second, &mut nodes);
    round(&mut second, &mut nodes);
    for (to, request) in first.on_tick() {
        let reply = nodes[to.0 as usize - 1].on_request(request);
        assert!(reply.refused.contains("has not promised itself to this Init"), "{}", reply.refused);
    }
    assert_eq!(settle(&mut second, &mut nodes).expect("an outcome").expect("a map").uid, ClusterUid(8));
    assert_eq!(
        settle(&mut first, &mut nodes),
        Some(Err(InitError::TwoClusters {
            one_at: NodeId(1),
            one: ClusterUid(7),
            other_at: NodeId(1),
            other: ClusterUid(8)
        }))
    );
}

#[test]
fn a_promise_is_not_given_to_an_init_that_leaves_nodes_of_the_first_out() {
    let mut nodes = three();
    let mut first = init(7, 3);
    round(&mut first, &mut nodes);
    round(&mut first, &mut nodes);
    let mut second = init(8, 2);
    assert_eq!(settle(&mut second, &mut nodes), None);
    let (_, why) = second.waiting_on().next().expect("a reason");
    assert!(why.contains("one of other nodes: [1, 2, 3]"), "{why}");
}

#[test]
fn nodes_that_form_by_themselves_take_no_init() {
    let listed = vec![(NodeId(1), "n1:7000".to_owned()), (NodeId(2), "n2:7000".to_owned())];
    let about = |node: u64| FormConfig {
        node: NodeId(node),
        incarnation: life(node, 1),
        mode: FormMode::Static(listed.clone()),
        uid: ClusterUid(1),
        spec: spec(),
        host: String::new(),
        zone: String::new(),
        client_address: String::new(),
        faults: Faults::none(),
    };
    let mut nodes: Vec<_> = (1..=2).map(|node| Former::new(about(node)).expect("sound")).collect();
    let mut initiator = init(7, 2);
    assert_eq!(settle(&mut initiator, &mut nodes), None);
    assert!(initiator.waiting_on().all(|(_, why)| why.contains("Init is not for it")));
}

#[test]
fn bad_sets_are_refused() {
    let with = |change: fn(&mut InitConfig)| {
        let mut config = config(7, 3);
        change(&mut config);
        Initiator::new(config).expect_err("a bad set").to_string()
    };
    assert!(with(|config| config.members[1].address.clear()).contains("an address is empty"));
    assert!(with(|config| config.members[1].address = "n1:7000".into()).contains("there twice"));
    assert!(with(|config| config.members[1].node = NodeId(1)).contains("a node id is 0 or there twice"));
    assert!(with(|config| config.members.clear()).contains("there is no node"));
    let few = InitConfig { spec: ClusterSpec { replication_factor: 3, ..spec() }, ..config(7, 2) };
    let expect = InitError::Spec(SpecError::ReplicationFactor { value: 3, members: 2 });
    assert_eq!(Initiator::new(few).expect_err("too few"), expect);
}

enum Message {
    Request { to: NodeId, by: usize, request: Box<v1::FormRequest> },
    Reply { from: NodeId, by: usize, reply: Box<v1::FormReply> },
}

/// Nodes that wait, and several initiators that know nothing of each other.
struct World {
    nodes: Vec<Former>,
    initiators: Vec<Initiator>,
    lives: u64,
    wire: Vec<Message>,
    /// The cluster of each life that ever was in one.
    clusters: BTreeMap<Incarnation, ClusterMap>,
}

impl World {
    fn step(&mut self, draw: &mut Draw) {
        match draw.below(12) {
            0 if draw.below(8) == 0 => {
                self.lives += 1;
                let node = 1 + draw.below(self.nodes.len() as u64);
                self.nodes[node as usize - 1] = waiting(node, self.lives);
            }
            0..4 => {
                let by = draw.below(self.initiators.len() as u64) as usize;
                let asks = self.initiators[by].on_tick();
                let sent = asks.into_iter().map(|(to, request)| Message::Request { to, by, request: request.into() });
                self.wire.extend(sent);
            }
            fate if !self.wire.is_empty() => {
                let at = draw.below(self.wire.len() as u64) as usize;
                let message = self.wire.swap_remove(at);
                if fate > 4 {
                    self.deliver(message, fate == 5);
                }
            }
            _ => {}
        }
        self.check();
    }

    fn deliver(&mut self, message: Message, twice: bool) {
        match message {
            Message::Request { to, by, request } => {
                let node = &mut self.nodes[to.0 as usize - 1];
                for _ in 0..1 + u32::from(twice) {
                    let reply = Box::new(node.on_request((*request).clone()));
                    self.wire.push(Message::Reply { from: to, by, reply });
                }
            }
            Message::Reply { from, by, reply } => self.initiators[by].on_reply(from, *reply),
        }
    }

    /// The first map that any life got is the only one that any life ever gets, but for those who start anew after all
    /// of its members have ended.
    fn check(&mut self) {
        for node in &self.nodes {
            let Some(map) = formed(node) else { continue };
            let life = node.incarnation;
            assert_eq!(map.incarnation_of(node.node), Some(life));
            let first = self.clusters.entry(life).or_insert_with(|| map.clone());
            assert_eq!(*first, map, "{life} has changed its cluster");
        }
        let living: Vec<_> = self.nodes.iter().filter_map(formed).collect();
        assert!(living.iter().all(|map| *map == living[0]), "two clusters live side by side");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any number of Inits of the same nodes, with losses, doubles, disorder and restarts: one cluster at most.
    #[test]
    fn never_two_clusters(seed: u64, initiators in 1_u128..4) {
        let mut draw = Draw::new(seed);
        let initiators = (1..=initiators).map(|ballot| init(ballot, 3)).collect();
        let (wire, clusters) = (Vec::new(), BTreeMap::new());
        let mut world = World { nodes: three(), initiators, lives: 1, wire, clusters };
        for _ in 0..400 {
            world.step(&mut draw);
        }
        // Whatever has happened: nodes that start afresh and are asked form.
        let mut nodes: Vec<_> = (1..=3).map(|node| waiting(node, 1_000)).collect();
        prop_assert!(settle(&mut init(99, 3), &mut nodes).is_some_and(|outcome| outcome.is_ok()));
    }
}
