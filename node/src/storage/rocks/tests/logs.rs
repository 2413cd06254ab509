//! What was written is what a start finds.

use super::*;

#[test]
fn what_was_written_is_there_after_a_restart() {
    let dir = Dir::new();
    let written = {
        let (_logs, mut lanes) = open(&dir);
        lanes[0].create(&[birth(0, 5), birth(1, 5)]).expect("births");
        lanes[0].write(&[append(0, entries(2..=4, 2)), append(1, entries(2..=2, 1))]).expect("a turn");
        lanes[1].create(&[birth(2, 9)]).expect("a birth");
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
            lanes[0].create(&[birth(1, 5)]).expect("a birth");
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
        lanes[0].create(&[birth(1, 5)]).expect("a birth");
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
        lanes[0].create(&[birth(1, 5), birth(2, 5)]).expect("births");
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
fn an_id_that_was_here_never_begins_again() {
    let dir = Dir::new();
    {
        let (_logs, mut lanes) = open(&dir);
        lanes[0].create(&[birth(1, 5), birth(2, 5)]).expect("births");
        lanes[0].write(&[append(1, entries(2..=300, 2)), append(2, entries(2..=2, 2))]).expect("a turn");
        lanes[0].destroy(GroupId(1), ReplicaId(4)).expect("an older one is gone already");
        assert_eq!(load(&lanes[0], 1).entries.len(), 299);
        lanes[0].destroy(GroupId(1), ReplicaId(5)).expect("its end");
        lanes[0].destroy(GroupId(3), ReplicaId(8)).expect("it was lost before it was here");
    }
    let (_logs, mut lanes) = open(&dir);
    let lane = &mut lanes[0];
    assert_eq!(lane.holding(GroupId(1)), Some(Holding::Gone { highest: ReplicaId(5) }));
    assert_eq!(lane.load(GroupId(1)), Ok(None));
    let refused = |result: Result<(), StoreError>| result.expect_err("refused").to_string();
    let text = "replica 5 of shard 0 can't begin here: replica 5 has been here, and ids only rise";
    assert_eq!(refused(lane.create(&[birth(1, 5)])), text);
    refused(lane.create(&[birth(3, 8)]));
    refused(lane.create(&[birth(2, 5)]));
    assert_eq!(refused(lane.create(&[birth(2, 6)])), "replica 6 of shard 1 is not here, replica 5 is");
    refused(lane.create(&[birth(4, 5), birth(4, 6)]));
    assert_eq!(lane.holding(GroupId(4)), None, "all or none");
    lane.create(&[birth(1, 6), birth(3, 9)]).expect("higher ids");
    assert_eq!(indexes(&load(lane, 1)), [], "nothing of its forerunner's log");
    assert_eq!(indexes(&load(lane, 2)), [(2, 2)], "the next group is untouched");
}

#[test]
fn a_request_that_does_not_fit_ends_all_writing() {
    let misfits: [fn() -> Persist; 6] = [
        || append(1, entries(5..=5, 2)),
        || append(1, entries(1..=2, 2)),
        || append(1, vec![entry(2, 2, ""), entry(4, 2, "")]),
        || Persist { truncate_to: Some(LogIndex(9)), ..persist(1) },
        || Persist { replica: ReplicaId(6), ..append(1, entries(2..=2, 2)) },
        || append(2, entries(2..=2, 2)),
    ];
    for misfit in misfits {
        let dir = Dir::new();
        {
            let (_logs, mut lanes) = open(&dir);
            lanes[0].create(&[birth(1, 5)]).expect("a birth");
            lanes[0].write(&[append(1, entries(2..=2, 2))]).expect("a turn");
            let error = lanes[0].write(&[append(1, entries(3..=3, 2)), misfit()]).expect_err("it does not fit");
            let again = lanes[1].create(&[birth(7, 5)]).expect_err("poisoned, for every lane");
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
        lanes[0].create(&[birth(1, 5)]).expect("a birth");
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
    let dir = Dir::new();
    let (_logs, mut lanes) = open(&dir);
    let births: Vec<_> = (1..=20).map(|group| birth(group, 5)).collect();
    lanes[0].create(&births).expect("births");
    let turn: Vec<_> = (1..=20).map(|group| append(group, entries(2..=u64::from(group) + 1, 2))).collect();
    lanes[0].write(&turn).expect("a turn");
    std::thread::scope(|scope| {
        for (part, lane) in [&lanes[0], &lanes[1]].into_iter().enumerate() {
            scope.spawn(move || {
                for group in (1..=20).filter(|group| group % 2 == part as u32) {
                    assert_eq!(load(lane, group).entries.len(), group as usize);
                }
            });
        }
    });
}
