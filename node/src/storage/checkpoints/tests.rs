//! Checkpoint files on a file system that fails where a test says so, and on the real one.

mod background;
mod crashes;
mod damage;
mod faulty;
mod golden;
mod publish;

use std::sync::Arc;

use bytes::Bytes;

use super::{
    BackgroundWriter, CheckpointConfig, CheckpointError, CheckpointId, CheckpointManager, DiskFiles, Files, KEPT,
    LoadError, Owner, Published, ReadError, Recovered, Report, Step,
};
use crate::{
    checkpoint::{Compression, ConfState, Encoder, Head, Peer},
    machine::{
        capture::MachineHead,
        codec::FEATURE_LEVEL,
        hash::StateHash,
        store::{Entry, weight},
    },
    types::{ClusterUid, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, Term, Timestamp, Version},
};
use faulty::FaultyFiles;

const OWNER: Owner = Owner { cluster: ClusterUid(0x0102), group: GroupId(3), generation: 2, replica: ReplicaId(17) };

fn id(index: u64) -> CheckpointId {
    CheckpointId { group: OWNER.group, replica: OWNER.replica, index: LogIndex(index) }
}

/// The pieces of a checkpoint of `entries` entries whose values tell its index.
fn pieces_of(owner: &Owner, index: u64, entries: u64, compression: Compression) -> Vec<Bytes> {
    let entries: Vec<_> = (0..entries)
        .map(|n| {
            let expires_at = (n == 1).then_some(Timestamp(9_000));
            Arc::new(Entry::new(format!("key {n}").as_bytes(), index.to_string().as_bytes(), Version(n), expires_at))
        })
        .collect();
    let mut hash = StateHash::default();
    entries.iter().for_each(|entry| hash.add(entry));
    let head = Head {
        term: Term(7),
        cluster: owner.cluster,
        group: owner.group,
        generation: owner.generation,
        feature_level: FEATURE_LEVEL,
        conf: ConfState {
            voters: vec![ReplicaId(17), ReplicaId(18)],
            learners: vec![ReplicaId(19)],
            ..ConfState::default()
        },
        conf_version: 9,
        peers: vec![Peer {
            replica: ReplicaId(17),
            node: NodeId(1),
            incarnation: Incarnation(0xabc),
            address: "node-0:7000".to_owned(),
        }],
        machine: MachineHead {
            applied: LogIndex(index),
            last_version: Version(1_000),
            entries: entries.len() as u64,
            weight_bytes: entries.iter().map(|entry| weight(entry)).sum(),
            hash: hash.0,
            ..MachineHead::default()
        },
        ..Head::default()
    };
    let (mut encoder, header) = Encoder::with_compression(&head, compression);
    let mut pieces = vec![header];
    pieces.extend(entries.chunks(2).map(|some| encoder.block(some)));
    pieces.push(encoder.finish().expect("the entries of the head"));
    pieces
}

fn pieces(index: u64) -> Vec<Bytes> {
    pieces_of(&OWNER, index, 3, Compression::Lz4)
}

/// Writes and publishes one.
fn publish(manager: &CheckpointManager, index: u64) -> Result<Published, CheckpointError> {
    let mut draft = manager.begin(id(index))?;
    for piece in pieces(index) {
        draft.write(&piece)?;
    }
    draft.publish()
}

/// A manager on a faulty file system, with these published.
fn managed(files: &Arc<FaultyFiles>, published: &[u64]) -> CheckpointManager {
    let manager = open(files);
    for index in published {
        publish(&manager, *index).expect("no fault is set");
    }
    manager
}

fn open(files: &Arc<FaultyFiles>) -> CheckpointManager {
    let files: Arc<dyn Files> = files.clone();
    CheckpointManager::open_with(CheckpointConfig::new("data/checkpoints"), files).expect("the directory opens")
}

fn indexes(manager: &CheckpointManager) -> Vec<u64> {
    manager.list().expect("a listing").iter().map(|file| file.id.index.0).collect()
}

/// The index of what recovery finds, and whether it is whole.
fn found(recovered: &Recovered) -> Option<u64> {
    let loaded = recovered.checkpoint.as_ref()?;
    let index = loaded.id.index.0;
    assert_eq!(loaded.head.index().0, index);
    assert_eq!(loaded.entries.len(), 3);
    let value = index.to_string();
    assert!(loaded.entries.iter().all(|entry| entry.value() == value.as_bytes()), "of another checkpoint");
    Some(index)
}

fn newest(manager: &CheckpointManager) -> Option<u64> {
    found(&manager.newest(&OWNER).expect("a search"))
}
