//! What each switch lets happen, and what none of them does.

use std::collections::BTreeSet;

use super::{PROPOSE_AGAIN_MS, PeerDecision, PeerManager, Sight};
use crate::{
    cluster::{
        ClusterMap, ClusterSpec,
        command::MetaCommand,
        discovery::{Discovered, PeerManagementConfig, PeerState},
        initial::initial_map,
        map::{Member, MemberState, SUPPORTED_LEVELS, SharedSettings},
    },
    partitioning::SlotHash,
    types::{ClusterUid, Incarnation, NodeId},
};

const LOST_AFTER_MS: u64 = 1_000;
const OFF: PeerManagementConfig = PeerManagementConfig {
    auto_add_peers: false,
    auto_remove_peers: false,
    auto_add_voters: false,
    auto_remove_voters: false,
};

/// A manager on node 1 and the world that it sees.
struct World {
    manager: PeerManager,
    mono_ms: u64,
    found: Vec<Discovered>,
    map: ClusterMap,
    connected: BTreeSet<NodeId>,
    leads_meta: bool,
}

impl World {
    fn new(config: PeerManagementConfig, nodes: u64) -> Self {
        let by_hand = vec![(Some(NodeId(1)), "n1:1".to_owned())];
        let manager = PeerManager::new(config, NodeId(1), by_hand).with_lost_after_ms(LOST_AFTER_MS);
        Self { manager, mono_ms: 0, found: vec![], map: map(nodes), connected: BTreeSet::new(), leads_meta: true }
    }

    fn see(&mut self, node: u64, state: PeerState) -> &mut Self {
        let seen = Discovered { address: format!("n{node}:1"), node: Some(NodeId(node)), state };
        self.found.retain(|peer| peer.address != seen.address);
        self.found.push(seen);
        self
    }

    fn lose_see(&mut self, node: u64) -> &mut Self {
        self.found.retain(|peer| peer.node != Some(NodeId(node)));
        self
    }

    /// Lets time pass and shows the decisions, one word each.
    fn after(&mut self, ms: u64) -> Vec<String> {
        self.mono_ms += ms;
        let Self { manager, mono_ms, found, map, connected, leads_meta } = self;
        let sight = Sight { mono_ms: *mono_ms, found, map: Some(map), connected, leads_meta: *leads_meta };
        manager.decide(sight).into_iter().map(shown).collect()
    }
}

fn shown(decision: PeerDecision) -> String {
    match decision {
        PeerDecision::Contact { address, .. } => format!("contact {address}"),
        PeerDecision::Forget { address } => format!("forget {address}"),
        PeerDecision::Propose(MetaCommand::SetState { node, incarnation, state }) => {
            assert_eq!(incarnation, life(node.0), "a proposal names the life that is meant");
            format!("{node} {state:?}")
        }
        PeerDecision::Propose(other) => panic!("{other:?}"),
    }
}

fn life(node: u64) -> Incarnation {
    Incarnation(u128::from(node) + 100)
}

fn map(nodes: u64) -> ClusterMap {
    let member = |node: u64| Member {
        incarnation: life(node),
        address: format!("n{node}:1"),
        host: String::new(),
        zone: String::new(),
        state: MemberState::Up,
        levels: SUPPORTED_LEVELS,
        client_address: String::new(),
    };
    let settings = SharedSettings::default();
    let spec = ClusterSpec { num_shards: 2, slot_hash: SlotHash::XxHash64, replication_factor: 3, settings };
    initial_map(ClusterUid(1), &spec, (1..=nodes).map(|node| (NodeId(node), member(node))).collect()).expect("a map")
}

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn without_switches_only_the_peers_given_by_hand_are_contacted() {
    let by_hand = vec![(None, "seed:1".to_owned()), (Some(NodeId(1)), "self:1".to_owned())];
    let mut world = World::new(OFF, 3);
    world.manager = PeerManager::new(OFF, NodeId(1), by_hand);
    world.see(2, PeerState::Alive).see(3, PeerState::Lost);
    world.map.members.get_mut(&NodeId(2)).expect("a member").state = MemberState::Joining;
    assert_eq!(world.after(0), ["contact seed:1"]);
    assert_eq!(world.after(1_000_000), nothing(), "neither Up for 2 nor Down for 3");
    assert_eq!(world.manager.contacts().collect::<Vec<_>>(), [("seed:1", None)]);
}

#[test]
fn auto_add_peers_contacts_what_is_found_once() {
    let mut world = World::new(PeerManagementConfig { auto_add_peers: true, ..OFF }, 3);
    world.found.push(Discovered::at("anonymous:1"));
    world.see(1, PeerState::Alive).see(2, PeerState::Alive);
    assert_eq!(world.after(0), ["contact anonymous:1", "contact n2:1"], "not this node itself");
    assert_eq!(world.after(1), nothing());
    world.lose_see(2);
    assert_eq!(world.after(1_000_000), nothing(), "a record that is missing may come back");
    assert_eq!(world.manager.contacts().count(), 2);
}

#[test]
fn auto_remove_peers_forgets_the_lost_but_never_those_given_by_hand() {
    let config = PeerManagementConfig { auto_add_peers: true, auto_remove_peers: true, ..OFF };
    let mut world = World::new(config, 3);
    world.manager = PeerManager::new(config, NodeId(1), vec![(Some(NodeId(3)), "n3:1".to_owned())])
        .with_lost_after_ms(LOST_AFTER_MS);
    world.see(2, PeerState::Alive).see(3, PeerState::Alive);
    assert_eq!(world.after(0), ["contact n2:1", "contact n3:1"]);
    world.see(2, PeerState::Lost).see(3, PeerState::Lost);
    assert_eq!(world.after(0), nothing());
    assert_eq!(world.after(LOST_AFTER_MS - 1), nothing());
    assert_eq!(world.after(1), ["forget n2:1"]);
    world.see(2, PeerState::Alive);
    assert_eq!(world.after(1), ["contact n2:1"], "it is back");
    world.lose_see(2);
    assert_eq!(world.after(1), ["forget n2:1"], "the discovery itself knows it no more");
}

#[test]
fn auto_remove_peers_proposes_removed_for_a_down_member_without_replicas() {
    let mut world = World::new(PeerManagementConfig { auto_remove_peers: true, ..OFF }, 4);
    world.map.members.get_mut(&NodeId(4)).expect("a member").state = MemberState::Down;
    world.see(2, PeerState::Alive).see(3, PeerState::Alive).see(4, PeerState::Lost);
    assert_eq!(world.after(0), nothing());
    assert_eq!(world.after(LOST_AFTER_MS), nothing(), "it still holds replicas");
    for set in world.map.groups.values_mut() {
        set.replicas.retain(|at| at.node != NodeId(4));
    }
    assert_eq!(world.after(0), ["4 Removed"]);
    world.leads_meta = false;
    assert_eq!(world.after(PROPOSE_AGAIN_MS), nothing(), "that is the meta leader's to propose");
}

#[test]
fn auto_add_voters_lets_a_joined_node_be_up() {
    let mut world = World::new(PeerManagementConfig { auto_add_voters: true, ..OFF }, 4);
    for node in [2, 3, 4] {
        world.map.members.get_mut(&NodeId(node)).expect("a member").state = MemberState::Joining;
    }
    world.see(2, PeerState::Alive).see(3, PeerState::Lost);
    world.connected.insert(NodeId(4));
    assert_eq!(world.after(0), ["2 Up", "4 Up"], "seen by gossip, seen by a stream; 3 is neither");
    assert_eq!(world.after(1), nothing(), "proposed a moment ago");
    assert_eq!(world.after(PROPOSE_AGAIN_MS), ["2 Up", "4 Up"], "the map has not changed");
    assert!(world.manager.admits(NodeId(9)));

    let off = PeerManager::new(OFF, NodeId(1), vec![(Some(NodeId(2)), "n2:1".to_owned())]);
    assert!(off.admits(NodeId(1)) && off.admits(NodeId(2)) && !off.admits(NodeId(3)));
}

#[test]
fn auto_remove_voters_gives_a_member_up_only_after_long_and_without_a_stream() {
    let mut world = World::new(PeerManagementConfig { auto_remove_voters: true, ..OFF }, 3);
    world.see(2, PeerState::Alive).see(3, PeerState::Lost);
    assert_eq!(world.after(0), nothing());
    world.connected.insert(NodeId(3));
    assert_eq!(world.after(10 * LOST_AFTER_MS), nothing(), "a stream is a proof of life");
    world.connected.clear();
    assert_eq!(world.after(0), nothing(), "the wait begins anew");
    assert_eq!(world.after(LOST_AFTER_MS), ["3 Down"]);
    world.map.members.get_mut(&NodeId(3)).expect("a member").state = MemberState::Down;
    assert_eq!(world.after(PROPOSE_AGAIN_MS), nothing(), "it is");
}

#[test]
fn a_lost_node_stays_lost_when_gossip_has_forgotten_it() {
    let mut world = World::new(PeerManagementConfig { auto_remove_voters: true, ..OFF }, 3);
    world.see(3, PeerState::Lost);
    assert_eq!(world.after(0), nothing());
    world.lose_see(3);
    assert_eq!(world.after(LOST_AFTER_MS), ["3 Down"]);
}

#[test]
fn a_node_that_loses_everybody_accuses_nobody() {
    for (nodes, lost) in [(2, 1), (3, 2), (4, 2), (5, 4)] {
        let mut world = World::new(PeerManagementConfig { auto_remove_voters: true, ..OFF }, nodes.max(3));
        if nodes == 2 {
            world.map.members.remove(&NodeId(3));
        }
        for node in 2..2 + lost {
            world.see(node, PeerState::Lost);
        }
        assert_eq!(world.after(0), nothing());
        assert_eq!(world.after(LOST_AFTER_MS), nothing(), "{lost} of {nodes}");
    }
}
