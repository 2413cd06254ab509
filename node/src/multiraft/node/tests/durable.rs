//! One node with a disk that syncs when a test says so, and three whose disks do so at once.

use super::*;
use crate::{consensus::FIRST_INDEX, multiraft::node::snapshot::Target};

/// What a disk without a flaw says at once.
pub(super) fn perform(
    node: &mut Node<ModelStore>,
    now: Now,
    persist: Option<PersistBatch>,
    pieces: Vec<CheckpointPiece>,
) {
    if let Some(PersistBatch { number, .. }) = persist {
        node.input(now, Input::Persisted { number });
    }
    for CheckpointPiece { group, replica, point, piece } in pieces {
        if matches!(piece, Piece::End(_)) {
            node.input(now, Input::Checkpointed { group, replica, index: LogIndex(point.index) });
        }
    }
}

/// A cluster of one node.
struct Alone {
    node: Node<ModelStore>,
    now: Now,
    /// The last batch that was asked for.
    written: u64,
    pieces: Vec<CheckpointPiece>,
    replies: BTreeMap<Ticket, Result<Vec<Outcome>, Error>>,
    next_ticket: u64,
    /// Whether the shard was last said to have nobody else who could lead.
    sole: bool,
}

impl Alone {
    fn new(limits: Limits, checkpoints: Triggers) -> Self {
        let mut alone = Self::started(limits, checkpoints);
        alone.ticks(40);
        assert_eq!(alone.status().role, crate::consensus::Role::Leader);
        alone
    }

    /// Before its first tick.
    fn started(limits: Limits, checkpoints: Triggers) -> Self {
        let config = NodeConfig { durable: true, boot: 1, checkpoints, ..config(1, 101, limits) };
        let node = Node::new(config, Arc::new(map(1, SharedSettings::default())), |_| ModelStore::new());
        let now = Now { wall: Timestamp(1_000_000), mono_ms: 1_000 };
        let (pieces, replies) = (Vec::new(), BTreeMap::new());
        Self { node, now, written: 0, pieces, replies, next_ticket: 0, sole: false }
    }

    /// One turn; says whether another one should follow.
    fn turn_once(&mut self) -> bool {
        let Effects { persist, checkpoints, replies, events, more, .. } = self.node.turn(self.now);
        for event in events {
            if let Event::Leader { group: SHARD, sole, .. } = event {
                self.sole = sole;
            }
        }
        if let Some(batch) = persist {
            assert_eq!(batch.number, self.written + 1, "batches are numbered one by one");
            self.written = batch.number;
        }
        self.pieces.extend(checkpoints);
        self.replies.extend(replies);
        more
    }

    /// Turns until nothing more comes of it; nothing is synced.
    fn turn(&mut self) {
        let spins = (0..10_000).all(|_| self.turn_once());
        assert!(!spins, "it turns for ever");
    }

    /// Time passes; everything is synced.
    fn ticks(&mut self, count: u64) {
        for _ in 0..count {
            self.node.input(self.now, Input::Tick);
            self.turn();
            self.sync();
        }
    }

    /// So many entries of one key each.
    fn write(&mut self, count: u64) {
        for i in 0..count {
            self.submit(put(&format!("k{i}"), "v"));
            self.sync();
        }
    }

    /// Everything that was written is synced, and what follows from it.
    fn sync(&mut self) {
        let mut synced = 0;
        while synced < self.written {
            synced = self.written;
            self.node.input(self.now, Input::Persisted { number: synced });
            self.turn();
        }
    }

    /// Begins a checkpoint of thirty keys, and stops in its midst: there is no room for more.
    fn begin_and_wait(&mut self) {
        self.node.set_checkpoint_room(false);
        self.write(30);
        assert_eq!(self.begun(), 0, "there is no room for its beginning either");
        self.node.set_checkpoint_room(true);
        self.node.dirty.insert(SHARD);
        assert!(self.turn_once());
        assert_eq!((self.begun(), self.whole()), (1, None));
        self.node.set_checkpoint_room(false);
    }

    fn submit(&mut self, op: Op) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let deadline_mono_ms = self.now.mono_ms + 3_000;
        self.node.input(self.now, Input::Submit { ticket, group: SHARD, ops: vec![op], deadline_mono_ms });
        self.turn();
        ticket
    }

    fn status(&self) -> GroupStatus {
        self.node.group_status(SHARD).expect("a replica")
    }

    /// The index of the last checkpoint of the shard that is whole.
    fn whole(&self) -> Option<LogIndex> {
        let whole = |piece: &&CheckpointPiece| piece.group == SHARD && matches!(piece.piece, Piece::End(_));
        self.pieces.iter().rfind(whole).map(|piece| LogIndex(piece.point.index))
    }

    /// How many checkpoints of the shard were begun.
    fn begun(&self) -> usize {
        let begins = |piece: &&CheckpointPiece| piece.group == SHARD && matches!(piece.piece, Piece::Begin(_));
        self.pieces.iter().filter(begins).count()
    }

    /// All that was written of the shard's checkpoints.
    fn bytes(&self) -> Vec<u8> {
        let bytes = |piece: &CheckpointPiece| match &piece.piece {
            Piece::Begin(bytes) | Piece::Block(bytes) | Piece::End(bytes) => bytes.to_vec(),
            Piece::Abandon => Vec::new(),
        };
        self.pieces.iter().filter(|piece| piece.group == SHARD).flat_map(bytes).collect()
    }

    fn publish(&mut self, index: LogIndex) {
        let replica = self.status().replica;
        self.node.input(self.now, Input::Checkpointed { group: SHARD, replica, index });
        self.turn();
    }

    /// Writes until another checkpoint is whole.
    fn write_until_whole(&mut self) -> LogIndex {
        let before = self.whole();
        for i in 0..100 {
            self.submit(put("k", &i.to_string()));
            self.sync();
            if let Some(index) = self.whole().filter(|index| Some(*index) != before) {
                return index;
            }
        }
        panic!("no checkpoint in 100 entries");
    }
}

#[test]
fn a_write_is_answered_when_it_is_synced_and_not_before() {
    let mut alone = Alone::new(Limits::default(), Triggers::default());
    let ticket = alone.submit(put("k", "1"));
    assert!(alone.replies.is_empty(), "answered before the sync");
    assert_eq!(alone.status().entries, 0, "applied before the sync");
    alone.sync();
    assert!(matches!(alone.replies.get(&ticket), Some(Ok(_))), "{:?}", alone.replies);
    let ticket = alone.submit(get("k"));
    assert_eq!(value(&alone.replies[&ticket].as_ref().expect("a read")[0]), Some("1".into()));
}

/// Reads are answered past the log by who is alone. After a restart the end of its log may be acknowledged and not applied yet:
/// it is once an entry of the new term is.
#[test]
fn the_only_voter_is_alone_once_an_entry_of_its_term_is_synced() {
    let mut alone = Alone::started(Limits::default(), Triggers::default());
    alone.node.input(alone.now, Input::Tick);
    alone.turn();
    assert_eq!((alone.status().role, alone.sole), (crate::consensus::Role::Leader, false));
    alone.sync();
    assert!(alone.sole);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let mut alone = Alone::new(Limits::default(), Triggers::default());
    let ticket = alone.submit(put("k", "1"));
    alone.node.input(alone.now, Input::PersistFailed { reason: "no space left".to_owned() });
    alone.node.input(alone.now, Input::Persisted { number: alone.written });
    alone.turn();
    assert!(matches!(alone.replies.get(&ticket), Some(Err(Error::OutcomeUnknown { .. }))), "{:?}", alone.replies);
    let stopped = |health: &Health| matches!(health, Health::Stopped { reason } if reason.contains("no space left"));
    assert!(alone.node.status().all(|status| stopped(&status.health)), "all replicas stop, and say why");
    assert_eq!(alone.status().entries, 0);
}

#[test]
fn the_log_is_cut_behind_the_older_of_two_published_checkpoints() {
    let mut alone = Alone::new(Limits { log_entries: 10, ..Limits::default() }, often());
    let first = alone.write_until_whole();
    alone.publish(first);
    let second = alone.write_until_whole();
    for _ in 0..5 {
        alone.submit(put("k", "more"));
        alone.sync();
    }
    assert_eq!(alone.status().truncated, FIRST_INDEX, "the second one is not published yet");
    alone.publish(second);
    alone.submit(put("k", "last"));
    alone.sync();
    assert_eq!(alone.status().truncated, first, "a restart may need the older one");
    assert_eq!(alone.status().checkpoint_index, second);
}

/// A checkpoint after ten entries.
fn often() -> Triggers {
    Triggers { log_entries: 10, log_bytes: u64::MAX, interval: None }
}

#[test]
fn what_is_asked_for_decides_when_a_checkpoint_is_due() {
    // Not the bounds of the log in memory.
    let limits = Limits { log_entries: 5, ..Limits::default() };
    let mut alone = Alone::new(limits, Triggers { log_entries: 50, log_bytes: 1_000, interval: None });
    alone.write(8);
    assert_eq!(alone.begun(), 0);
    assert_eq!(alone.status().truncated, FIRST_INDEX, "the log goes no further than the checkpoints");
    alone.submit(put("k", &"v".repeat(1_000)));
    alone.sync();
    assert_eq!(alone.begun(), 1, "so many bytes came");

    let interval = Some(std::time::Duration::from_secs(30));
    let mut alone = Alone::new(Limits::default(), Triggers { log_entries: 50, log_bytes: u64::MAX, interval });
    alone.write(1);
    alone.ticks(500);
    assert_eq!(alone.begun(), 0);
    assert!(alone.status().asleep, "nothing happens any more");
    alone.ticks(200);
    assert_eq!(alone.begun(), 1, "it is old enough");
    alone.publish(alone.whole().expect("a checkpoint"));
    alone.ticks(2_000);
    assert_eq!(alone.begun(), 1, "nothing has changed since");
}

#[test]
fn a_checkpoint_that_failed_is_tried_again_after_a_while() {
    let mut alone = Alone::new(Limits::default(), often());
    let index = alone.write_until_whole();
    let replica = alone.status().replica;
    alone.node.input(alone.now, Input::CheckpointFailed { group: SHARD, replica, index });
    alone.write(20);
    alone.ticks(599);
    assert_eq!(alone.begun(), 1, "a capture walks the whole shard");
    alone.ticks(100);
    assert_eq!(alone.begun(), 2);
    let second = alone.whole().expect("a checkpoint");
    alone.publish(second);
    assert_eq!(alone.status().checkpoint_index, second);
}

#[test]
fn a_capture_whose_file_failed_ends() {
    let limits = Limits { capture_step: 1, ..Limits::default() };
    let mut alone = Alone::new(limits, often());
    alone.begin_and_wait();
    let (replica, point) = (alone.status().replica, alone.pieces.last().expect("a piece").point);
    let pieces = alone.pieces.len();
    let index = LogIndex(point.index);
    alone.node.input(alone.now, Input::CheckpointFailed { group: SHARD, replica, index });
    alone.node.set_checkpoint_room(true);
    alone.turn();
    assert_eq!(alone.pieces.len(), pieces, "there is no file for it");
}

#[test]
fn a_capture_waits_for_room_without_a_turn() {
    let limits = Limits { capture_step: 1, ..Limits::default() };
    let mut alone = Alone::new(limits, often());
    alone.begin_and_wait();
    let state = alone.status();
    for i in 0..30 {
        alone.submit(put(&format!("k{i}"), "another value"));
        alone.sync();
    }
    alone.ticks(5);
    let pieces = alone.pieces.len();
    assert_eq!(alone.whole(), None);
    alone.ticks(5);
    assert_eq!(alone.pieces.len(), pieces, "no step is made");

    alone.node.set_checkpoint_room(true);
    alone.turn();
    assert_eq!(alone.whole(), Some(state.applied));
    let (head, entries) = crate::checkpoint::decode_all(&alone.bytes()).expect("a whole checkpoint");
    assert_eq!((head.index(), head.machine.hash), (state.applied, state.state_hash));
    assert_eq!(entries.len() as u64, state.entries, "exact as of its index, however long it waited");
}

fn with_disk(id: u64, limits: Limits) -> NodeConfig {
    NodeConfig { durable: true, checkpoints: often(), ..config(id, u128::from(id) + 100, limits) }
}

/// Three nodes whose disks sync at once.
fn three(limits: Limits) -> Cluster {
    let shared = Arc::new(map(3, SharedSettings::default()));
    let node = |id| (NodeId(id), Node::new(with_disk(id, limits), shared.clone(), |_| ModelStore::new()));
    Cluster::of((1..=3).map(node).collect(), limits)
}

#[test]
fn who_is_in_the_minority_leaves_nothing_to_serve_from_after_a_restart() {
    let limits = Limits { hash_interval: 8, ..Limits::default() };
    let mut cluster = three(limits);
    cluster.run(1, vec![put("k", "0")]).expect("write");
    cluster.run_ms(500);
    let wrong = NodeId(cluster.leader().0 % 3 + 1);
    let replica = cluster.status(wrong.0).replica;
    cluster.damage(wrong);
    for i in 0..16 {
        cluster.run(cluster.leader().0, vec![put("k", &i.to_string())]).expect("write");
    }
    cluster.run_ms(500);
    let health = cluster.status(wrong.0).health;
    assert!(matches!(&health, Health::Stopped { reason } if reason.contains(IN_THE_MINORITY)), "{health:?}");
    assert_eq!(cluster.destroyed, [(wrong, SHARD, replica)]);

    let shared = cluster.nodes[&wrong].map().clone();
    let held = BTreeMap::from([(SHARD, replica)]);
    let restart = Restart { birth: shared.clone(), groups: BTreeMap::new(), held };
    let node = Node::restart(with_disk(wrong.0, limits), shared, restart, |_| ModelStore::new());
    let status = node.group_status(SHARD).expect("a replica");
    assert_eq!(status.replica, replica);
    assert!(matches!(&status.health, Health::Stopped { reason } if reason.contains("gone")), "{:?}", status.health);
}

#[test]
fn who_was_healed_by_a_restart_counts_again() {
    let mut cluster = three(Limits { hash_interval: 8, ..Limits::default() });
    cluster.run(1, vec![put("k", "0")]).expect("write");
    let (leader, now) = (cluster.leader(), cluster.now);
    let other = NodeId(leader.0 % 3 + 1);
    let replica = cluster.status(other.0).replica;
    let report = |hash: &[u8]| v1::HashReport {
        group: SHARD.0,
        generation: 1,
        from: replica.0,
        index: 8_000,
        hash: hash.to_vec().into(),
    };
    let node = cluster.nodes.get_mut(&leader).expect("node");
    node.with_group(now, SHARD, |group, env| {
        group.on_hash_report(other, &report(&[]), env);
        assert!(group.hashes.is_corrupt(replica));
        group.on_hash_report(other, &report(&[7; 16]), env);
        assert!(!group.hashes.is_corrupt(replica));
    });
}

#[test]
fn no_peer_waits_for_a_disk_that_takes_nothing() {
    let limits = Limits { log_entries: 20, capture_step: 7, ..Limits::default() };
    let mut cluster = three(limits);
    let away = NodeId(cluster.leader().0 % 3 + 1);
    let lost = cluster.nodes.remove(&away).expect("node");
    let present: Vec<NodeId> = cluster.nodes.keys().copied().collect();
    for node in &present {
        cluster.input(*node, Input::SessionDown { peer: away, session: 1 });
    }
    for i in 0..200 {
        cluster.run(present[0].0, vec![put(&format!("k{i}"), "v")]).expect("write");
    }
    let now = cluster.now;
    for node in cluster.nodes.values_mut() {
        node.with_group(now, SHARD, |group, env| group.begin_capture(Target::Disk, env)).expect("a replica");
        node.set_checkpoint_room(false);
    }
    cluster.nodes.insert(away, lost);
    for node in present {
        cluster.input(node, Input::SessionUp { peer: away, session: 1 });
    }
    cluster.run_ms(5_000);
    let of = |node| (cluster.status(node).entries, cluster.status(node).state_hash);
    assert_eq!(of(away.0), of(cluster.leader().0));
    assert_eq!(cluster.status(away.0).counters.snapshots_installed, 1);
}

#[test]
fn a_configuration_is_sealed_before_the_map_may_count_on_it() {
    let mut cluster = three(Limits::default());
    cluster.run(1, vec![put("k", "1")]).expect("write");
    let (leader, now, last) = (cluster.leader(), cluster.now, cluster.status(cluster.leader().0).last);
    let node = cluster.nodes.get_mut(&leader).expect("node");
    let config = node.config.clone();
    let sealed = |group: &mut Group<ModelStore>| group.has_sealed_conf(&config);
    assert_eq!(node.with_group(now, SHARD, |group, _| sealed(group)), Some(true), "nobody waits for it");
    node.with_group(now, SHARD, |group, _| group.migrating = true);
    node.dirty.insert(SHARD);
    assert_eq!(node.with_group(now, SHARD, |group, _| sealed(group)), Some(false), "a restart may take it back");
    cluster.run_ms(500);
    let node = cluster.nodes.get_mut(&leader).expect("node");
    assert_eq!(node.with_group(now, SHARD, |group, _| sealed(group)), Some(true));
    assert_eq!(cluster.status(leader.0).last, last.next(), "with one entry");
}

#[test]
fn a_leader_wakes_for_a_peer_that_may_have_forgotten() {
    let mut cluster = three(Limits::default());
    cluster.run(1, vec![put("k", "1")]).expect("write");
    cluster.run_ms(20_000);
    let leader = cluster.leader();
    assert!(cluster.status(leader.0).asleep);
    let other = NodeId(leader.0 % 3 + 1);
    cluster.input(leader, Input::SessionUp { peer: other, session: 1 });
    assert!(!cluster.status(leader.0).asleep);
}

#[test]
fn nobody_sleeps_over_a_write_that_has_no_time_yet() {
    let mut cluster = three(Limits::default());
    cluster.run(1, vec![put("k", "1")]).expect("write");
    cluster.run_ms(20_000);
    let leader = cluster.leader();
    assert!(cluster.status(leader.0).asleep);
    // As after a restart, before the others are heard.
    cluster.nodes.get_mut(&leader).expect("node").clock = ClockTable::new(3, 500);
    let ticket = cluster.submit(leader.0, vec![put("k", "2")]);
    assert!(!cluster.replies.contains_key(&ticket), "it can't be stamped");
    assert!(!cluster.status(leader.0).asleep);
    cluster.run_ms(2_000);
    assert!(matches!(cluster.replies.get(&ticket), Some(Ok(_))), "{:?}", cluster.replies.get(&ticket));
}

#[test]
fn a_disk_that_hangs_takes_no_leadership_with_it() {
    let mut cluster = three(Limits::default());
    cluster.run(1, vec![put("k", "1")]).expect("write");
    let before = cluster.leader();
    cluster.hanging = Some((before, 0));
    let waiting = cluster.submit(before.0, vec![put("k", "2")]);
    cluster.run_ms(10_000);
    let after = cluster.nodes.values().find_map(|node| {
        let status = node.group_status(SHARD)?;
        (status.role == crate::consensus::Role::Leader && node.config.node != before).then_some(node.config.node)
    });
    let after = after.expect("another leader, though nobody is gone");
    cluster.run(after.0, vec![put("k", "3")]).expect("a write where the disk works");

    let (_, last) = cluster.hanging.take().expect("a disk that hangs");
    cluster.input(before, Input::Persisted { number: last });
    cluster.run_ms(10_000);
    assert!(cluster.replies.contains_key(&waiting), "its client hears what became of it, or that nobody knows");
    cluster.run(before.0, vec![put("k", "4")]).expect("write");
    let of = |node| (cluster.status(node).entries, cluster.status(node).state_hash);
    assert_eq!(of(before.0), of(after.0));
}
