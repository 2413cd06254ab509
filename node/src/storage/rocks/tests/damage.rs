//! Records that lie: detected, named, and never taken for the truth.

use super::*;

#[test]
fn a_batch_that_is_missing_in_the_middle_is_noticed() {
    let dir = Dir::new();
    let (logs, mut lanes) = open(&dir);
    lanes[0].write(&[birth(1, 5), birth(2, 5)]).expect("births");
    // As if the batch with number 2 had been lost between two logs that can be read.
    lanes[0].lane_mut().number += 1;
    lanes[0].write(&[append(1, entries(2..=3, 2))]).expect("a turn");
    drop((logs, lanes));
    let error = read(&dir.0).expect_err("a batch is missing");
    assert!(error.to_string().contains("of the 3 batches of lane 1, 2 are there"), "{error}");
}

/// Replaces one record in a small directory; what the groups 1 and 2 say after that, and once more after a restart.
fn with_record(change: impl FnOnce(&RocksLogs)) -> Vec<Result<Option<RecoveredLog>, Damage>> {
    let dir = small();
    let (logs, lanes) = open(&dir);
    change(&logs);
    drop((logs, lanes));
    let (_logs, mut lanes) = open(&dir);
    let found: Vec<_> = (1..=2).map(|group| lanes[0].load(GroupId(group))).collect();
    // It stays damaged until it is ended.
    if let Err(damage) = &found[0] {
        assert_eq!(lanes[0].load(GroupId(1)).as_ref(), Err(damage));
        assert_eq!(lanes[0].holding(GroupId(1)), Some(Holding::Damaged(damage.clone())));
        lanes[0].commit(&[(GroupId(1), ReplicaId(5))], &[birth(1, 6)]).expect("its end, and its successor");
        assert_eq!(load(&lanes[0], 1).entries, []);
    }
    found
}

fn check(text: &str, change: impl FnOnce(&RocksLogs)) {
    let found = with_record(change);
    let damage = found[0].as_ref().expect_err("damaged");
    assert_eq!(damage.to_string(), format!("the log of shard 0 is damaged: {text}"));
    assert!(matches!(&found[1], Ok(Some(log)) if indexes(log) == [(2, 2), (3, 2)]), "the other is sound");
}

const G: GroupId = GroupId(1);
const R: ReplicaId = ReplicaId(5);

fn put(logs: &RocksLogs, family: &str, key: &[u8], value: &[u8]) {
    logs.shared.db.put_cf(&logs.shared.family(family), key, value).expect("a record");
}

fn delete(logs: &RocksLogs, family: &str, key: &[u8]) {
    logs.shared.db.delete_cf(&logs.shared.family(family), key).expect("no record");
}

#[test]
fn a_damaged_record_stops_its_replica_only() {
    let entry_at = |index| record::entry_key(G, R, index);
    let state = record::replica_key(G, R);
    let bounds = record::bounds_key(G, R);
    check("entry 3: its checksum is wrong", |logs| put(logs, options::LOG, &entry_at(3), b"\x01garbage"));
    check("entry 3: its checksum is wrong", |logs| {
        // A sound record in another's place.
        let other = record::entry_record(&entry_at(2), &entry(3, 2, "2/3"));
        put(logs, options::LOG, &entry_at(3), &other);
    });
    check("entry 3 is missing, 4 follows", |logs| delete(logs, options::LOG, &entry_at(3)));
    check("it ends at entry 3 of term 2, not at 4 of 3", |logs| delete(logs, options::LOG, &entry_at(4)));
    check("it ends at entry 4 of term 2, not at 4 of 3", |logs| {
        put(logs, options::LOG, &entry_at(4), &record::entry_record(&entry_at(4), &entry(4, 2, "2/4")));
    });
    check("entry 5 lies behind the last, 4", |logs| {
        put(logs, options::LOG, &entry_at(5), &record::entry_record(&entry_at(5), &entry(5, 3, "")));
    });
    check("entry 4 has term 3 after term 4", |logs| {
        put(logs, options::LOG, &entry_at(3), &record::entry_record(&entry_at(3), &entry(3, 4, "")));
    });
    check("its hard state: its checksum is wrong", |logs| put(logs, options::HARD_STATE, &state, b""));
    check("its hard state has term 1, its last entry 3", |logs| delete(logs, options::HARD_STATE, &state));
    check("its hard state commits 9, behind the last entry 4", |logs| {
        put(logs, options::HARD_STATE, &state, &record::hard_state_record(&state, &hard_state(3, 0, 9)));
    });
    check("its bounds are missing", |logs| delete(logs, options::META, &bounds));
    check("its bounds: what it says makes no sense", |logs| {
        let point = |index| SnapshotPoint { index, term: 2 };
        let turned = Bounds { base: point(4), last: point(2) };
        put(logs, options::META, &bounds, &record::bounds_record(&bounds, turned));
    });
    check("the record of its replica: its checksum is wrong", |logs| {
        put(logs, options::IDENTITY, &record::group_key(G), b"");
    });
}

#[test]
fn a_damaged_entry_that_truncation_needs_keeps_one_log_long() {
    let dir = small();
    {
        let (logs, mut lanes) = open(&dir);
        put(&logs, options::LOG, &record::entry_key(G, R, 3), b"");
        let turn = Persist { truncate_to: Some(LogIndex(3)), ..persist(1) };
        lanes[0].write(&[append(2, entries(4..=4, 2)), turn]).expect("the others' part is written");
        lanes[1].write(&[persist(2)]).expect("no other replica is concerned");
    }
    let (_, sound, damaged) = read(&dir.0).expect("a start");
    assert_eq!((sound.len(), damaged.len()), (1, 1), "the next start knows whose it is");
}

#[test]
fn a_damaged_identity_damages_everything() {
    let nonsense = record::seal(record::Kind::Node, record::NODE_KEY, b"short");
    let no_cluster = Identity { node: NodeId(1), incarnation: Incarnation(7), cluster: None };
    let no_cluster = record::node_record(&no_cluster);
    type Case<'a> = (&'a [u8], Option<&'a [u8]>, &'a str);
    let cases: [Case<'_>; 6] = [
        (record::NODE_KEY, Some(b""), "the node's identity: its checksum is wrong"),
        (record::NODE_KEY, Some(&nonsense), "the node's identity: what it says makes no sense"),
        (record::NODE_KEY, None, "the node's identity is missing"),
        (record::BIRTH_KEY, Some(b"\x01map"), "the map that the node began with: its checksum is wrong"),
        (record::BIRTH_KEY, None, "the map that the node began with is missing"),
        (record::NODE_KEY, Some(&no_cluster), "the map that the node began with is there, and no cluster"),
    ];
    for (key, value, text) in cases {
        let dir = small();
        let (logs, lanes) = open(&dir);
        match value {
            Some(value) => put(&logs, options::IDENTITY, key, value),
            None => delete(&logs, options::IDENTITY, key),
        }
        drop((logs, lanes));
        let error = read(&dir.0).expect_err("no identity");
        assert!(matches!(error, StoreError::Damaged { .. }) && error.to_string().contains(text), "{error}");
    }
}
