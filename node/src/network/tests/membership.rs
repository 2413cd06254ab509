//! Members come, go and come back in another life, while the network runs.

use std::sync::Arc;

use crema_api::v1::{self, GovernReply, GovernRequest};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::rig::{Event, Node, PATIENCE, Site, config, forward, life, map_of, pair, settings};
use crate::{
    cluster::{
        ClusterMap, Former,
        command::{MetaCommand, decode_command, encode_command},
        map::{Member, MemberState},
    },
    network::{
        ClusterToken,
        govern::{GovernStatus, Governor, call},
        join::{JoinError, Joiner, join},
    },
    types::{ClusterUid, Incarnation, MigrationId, NodeId},
};

fn changed(map: &ClusterMap, change: impl FnOnce(&mut ClusterMap)) -> ClusterMap {
    let mut newer = map.clone();
    newer.version += 1;
    change(&mut newer);
    newer
}

fn member(map: &mut ClusterMap, node: u64) -> &mut Member {
    map.members.get_mut(&NodeId(node)).expect("a member")
}

#[test]
fn a_joiner_is_met_once_the_map_names_it() {
    let (one, two, map) = pair(&settings());
    let site = Site::new();
    let with_three = changed(&map, |map| {
        let about = Member { incarnation: life(3), address: site.address.to_string(), ..member(map, 1).clone() };
        map.members.insert(NodeId(3), about);
    });
    let three = Node::start(3, &with_three, site, settings());
    one.set_map(&with_three);
    two.set_map(&with_three);
    let met = three.sink.wait("both sessions", |events| ups(events).len() == 2);
    assert_eq!(ups(&met).into_iter().collect::<std::collections::BTreeSet<_>>(), [1, 2].into());
    one.sink.wait("its session with node 3", |events| ups(events).contains(&3));
    let session = *one.peers.sessions().iter().find(|info| info.peer == NodeId(3)).expect("it is up");
    one.peers.send(NodeId(3), session.session, forward(7, 10)).expect("room");
    assert_eq!(three.sink.wait_forwards(1), [7]);
    assert!(one.peers.is_up(NodeId(2)), "the session with node 2 has nothing to do with it");
}

fn ups(events: &[Event]) -> Vec<u64> {
    events.iter().filter_map(|event| if let Event::Up(peer, _) = event { Some(*peer) } else { None }).collect()
}

#[test]
fn a_member_that_is_down_is_cut_off_refused_and_told() {
    let (one, two, map) = pair(&settings());
    let (first, superseded) = (one.sink.wait_up(1), two.peers.superseded());
    let down = changed(&map, |map| member(map, 2).state = MemberState::Down);
    one.set_map(&down);
    one.sink.wait_down(first);
    two.sink.wait_down(first);
    assert!(!one.peers.is_up(NodeId(2)));
    // Node 1 dials it no more; node 2 finds out by asking.
    let reason = two.served.runtime.block_on(superseded).reason;
    assert!(reason.contains("node 2") && reason.contains("declared down"), "{reason}");
}

#[test]
fn a_new_life_at_a_new_address_takes_the_old_ones_place() {
    let (one, old, map) = pair(&settings());
    let (first, superseded) = (one.sink.wait_up(1), old.peers.superseded());
    let site = Site::new();
    let again = Incarnation(777);
    let newer = changed(&map, |map| {
        let address = site.address.to_string();
        let member = member(map, 2);
        (member.incarnation, member.address) = (again, address);
    });
    let new = Node::start_as(2, again, &newer, site, settings());
    one.set_map(&newer);
    let second = one.sink.wait_up(2);
    let events = one.sink.wait("all", |_| true);
    assert_eq!(events, [Event::Up(2, first), Event::Down(2, first), Event::Up(2, second)]);
    assert_eq!(new.sink.wait_up(1), second);
    old.sink.wait_down(first);
    let reason = old.served.runtime.block_on(superseded).reason;
    assert!(reason.contains(&again.to_string()) && reason.contains(&life(2).to_string()), "{reason}");
}

#[test]
fn an_old_life_that_dials_is_refused_and_finds_out() {
    let (old, two, map) = pair(&settings());
    let first = two.sink.wait_up(1);
    let newer = changed(&map, |map| member(map, 1).incarnation = Incarnation(777));
    let superseded = old.peers.superseded();
    two.set_map(&newer);
    two.sink.wait_down(first);
    let reason = old.served.runtime.block_on(superseded).reason;
    assert!(reason.contains(&Incarnation(777).to_string()), "{reason}");
    assert_eq!(two.sink.wait("all", |_| true).len(), 2, "it came back");
}

#[test]
fn a_peer_that_is_behind_says_nothing_about_a_new_life() {
    let (one, two) = (Site::new(), Site::new());
    let map = map_of(&[one.address, two.address]);
    let newer = changed(&map, |map| member(map, 1).incarnation = Incarnation(777));
    let two = Node::start(2, &map, two, settings());
    let one = Node::start_as(1, Incarnation(777), &newer, one, settings());
    // Refused again and again by the old map, it goes on until node 2 has the new one.
    let told = one.peers.superseded();
    let in_vain = one.served.runtime.block_on(async { tokio::time::timeout(settings().backoff_max * 4, told).await });
    assert!(in_vain.is_err(), "it believed an old map: {in_vain:?}");
    two.set_map(&newer);
    one.sink.wait_up(1);
}

/// Node 2 was cut off while node 4 came. The only one that it has a session with knows of it.
#[test]
fn a_node_that_lacks_a_peer_hears_of_a_newer_map_from_another() {
    let (one, two, nobody) = (Site::new(), Site::new(), Site::new());
    let map = map_of(&[one.address, two.address, nobody.address]);
    let (one, two) = (Node::start(1, &map, one, settings()), Node::start(2, &map, two, settings()));
    two.sink.wait_up(1);
    let four = Site::new();
    let newer = changed(&map, |map| {
        let about = Member { incarnation: life(4), address: four.address.to_string(), ..member(map, 1).clone() };
        map.members.insert(NodeId(4), about);
    });
    one.set_map(&newer);
    let heard = async { tokio::time::timeout(PATIENCE, two.sink.heard_of(newer.version)).await };
    two.served.runtime.block_on(heard).expect("it asks a peer that it has a session with");
}

/// Its replicas are replaced by then: it must not go on with them.
#[test]
fn a_node_that_was_removed_while_it_was_cut_off_hears_of_it() {
    let (one, two, map) = pair(&settings());
    let first = two.sink.wait_up(1);
    let down = changed(&map, |map| member(map, 2).state = MemberState::Down);
    one.set_map(&down);
    two.sink.wait_down(first);
    let removed = changed(&down, |map| member(map, 2).state = MemberState::Removed);
    one.set_map(&removed);
    let heard = async { tokio::time::timeout(PATIENCE, two.sink.heard_of(removed.version)).await };
    two.served.runtime.block_on(heard).expect("it asks the peers that it has lost");
}

/// The leader of the meta group, as far as joining goes.
struct Leader {
    map: Mutex<ClusterMap>,
    /// So many requests are refused first: an earlier life is still alive by its lease.
    refuse: Mutex<u32>,
    leads: bool,
}

impl Leader {
    fn answer(&self, request: &GovernRequest) -> GovernReply {
        let mut map = self.map.lock();
        if request.cluster_uid != map.uid.to_bytes() {
            return GovernStatus::Refused.because("another cluster");
        }
        if !self.leads {
            let reply = GovernStatus::NotLeader.because("ask node 2");
            return GovernReply { map: Some(v1::ClusterMap::from(&*map)), leader_node: 2, ..reply };
        }
        let mut refuse = self.refuse.lock();
        if *refuse > 0 {
            *refuse -= 1;
            return GovernStatus::Refused.because("its earlier life is alive");
        }
        let Ok(MetaCommand::Join { node, member }) = decode_command(&request.command) else {
            return GovernStatus::Refused.because("not a Join");
        };
        map.version += 1;
        map.members.insert(node, Member { state: MemberState::Joining, ..member });
        GovernReply { map: Some(v1::ClusterMap::from(&*map)), ..GovernStatus::Committed.because("") }
    }
}

impl Governor for Leader {
    fn govern(&self, request: GovernRequest) -> BoxFuture<'_, GovernReply> {
        Box::pin(async move { self.answer(&request) })
    }
}

fn with_leader(node: &Node, map: &ClusterMap, leads: bool, refuse: u32) {
    let leader = Leader { map: Mutex::new(map.clone()), refuse: Mutex::new(refuse), leads };
    node.served.door.set_governor(Arc::new(leader));
}

fn joiner(map: &ClusterMap, node: u64, incarnation: u128) -> Joiner {
    let any = map.members.values().next().expect("a member");
    let member = Member { incarnation: Incarnation(incarnation), address: "127.0.0.1:1".to_owned(), ..any.clone() };
    Joiner { node: NodeId(node), member, seeds: Vec::new() }
}

#[test]
fn joining_follows_the_hint_and_waits_for_the_lease() {
    let (one, two, map) = pair(&settings());
    with_leader(&one, &map, false, 0);
    with_leader(&two, &map, true, 2);
    let joiner = joiner(&map, 3, 333);
    let joined =
        one.served.runtime.block_on(async { tokio::time::timeout(PATIENCE, join(&joiner, map.clone())).await });
    let joined = joined.expect("in time").expect("taken in");
    assert_eq!(joined.incarnation_of(NodeId(3)), Some(Incarnation(333)));
    assert_eq!(joined.version, map.version + 1);
}

#[test]
fn a_life_that_was_ended_does_not_join() {
    let (one, _two, map) = pair(&settings());
    let map = changed(&map, |map| member(map, 2).state = MemberState::Removed);
    let joiner = joiner(&map, 2, life(2).0);
    let refused = one.served.runtime.block_on(join(&joiner, map.clone())).expect_err("it has left");
    assert!(matches!(refused, JoinError::Retired { state: "removed", .. }), "{refused}");
}

#[test]
fn before_it_has_joined_a_node_governs_nothing() {
    let site = Site::new();
    let listed = vec![(NodeId(1), "nowhere:1".to_owned()), (NodeId(2), site.address.to_string())];
    let unformed = site.serve(Former::new(config(2, life(2), listed)).expect("listed"));
    let request = GovernRequest { cluster_uid: ClusterUid(42).to_bytes(), timeout_ms: 1000, ..Default::default() };
    let reply = unformed.runtime.block_on(call(&unformed.address.to_string(), request)).expect("an answer");
    assert_eq!(GovernStatus::of(&reply), GovernStatus::Unavailable);
    assert!(reply.reason.contains("no part in a cluster"), "{}", reply.reason);
}

#[test]
fn without_the_cluster_token_a_node_may_only_join() {
    let site = Site::new();
    let listed = vec![(NodeId(1), "nowhere:1".to_owned()), (NodeId(2), site.address.to_string())];
    let served = site.serve(Former::new(config(2, life(2), listed)).expect("listed"));
    served.door.set_token(ClusterToken::new("secret"));
    let (_one, _two, map) = pair(&settings());
    let cancel = MetaCommand::CancelMigration(MigrationId(1));
    let join = MetaCommand::Join { node: NodeId(1), member: map.members[&NodeId(1)].clone() };
    for (command, token, status) in [
        (&cancel, "", GovernStatus::Refused),
        (&cancel, "guess", GovernStatus::Refused),
        (&cancel, "secret", GovernStatus::Unavailable),
        (&join, "", GovernStatus::Unavailable),
    ] {
        let command = encode_command(command);
        let request = GovernRequest { command, token: token.to_owned(), timeout_ms: 1000, ..Default::default() };
        let reply = served.runtime.block_on(call(&served.address.to_string(), request)).expect("an answer");
        assert_eq!(GovernStatus::of(&reply), status, "token {token:?}: {}", reply.reason);
    }
}

#[test]
fn a_session_outlives_the_removal_of_its_node() {
    let (one, two, map) = pair(&settings());
    let session = one.sink.wait_up(1);
    two.sink.wait_up(1);
    let superseded = two.peers.superseded();
    let removed = changed(&map, |map| member(map, 2).state = MemberState::Removed);
    one.set_map(&removed);
    two.set_map(&removed);
    let end = two.served.runtime.block_on(superseded);
    assert!(end.removed, "{}", end.reason);
    two.peers.send(NodeId(1), session, forward(7, 10)).expect("a session");
    one.sink.wait("the last request", |events| events.contains(&Event::Frame(2, session, forward(7, 10))));
}
