//! Sessions, snapshots and forming over real sockets on loopback.

use std::{net::SocketAddr, sync::mpsc};

use bytes::Bytes;
use crema_api::v1::{
    Frame, Hello, LogEntry, RaftMessage, SnapshotHead, SnapshotPart, peer_client::PeerClient, snapshot_part::Part,
};

use super::{NetworkSettings, SendRefusal, form::form};
use crate::{
    cluster::{FormOutcome, Former, map::SUPPORTED_LEVELS},
    types::{ClusterUid, Incarnation, NodeId},
};

mod membership;
mod rig;

use rig::{Event, Node, PATIENCE, Served, Site, config, forward, life, map_of, pair, settings};

#[test]
fn frames_arrive_in_order_and_once_both_ways() {
    let (one, two, _) = pair(&settings());
    let session = one.sink.wait_up(1);
    assert_eq!(session, two.sink.wait_up(1));
    for sequence in 0..2000 {
        one.peers.send(NodeId(2), session, forward(sequence, 100)).expect("room");
        two.peers.send(NodeId(1), session, forward(sequence, 10)).expect("room");
    }
    let all: Vec<u64> = (0..2000).collect();
    assert_eq!(two.sink.wait_forwards(2000), all);
    assert_eq!(one.sink.wait_forwards(2000), all);
    assert_eq!(one.peers.sessions().len(), 1);
    assert!(one.peers.is_up(NodeId(2)) && !one.peers.is_up(NodeId(3)));
}

#[test]
fn a_session_ends_once_and_the_next_replays_nothing() {
    let (one, two, map) = pair(&settings());
    let first = one.sink.wait_up(1);
    let address = two.kill();
    one.sink.wait_down(first);
    let refused = one.peers.send(NodeId(2), first, forward(1, 10)).expect_err("the peer is dead");
    assert_eq!((refused.reason, *refused.frame), (SendRefusal::Down, forward(1, 10)));
    let two = Node::start(2, &map, Site::at(&address.to_string()), settings());
    let second = one.sink.wait_up(2);
    assert_ne!(first, second);
    let late = one.peers.send(NodeId(2), first, forward(1, 10)).expect_err("that session is over");
    assert_eq!(late.reason, SendRefusal::Down);
    one.peers.send(NodeId(2), second, forward(2, 10)).expect("room");
    assert_eq!(two.sink.wait_forwards(1), [2]);
    let events = one.sink.wait("all", |_| true);
    assert_eq!(events, [Event::Up(2, first), Event::Down(2, first), Event::Up(2, second)]);
}

#[test]
fn the_dialer_may_die_too() {
    let (one, two, map) = pair(&settings());
    let first = two.sink.wait_up(1);
    let address = one.kill();
    two.sink.wait_down(first);
    let one = Node::start(1, &map, Site::at(&address.to_string()), settings());
    let second = two.sink.wait_up(2);
    assert_eq!(one.sink.wait_up(1), second);
    let events = two.sink.wait("all", |_| true);
    assert_eq!(events, [Event::Up(1, first), Event::Down(1, first), Event::Up(1, second)]);
}

#[test]
fn shutdown_says_goodbye_before_it_returns() {
    let (one, two, _) = pair(&settings());
    let session = one.sink.wait_up(1);
    one.served.runtime.block_on(one.network.shutdown());
    assert_eq!(one.sink.wait("all", |_| true), [Event::Up(2, session), Event::Down(2, session)]);
    two.sink.wait_down(session);
}

#[test]
fn a_silent_peer_is_given_up() {
    let brief = NetworkSettings { silence: std::time::Duration::from_millis(200), ..settings() };
    let (one, _two, _) = pair(&brief);
    let session = one.sink.wait_up(1);
    one.sink.wait_down(session);
    one.sink.wait_up(2);
}

#[test]
fn an_entry_of_twelve_mib_travels_and_a_frame_of_forty_is_cut() {
    let (one, two, _) = pair(&settings());
    let entry = |index| LogEntry { index, data: vec![7; 12 << 20].into(), ..LogEntry::default() };
    let message = |index| RaftMessage { index, entries: vec![entry(index)], ..RaftMessage::default() };
    let frame = Frame { raft: (1..=3).map(message).collect(), ..forward(9, 10) };
    let session = one.sink.wait_up(1);
    one.peers.send(NodeId(2), session, frame.clone()).expect("room");
    assert_eq!(two.sink.wait_forwards(1), [9]);
    let events = two.sink.wait("all", |_| true);
    let frames =
        events.iter().filter_map(|event| if let Event::Frame(_, _, frame) = event { Some(frame) } else { None });
    let raft: Vec<_> = frames.flat_map(|frame| frame.raft.clone()).collect();
    assert_eq!(raft, frame.raft);

    let entries = vec![entry(1), entry(2)];
    let vast = Frame { raft: vec![RaftMessage { entries, ..RaftMessage::default() }], ..Frame::default() };
    let refused = one.peers.send(NodeId(2), session, vast.clone()).expect_err("can't fit");
    assert_eq!((refused.reason, *refused.frame == vast), (SendRefusal::TooLarge, true));
}

#[test]
fn a_slow_receiver_holds_the_sender_back() {
    let bounded = NetworkSettings { queue_bytes: 4 << 20, ..settings() };
    let (one, two, _) = pair(&bounded);
    two.sink.hold(true);
    let session = one.sink.wait_up(1);
    let mut sent = 0_u64;
    let refused = loop {
        match one.peers.send(NodeId(2), session, forward(sent, 64 << 10)) {
            Ok(_) => sent += 1,
            Err(refused) => {
                // Full for good, or only because the stream's task has not run yet?
                let waiting = one.peers.sessions();
                std::thread::yield_now();
                if waiting == one.peers.sessions() {
                    break refused.reason;
                }
            }
        }
        assert!(sent < 4096, "256 MiB are on their way to a peer that takes nothing");
    };
    assert_eq!(refused, SendRefusal::Full);
    two.sink.hold(false);
    assert_eq!(two.sink.wait_forwards(sent as usize), (0..sent).collect::<Vec<_>>());
}

/// What a raw hello is answered with.
fn knock(served: &Served, hello: Hello) -> Hello {
    let address = format!("http://{}", served.address);
    served.runtime.block_on(async {
        let mut client = PeerClient::connect(address).await.expect("it listens");
        let frames = tokio_stream::iter([Frame { hello: Some(hello), ..Frame::default() }]);
        let mut answers = client.exchange(frames).await.expect("an answer").into_inner();
        answers.message().await.expect("a frame").expect("one frame").hello.expect("a hello")
    })
}

fn hello(from: u64, to: u64) -> Hello {
    Hello {
        cluster_uid: ClusterUid(42).to_bytes(),
        node: from,
        incarnation: life(from).to_bytes(),
        to_node: to,
        to_incarnation: life(to).to_bytes(),
        session: 5,
        min_level: SUPPORTED_LEVELS.min,
        max_level: SUPPORTED_LEVELS.max,
        refused: String::new(),
    }
}

#[test]
fn strangers_are_refused_with_the_reason() {
    let site = Site::new();
    let nowhere = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let map = map_of(&[nowhere(1), site.address, nowhere(2)]);
    let two = Node::start(2, &map, site, settings());
    let refused = |hello, expect: &str| {
        let said = knock(&two.served, hello).refused;
        assert!(said.contains(expect), "{said:?} lacks {expect:?}");
    };
    let good = || hello(1, 2);
    refused(Hello { cluster_uid: ClusterUid(43).to_bytes(), ..good() }, "node 1 belongs to cluster 0000");
    refused(Hello { cluster_uid: Bytes::new(), ..good() }, "sent no cluster uid");
    refused(Hello { node: 9, ..good() }, "node 9 is not a living member");
    refused(Hello { incarnation: Incarnation(1).to_bytes(), ..good() }, "node 1 is known as incarnation");
    refused(Hello { to_node: 3, ..good() }, "this is node 2, not 3");
    refused(Hello { to_incarnation: Incarnation(1).to_bytes(), ..good() }, "node 2 is incarnation");
    refused(Hello { min_level: 7, max_level: 9, ..good() }, "supports 7 to 9");
    refused(hello(3, 2), "node 2 dials node 3");
    assert!(two.sink.wait("nothing", |_| true).is_empty());
    assert_eq!(knock(&two.served, good()).refused, "");
    two.sink.wait_up(1);
}

#[test]
fn a_node_without_a_cluster_refuses_streams() {
    let site = Site::new();
    let listed = vec![(NodeId(1), "nowhere:1".to_owned()), (NodeId(2), site.address.to_string())];
    let unformed = site.serve(Former::new(config(2, life(2), listed)).expect("listed"));
    assert_eq!(knock(&unformed, hello(1, 2)).refused, "it takes no part in a cluster now");
}

/// Sends a snapshot and returns how that ended.
fn send_snapshot(from: &Node, to: u64, term: u64, chunks: Vec<Bytes>) -> mpsc::Receiver<Result<(), String>> {
    let (done, ended) = mpsc::channel();
    let message = RaftMessage { term, ..RaftMessage::default() };
    from.peers.send_snapshot(NodeId(to), message, chunks, move |result| done.send(result).expect("waited for"));
    ended
}

#[test]
fn fifty_mib_of_snapshot_arrive_whole_in_both_directions() {
    let (one, two, _) = pair(&settings());
    let sent: Vec<Bytes> = (0..10_u8).map(|i| vec![i; 5 << 20].into()).collect();
    for (from, to, target) in [(&one, 2, &two), (&two, 1, &one)] {
        let ended = send_snapshot(from, to, 3, sent.clone());
        assert_eq!(ended.recv_timeout(PATIENCE).expect("an end"), Ok(()));
        let events = target.sink.wait("a snapshot", |e| e.iter().any(|e| matches!(e, Event::Snapshot(..))));
        let Some(Event::Snapshot(_, message, bytes)) = events.last() else { panic!("no snapshot") };
        assert_eq!(message.term, 3);
        assert!(bytes.iter().all(|chunk| chunk.len() <= 1 << 20));
        assert!(bytes.concat() == sent.concat(), "other bytes arrived");
    }
}

#[test]
fn every_snapshot_send_ends_with_its_reason() {
    let tight = NetworkSettings { snapshot_receive_bytes: 1 << 20, ..settings() };
    let (one, two, _) = pair(&tight);
    let end = |to, term, chunks| send_snapshot(&one, to, term, chunks).recv_timeout(PATIENCE).expect("an end");
    assert_eq!(end(2, 13, vec![]), Err("no snapshot of term 13 here".to_owned()));
    let said = end(2, 1, vec![vec![0; 8 << 20].into()]).expect_err("too large");
    assert!(said.contains("8388608 bytes does not fit: 1048576 bytes are allowed"), "{said}");
    assert_eq!(end(7, 1, vec![]), Err("node 7 is not a peer".to_owned()));
    assert_eq!(end(2, 1, vec![vec![0; 1 << 20].into()]), Ok(()));
    two.kill();
    end(2, 1, vec![]).expect_err("the peer is dead");
}

#[test]
fn a_snapshot_under_way_ends_with_its_receiver_or_its_sender() {
    let slow = NetworkSettings { snapshot_bytes_per_s: Some(1 << 20), ..settings() };
    let (one, two, _) = pair(&slow);
    let years = || vec![Bytes::from(vec![0; 512 << 20])];
    let ended = send_snapshot(&one, 2, 1, years());
    two.kill();
    ended.recv_timeout(PATIENCE).expect("an end").expect_err("the peer died");
    let ended = send_snapshot(&one, 2, 1, years());
    one.kill();
    ended.recv_timeout(PATIENCE).expect("an end").expect_err("this node died");
}

#[test]
fn a_snapshot_that_is_not_as_announced_is_refused() {
    let (_one, two, _) = pair(&settings());
    let address = format!("http://{}", two.served.address);
    let head = |total_bytes| {
        let message = Some(RaftMessage::default());
        Part::Head(SnapshotHead { hello: Some(hello(1, 2)), message, total_bytes })
    };
    let chunk = |bytes| Part::Chunk(vec![0; bytes].into());
    let offer = |parts: Vec<Part>| {
        two.served.runtime.block_on(async {
            let mut client = PeerClient::connect(address.clone()).await.expect("it listens");
            let parts: Vec<_> = parts.into_iter().map(|part| SnapshotPart { part: Some(part) }).collect();
            client.snapshot(tokio_stream::iter(parts)).await.expect("a receipt").into_inner().reason
        })
    };
    assert_eq!(offer(vec![head(10), chunk(9)]), "9 bytes came, 10 were announced");
    assert_eq!(offer(vec![head(10), chunk(9), chunk(9)]), "more than the 10 bytes that were announced");
    assert_eq!(offer(vec![head(10), chunk(9), head(1)]), "a second head");
    assert_eq!(offer(vec![chunk(9)]), "the first part is not a head");
    assert_eq!(offer(vec![head(10), chunk(10)]), "");
}

#[test]
fn three_nodes_form_and_a_restarted_empty_one_is_to_join() {
    let sites: Vec<_> = (0..3).map(|_| Site::new()).collect();
    let listed: Vec<_> = sites.iter().zip(1..).map(|(site, n)| (NodeId(n), site.address.to_string())).collect();
    let former = |node, life| Former::new(config(node, Incarnation(life), listed.clone())).expect("listed");
    let mut nodes: Vec<_> = sites.into_iter().zip(1..).map(|(s, n)| s.serve(former(n, n.into()))).collect();
    let formings: Vec<_> = nodes
        .iter()
        .map(|node| {
            let door = node.door.clone();
            node.runtime.spawn(async move { form(&door).await })
        })
        .collect();
    let maps: Vec<_> = nodes
        .iter()
        .zip(formings)
        .map(|(node, forming)| node.runtime.block_on(forming).expect("no panic").expect("a map"))
        .collect();
    assert!(maps.iter().all(|map| *map == maps[0]));
    assert!(matches!(&maps[0], FormOutcome::Formed(map) if map.uid == ClusterUid(1) && map.members.len() == 3));

    let first = nodes.remove(0);
    let address = first.address.to_string();
    first.runtime.shutdown_timeout(PATIENCE);
    let again = Site::at(&address).serve(former(1, 77));
    let outcome = again.runtime.block_on(form(&again.door)).expect("a cluster");
    let FormOutcome::Formed(map) = &maps[0] else { panic!("{:?}", maps[0]) };
    assert_eq!(outcome, FormOutcome::Join { map: map.clone() });
}
