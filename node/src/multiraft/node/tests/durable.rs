//! One node with a disk that syncs when a test says so.

use super::*;
use crate::consensus::FIRST_INDEX;

/// A cluster of one node.
struct Alone {
    node: Node<ModelStore>,
    now: Now,
    /// The last batch that was asked for.
    written: u64,
    pieces: Vec<CheckpointPiece>,
    replies: BTreeMap<Ticket, Result<Vec<Outcome>, Error>>,
    next_ticket: u64,
}

impl Alone {
    fn new(limits: Limits) -> Self {
        let config = NodeConfig {
            node: NodeId(1),
            incarnation: Incarnation(101),
            lanes: Lanes::ALL,
            timings: Timings::default(),
            limits,
            seed: 1,
            durable: true,
            boot: 1,
            admission: Admission::default(),
            faults: Faults::none(),
        };
        let node = Node::new(config, Arc::new(map(1, SharedSettings::default())), |_| ModelStore::new());
        let now = Now { wall: Timestamp(1_000_000), mono_ms: 1_000 };
        let mut alone = Self { node, now, written: 0, pieces: Vec::new(), replies: BTreeMap::new(), next_ticket: 0 };
        for _ in 0..40 {
            alone.node.input(alone.now, Input::Tick);
            alone.turn();
            alone.sync();
        }
        assert_eq!(alone.status().role, crate::consensus::Role::Leader);
        alone
    }

    /// Turns until nothing more comes of it; nothing is synced.
    fn turn(&mut self) {
        loop {
            let Effects { persist, checkpoints, replies, more, .. } = self.node.turn(self.now);
            if let Some(batch) = persist {
                assert_eq!(batch.number, self.written + 1, "batches are numbered one by one");
                self.written = batch.number;
            }
            self.pieces.extend(checkpoints);
            self.replies.extend(replies);
            if !more {
                return;
            }
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
    let mut alone = Alone::new(Limits::default());
    let ticket = alone.submit(put("k", "1"));
    assert!(alone.replies.is_empty(), "answered before the sync");
    assert_eq!(alone.status().entries, 0, "applied before the sync");
    alone.sync();
    assert!(matches!(alone.replies.get(&ticket), Some(Ok(_))), "{:?}", alone.replies);
    let ticket = alone.submit(get("k"));
    assert_eq!(value(&alone.replies[&ticket].as_ref().expect("a read")[0]), Some("1".into()));
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let mut alone = Alone::new(Limits::default());
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
    let mut alone = Alone::new(Limits { log_entries: 10, ..Limits::default() });
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
}
