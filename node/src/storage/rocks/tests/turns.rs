//! Births, ends and several turns in one batch.

use super::*;

const G: GroupId = GroupId(1);

fn ended(replica: u64) -> (GroupId, ReplicaId) {
    (G, ReplicaId(replica))
}

/// What a replica is asked for over a few turns, the first with its birth.
fn turns() -> Vec<Persist> {
    vec![
        Persist { reset: Some(BASE), ..append(1, entries(2..=8, 2)) },
        append(1, entries(9..=90, 2)),
        // Another leader.
        append(1, entries(4..=5, 3)),
        Persist { truncate_to: Some(LogIndex(3)), ..append(1, entries(6..=7, 3)) },
        Persist { hard_state: Some(hard_state(4, 9, 6)), ..persist(1) },
        // A snapshot, and a log behind it.
        Persist { reset: Some(SnapshotPoint { index: 50, term: 4 }), ..append(1, entries(51..=60, 4)) },
        Persist { truncate_to: Some(LogIndex(55)), ..append(1, entries(58..=59, 5)) },
    ]
}

#[test]
fn turns_that_queued_up_are_written_at_once() {
    let turns = turns();
    let all = turns.len();
    for (from, to) in (0..all).map(|from| (from, all)).chain((1..all).map(|to| (0, to))) {
        let (apart, together) = (Dir::new(), Dir::new());
        let (mut one, mut other) = (open(&apart), open(&together));
        turns[..to].iter().for_each(|turn| one.1[0].write(std::slice::from_ref(turn)).expect("a turn"));
        turns[..from].iter().for_each(|turn| other.1[0].write(std::slice::from_ref(turn)).expect("a turn"));
        other.1[0].write(&turns[from..to]).expect("the turns that queued up");
        let want = one.1[0].load(G);
        assert_eq!(other.1[0].load(G), want, "turns {from} to {to}");
        drop(other);
        assert_eq!(open(&together).1[0].load(G), want, "turns {from} to {to}, after a restart");
    }
}

#[test]
fn an_end_and_the_next_birth_are_one_batch() {
    let dir = Dir::new();
    let (logs, mut lanes) = open(&dir);
    lanes[0].write(&turns()).expect("its life");
    let successor = Persist { reset: Some(BASE), replica: ReplicaId(6), ..append(1, entries(2..=2, 7)) };
    lanes[0].commit(&[ended(5)], &[birth(2, 5), successor]).expect("its end, and the next");
    assert_eq!(logs.shared.lane_number(1).expect("a number"), 2, "a batch for each commit");
    drop((logs, lanes));
    let (_logs, lanes) = open(&dir);
    let log = load(&lanes[0], 1);
    assert_eq!((log.replica, log.base, indexes(&log)), (ReplicaId(6), BASE, vec![(2, 7)]));
    assert_eq!(load(&lanes[0], 2).replica, ReplicaId(5));
}

#[test]
fn what_an_earlier_turn_asked_for_a_destroyed_replica_is_passed_over() {
    let dir = Dir::new();
    {
        let (_logs, mut lanes) = open(&dir);
        lanes[0].write(&[birth(1, 5), birth(2, 5)]).expect("births");
        // Three turns: 5 writes; 5 goes and 6 begins; 6 goes and 7 begins.
        let of = |replica, persist| Persist { replica: ReplicaId(replica), ..persist };
        let batch = [
            append(1, entries(2..=3, 2)),
            append(2, entries(2..=3, 2)),
            birth(1, 6),
            of(6, append(1, entries(2..=9, 3))),
            birth(1, 7),
            of(7, append(1, entries(2..=4, 4))),
        ];
        lanes[0].commit(&[ended(5), ended(6)], &batch).expect("three turns");
    }
    let (_logs, mut lanes) = open(&dir);
    let log = load(&lanes[0], 1);
    assert_eq!((log.replica, indexes(&log)), (ReplicaId(7), vec![(2, 4), (3, 4), (4, 4)]));
    assert_eq!(indexes(&load(&lanes[0], 2)), [(2, 2), (3, 2)], "the other group's go on");
    // Born and gone before anything of it was written.
    lanes[0].commit(&[ended(7), ended(8)], &[birth(1, 8)]).expect("a short life");
    assert_eq!(lanes[0].holding(G), Some(Holding::Gone { highest: ReplicaId(8) }));
}

#[test]
fn an_id_that_was_here_never_begins_again() {
    let dir = Dir::new();
    {
        let (_logs, mut lanes) = open(&dir);
        lanes[0].write(&[birth(1, 5), birth(2, 5)]).expect("births");
        lanes[0].write(&[append(1, entries(2..=300, 2)), append(2, entries(2..=2, 2))]).expect("a turn");
        lanes[0].destroy(G, ReplicaId(4)).expect("an older one is gone already");
        assert_eq!(load(&lanes[0], 1).entries.len(), 299);
        lanes[0]
            .commit(&[ended(5), (GroupId(3), ReplicaId(8))], &[])
            .expect("its end, and of one that was never here");
    }
    let refused = |replica: u64, highest: u64, group: u32| {
        let (_logs, mut lanes) = open(&dir);
        let error = lanes[0].write(&[birth(group, replica)]).expect_err("refused");
        let shard = group - 1;
        let text = format!(
            "replica {replica} of shard {shard} can't begin here: replica {highest} has been here, and ids only rise"
        );
        assert_eq!(error.to_string(), text);
        assert!(matches!(lanes[1].write(&[birth(9, 5)]), Err(StoreError::Poisoned { .. })));
    };
    refused(5, 5, 1);
    refused(4, 5, 1);
    refused(8, 8, 3);
    refused(4, 5, 2);
    let (_logs, mut lanes) = open(&dir);
    let lane = &mut lanes[0];
    assert_eq!(lane.holding(G), Some(Holding::Gone { highest: ReplicaId(5) }));
    assert_eq!((lane.load(G), lane.holding(GroupId(9))), (Ok(None), None));
    lane.write(&[birth(1, 6), birth(3, 9)]).expect("higher ids");
    assert_eq!(indexes(&load(lane, 1)), [], "nothing of its forerunner's log");
    assert_eq!(indexes(&load(lane, 2)), [(2, 2)], "the next group is untouched");
}
