//! What was written is what a start finds.

use super::*;

#[test]
fn what_was_written_is_there_after_a_restart() {
    let dir = Dir::new();
    let written = {
        let (_logs, mut lanes) = open(&dir);
        lanes[0].write(&[birth(0, 5), birth(1, 5)]).expect("births");
        lanes[0].write(&[append(0, entries(2..=4, 2)), append(1, entries(2..=2, 1))]).expect("a turn");
        lanes[1].write(&[birth(2, 9)]).expect("a birth");
        lanes[0].write(&[append(0, entries(5..=6, 3))]).expect("a turn");
        let mut conf = entry(3, 1, "");
        conf.set_entry_type(raft::eraftpb::EntryType::EntryConfChangeV2);
        lanes[0].write(&[append(1, vec![conf])]).expect("a turn");
        (load(&lanes[1], 0), load(&lanes[1], 1), load(&lanes[0], 2))
    };
    let (logs, lanes) = open(&dir);
    assert_eq!((load(&lanes[0], 0), load(&lanes[0], 1), load(&lanes[0], 2)), written);
    let log = written.0;
    assert_eq!((log.replica, log.generation, log.base), (ReplicaId(5), 3, BASE));
    assert_eq!(log.hard_state, hard_state(3, 5, 1));
    assert_eq!(log.entries, [entries(2..=4, 2), entries(5..=6, 3)].concat());
    assert_eq!(written.2.hard_state, hard_state(1, 0, 1), "none was written: that of its base");
    assert_eq!(logs.identity(), Identity { node: NodeId(1), incarnation: Incarnation(7), cluster: None });
    let live = |replica| Holding::Live { replica: ReplicaId(replica), generation: 3 };
    let held = [(GroupId(0), live(5)), (GroupId(1), live(5)), (GroupId(2), live(9))];
    assert_eq!(lanes[0].groups(), held);
    assert_eq!(lanes[0].load(GroupId(3)), Ok(None));
}

#[test]
fn an_overwritten_tail_never_comes_back() {
    // One by one, and as a range.
    for last in [10, 500] {
        let dir = Dir::new();
        {
            let (_logs, mut lanes) = open(&dir);
            lanes[0].write(&[birth(1, 5)]).expect("a birth");
            lanes[0].write(&[append(1, entries(2..=last, 2))]).expect("a turn");
            lanes[0].write(&[append(1, entries(4..=5, 3))]).expect("a turn");
        }
        let (_logs, mut lanes) = open(&dir);
        let left = [(2, 2), (3, 2), (4, 3), (5, 3)];
        assert_eq!(indexes(&load(&lanes[0], 1)), left);
        // Nor when the log grows over it again.
        lanes[0].write(&[append(1, entries(6..=6, 3))]).expect("a turn");
        assert_eq!(indexes(&load(&lanes[0], 1)), [&left[..], &[(6, 3)]].concat());
    }
}

#[test]
fn a_snapshot_takes_the_logs_place() {
    let dir = Dir::new();
    let point = SnapshotPoint { index: 90, term: 6 };
    {
        let (_logs, mut lanes) = open(&dir);
        lanes[0].write(&[birth(1, 5)]).expect("a birth");
        lanes[0].write(&[append(1, entries(2..=8, 2))]).expect("a turn");
        let turn = Persist { reset: Some(point), ..append(1, entries(91..=92, 7)) };
        lanes[0].write(&[turn]).expect("a turn");
    }
    let (_logs, mut lanes) = open(&dir);
    let log = load(&lanes[0], 1);
    assert_eq!((log.base, indexes(&log)), (point, vec![(91, 7), (92, 7)]));
    // To the point where it is already: a replica that restarts from a checkpoint which its log does not reach.
    let back = SnapshotPoint { index: 3, term: 2 };
    let turn = Persist { reset: Some(back), hard_state: Some(hard_state(7, 0, 3)), ..persist(1) };
    lanes[0].write(&[turn]).expect("a turn");
    let log = load(&lanes[0], 1);
    assert_eq!((log.base, indexes(&log)), (back, vec![]));
}

#[test]
fn truncation_keeps_the_term_before_the_first_entry() {
    let dir = Dir::new();
    let to = |index| Some(LogIndex(index));
    {
        let (_logs, mut lanes) = open(&dir);
        lanes[0].write(&[birth(1, 5), birth(2, 5)]).expect("births");
        lanes[0].write(&[append(1, [entries(2..=300, 2), entries(301..=302, 3)].concat())]).expect("a turn");
        lanes[0].write(&[Persist { truncate_to: to(200), ..persist(1) }]).expect("a truncation");
        let log = load(&lanes[0], 1);
        assert_eq!((log.base, log.entries.len()), (SnapshotPoint { index: 200, term: 2 }, 102));
        lanes[0].write(&[Persist { truncate_to: to(100), ..persist(1) }]).expect("nothing to do");
        // Entries that the same batch brings, in this request or an earlier one.
        let turn = [
            append(2, entries(2..=4, 2)),
            Persist { truncate_to: to(3), ..persist(2) },
            Persist { truncate_to: to(302), ..append(1, entries(302..=303, 4)) },
        ];
        lanes[0].write(&turn).expect("a turn");
    }
    let (_logs, lanes) = open(&dir);
    let log = load(&lanes[0], 1);
    assert_eq!((log.base, indexes(&log)), (SnapshotPoint { index: 302, term: 4 }, vec![(303, 4)]));
    let log = load(&lanes[0], 2);
    assert_eq!((log.base, indexes(&log)), (SnapshotPoint { index: 3, term: 2 }, vec![(4, 2)]));
}

#[test]
fn a_request_that_does_not_fit_ends_all_writing() {
    type Misfit = (fn() -> Persist, &'static str);
    let misfits: [Misfit; 8] = [
        (|| append(1, entries(5..=5, 2)), "the log of shard 0 can't take that: entries 5 to 5, onto 2 to 3"),
        (|| append(1, entries(1..=2, 2)), "the log of shard 0 can't take that: entries 1 to 2, onto 2 to 3"),
        (
            || append(1, vec![entry(2, 2, ""), entry(4, 2, "")]),
            "the log of shard 0 can't take that: entries 2 to 4, onto 2 to 3",
        ),
        (
            || Persist { truncate_to: Some(LogIndex(9)), ..persist(1) },
            "the log of shard 0 can't take that: a truncation to 9, behind its last entry 3",
        ),
        (
            || Persist { generation: 4, ..append(1, entries(2..=2, 2)) },
            "the log of shard 0 can't take that: replica 5 is of generation 3, not 4",
        ),
        (|| Persist { replica: ReplicaId(6), ..persist(1) }, "replica 6 of shard 0 is not here, replica 5 is"),
        (|| append(2, entries(2..=2, 2)), "replica 5 of shard 1 is not here"),
        (|| birth(1, 6), "the log of shard 0 can't take that: replica 6 begins, and replica 5 was not destroyed"),
    ];
    for (misfit, text) in misfits {
        let dir = Dir::new();
        {
            let (_logs, mut lanes) = open(&dir);
            lanes[0].write(&[birth(1, 5)]).expect("a birth");
            lanes[0].write(&[append(1, entries(2..=2, 2))]).expect("a turn");
            let error = lanes[0].write(&[append(1, entries(3..=3, 2)), misfit()]).expect_err("it does not fit");
            assert_eq!(error.to_string(), text);
            let again = lanes[1].write(&[birth(7, 5)]).expect_err("poisoned, for every lane");
            assert_eq!(again.to_string(), format!("nothing is written any more since a write failed: {error}"));
            assert!(matches!(again, StoreError::Poisoned { .. }));
        }
        let (_logs, lanes) = open(&dir);
        assert_eq!(indexes(&load(&lanes[0], 1)), [(2, 2)], "all or nothing of a turn");
    }
}

#[test]
fn without_sync_it_is_there_after_the_process_has_ended() {
    let dir = Dir::new();
    let options = LogOptions { sync_writes: false, ..options() };
    {
        let logs = RocksLogs::open(&dir.0, claim(), &options).expect("a new directory");
        let mut lanes = logs.lanes().expect("lanes");
        lanes[0].write(&[birth(1, 5)]).expect("a birth");
        lanes[0].write(&[append(1, entries(2..=3, 2))]).expect("a turn");
        lanes[0].write(&[Persist { hard_state: Some(hard_state(2, 5, 3)), ..persist(1) }]).expect("a turn");
        logs.sync().expect("a sync at the end");
    }
    let (_logs, lanes) = open(&dir);
    let log = load(&lanes[0], 1);
    assert_eq!((indexes(&log), log.hard_state), (vec![(2, 2), (3, 2)], hard_state(2, 5, 3)));
}

#[test]
fn logs_are_loaded_by_several_threads() {
    fn can_be_sent<T: Send>() {}
    fn can_be_shared<T: Sync>() {}
    can_be_sent::<RocksLane>();
    can_be_sent::<RocksLogs>();
    can_be_shared::<RocksLogs>();
    can_be_sent::<crate::storage::checkpoints::BackgroundWriter>();

    let dir = Dir::new();
    let (logs, mut lanes) = open(&dir);
    let births: Vec<_> = (1..=20).map(|group| birth(group, 5)).collect();
    lanes[0].write(&births).expect("births");
    let turn: Vec<_> = (1..=20).map(|group| append(group, entries(2..=u64::from(group) + 1, 2))).collect();
    lanes[0].write(&turn).expect("a turn");
    let logs = &logs;
    std::thread::scope(|scope| {
        for part in 0..2 {
            scope.spawn(move || {
                for group in (1..=20).filter(|group| group % 2 == part) {
                    let log = logs.load(GroupId(group)).expect("a sound log").expect("a replica");
                    assert_eq!(log.entries.len(), group as usize);
                }
            });
        }
    });
}

#[test]
fn another_number_of_lanes_finds_the_same_logs() {
    let dir = Dir::new();
    for (index, lanes) in (1..).zip([3, 1, LogOptions::MAX_LANES, 2]) {
        let logs = RocksLogs::open(&dir.0, claim(), &LogOptions { lanes, ..options() }).expect("a sound directory");
        let mut lanes = logs.lanes().expect("lanes");
        for group in 1..=3 {
            let lane = group as usize % lanes.len();
            if index == 1 {
                lanes[lane].write(&[birth(group, 5)]).expect("a birth");
            }
            let before: Vec<_> = (2..=index).map(|index| (index, 2)).collect();
            assert_eq!(indexes(&load(&lanes[lane], group)), before);
            lanes[lane].write(&[append(group, entries(index + 1..=index + 1, 2))]).expect("a turn");
        }
    }
}
