//! The bytes of every record, pinned; and what a newer release writes is refused.

use bytes::Bytes;
use raft::eraftpb::EntryType;

use super::*;
use crate::storage::rocks::record::{BadRecord, GroupRecord, Kind};

/// One record: how it is written, and how it is read again.
struct Sample {
    kind: Kind,
    key: Vec<u8>,
    bytes: Vec<u8>,
    read: Read,
}

type Read = Box<dyn Fn(&[u8]) -> Result<String, BadRecord>>;

fn sample(name: &str) -> Sample {
    let (group, replica) = (GroupId(3), ReplicaId(0x1_0000_0005));
    let point = |index, term| SnapshotPoint { index, term };
    match name {
        "node" | "node-in-a-cluster" => {
            let cluster = (name != "node").then_some(ClusterUid(0xfedc_ba98));
            let identity = Identity { node: NodeId(7), incarnation: Incarnation(0xabc << 64), cluster };
            let read: Read = Box::new(|bytes| Ok(format!("{:?}", record::read_node(bytes)?)));
            let bytes = record::node_record(&identity);
            Sample { kind: Kind::Node, key: record::NODE_KEY.to_vec(), bytes, read }
        }
        "birth" => {
            let read: Read = Box::new(|bytes| Ok(format!("{:?}", Bytes::from(record::read_birth(bytes)?))));
            let bytes = record::birth_record(b"map");
            Sample { kind: Kind::Birth, key: record::BIRTH_KEY.to_vec(), bytes, read }
        }
        "live" | "gone" => {
            let live = GroupRecord::Live { replica, generation: 2 };
            let says = if name == "live" { live } else { GroupRecord::Gone { highest: replica } };
            let read: Read = Box::new(move |bytes| Ok(format!("{:?}", record::read_group(group, bytes)?)));
            let bytes = record::group_record(group, says);
            Sample { kind: Kind::Group, key: record::group_key(group), bytes, read }
        }
        "bounds" => {
            let key = record::bounds_key(group, replica);
            let bytes = record::bounds_record(&key, Bounds { base: point(900, 4), last: point(1_000, 6) });
            let read: Read = {
                let key = key.clone();
                Box::new(move |bytes| Ok(format!("{:?}", record::read_bounds(&key, bytes)?)))
            };
            Sample { kind: Kind::Bounds, key, bytes, read }
        }
        "hard-state" => {
            let key = record::replica_key(group, replica);
            let bytes = record::hard_state_record(&key, &hard_state(6, 2, 999));
            let read: Read = {
                let key = key.clone();
                Box::new(move |bytes| {
                    let HardState { term, vote, commit, .. } = record::read_hard_state(&key, bytes)?;
                    Ok(format!("term {term} vote {vote} commit {commit}"))
                })
            };
            Sample { kind: Kind::HardState, key, bytes, read }
        }
        "entry" | "conf-change" => {
            let key = record::entry_key(group, replica, 1_000);
            let mut entry = entry(1_000, 6, "data");
            if name == "conf-change" {
                entry.set_entry_type(EntryType::EntryConfChangeV2);
            }
            let bytes = record::entry_record(&key, &entry);
            let read: Read = {
                let key = key.clone();
                Box::new(move |bytes| {
                    let entry = record::read_entry(&key, bytes)?;
                    let Entry { entry_type, term, index, data, context, .. } = &entry;
                    Ok(format!("{entry_type:?} term {term} index {index} data {data:?} context {context:?}"))
                })
            };
            Sample { kind: Kind::Entry, key, bytes, read }
        }
        "lane-number" => number(Kind::LaneNumber, record::lane_key(Kind::LaneNumber, 2)),
        "lane-count" => number(Kind::LaneCount, record::lane_key(Kind::LaneCount, 2)),
        "mark" => number(Kind::Mark, 2_u16.to_be_bytes().to_vec()),
        "format" => number(Kind::Format, b"crema data directory".to_vec()),
        _ => panic!("no sample {name}"),
    }
}

fn number(kind: Kind, key: Vec<u8>) -> Sample {
    let bytes = record::number_record(kind, &key, 0x1234);
    let read: Read = {
        let key = key.clone();
        Box::new(move |bytes| Ok(record::read_number(kind, &key, bytes)?.to_string()))
    };
    Sample { kind, key, bytes, read }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Key, bytes and meaning of a record; the checks need no answer of their own.
fn line(name: &str) -> String {
    let Sample { kind, key, bytes, read } = sample(name);
    for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        assert_eq!(read(&flipped), Err(BadRecord::Checksum), "{name}: bit {bit} of byte {at}");
    }
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "{name}: cut at {len}");
    }
    let content = &bytes[1..bytes.len() - 4];
    let longer = [content, &[0]].concat();
    if ![Kind::Entry, Kind::Birth].contains(&kind) {
        let read = read(&record::seal(kind, &key, &longer));
        assert_eq!(read, Err(BadRecord::Nonsense), "{name}: a byte too many");
    }
    // As a later release would write it: the checksum is right.
    let newer = record::sealed_as(record::VERSION + 1, kind, &key, &longer);
    assert_eq!(read(&newer), Err(BadRecord::Newer(2)), "{name}: newer");
    let meaning = read(&bytes).expect("what was just written");
    format!("key {}\n{}\n{meaning}\n", hex(&key), hex(&bytes))
}

#[test]
fn the_bytes_are_pinned() {
    crate::golden::check("src/storage/golden/records", || line);
}

#[test]
fn keys_sort_as_their_numbers() {
    let key = |group, replica, index| record::entry_key(GroupId(group), ReplicaId(replica), index);
    assert!(key(1, 5, 255) < key(1, 5, 256));
    assert!(key(1, 5, u64::MAX) < key(1, 6, 0));
    assert!(key(255, u64::MAX, u64::MAX) < key(256, 0, 0));
}
