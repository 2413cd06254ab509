//! Checkpoints of a shard, without a cluster around it: `cargo run -p crema --example checkpointing [-- DIR]`.
//!
//! A state machine takes writes; three checkpoints of it are published, of which the two newest stay; the newest is then
//! damaged, and recovery goes back to the older. A node with RocksDB does all of this by itself.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use crema::{
    CheckpointConfig, CheckpointManager,
    checkpoint::{ConfState, Encoder, Head},
    machine::{
        LogRecord, Machine,
        capture::CaptureStep,
        codec::FEATURE_LEVEL,
        command::{Command, Condition, Expiry, Put},
        model::ModelStore,
    },
    storage::checkpoints::{CheckpointId, LoadedCheckpoint, Owner},
    types::{ClusterUid, GroupId, LogIndex, ReplicaId, Term, Timestamp},
};

/// Writes between two checkpoints.
const WRITES: u64 = 10_000;
/// Entries that one step of a capture hands out; between two steps a node goes on with its writes.
const STEP: usize = 1_000;
/// Whose state it is: one replica of one shard of one cluster.
const OWNER: Owner = Owner { cluster: ClusterUid(1), group: GroupId(1), generation: 1, replica: ReplicaId(1) };

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args().nth(1).map(PathBuf::from);
    let dir = given
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("crema-checkpointing-{}", std::process::id())));
    let shown = show(&dir);
    if given.is_none() {
        std::fs::remove_dir_all(&dir)?;
    }
    shown
}

fn show(dir: &Path) -> Result<(), Box<dyn Error>> {
    let config = CheckpointConfig::new(dir).with_log_threshold(WRITES).with_compression(true);
    let manager = CheckpointManager::open(config)?;
    if !manager.list()?.is_empty() {
        return Err(format!("{} has checkpoints already", dir.display()).into());
    }
    println!("checkpoints go to {}", dir.display());

    let mut machine = Machine::new(ModelStore::new());
    for _ in 0..3 {
        write(&mut machine, manager.config().triggers.log_entries);
        checkpoint(&mut machine, &manager)?;
    }
    for file in manager.list()? {
        println!("there is the {}, {} bytes", file.id, file.bytes);
    }

    let newest = newest(&manager)?;
    println!("the newest holds {} entries up to {}", newest.entries.len(), newest.id.index);
    let restored = Machine::restore(ModelStore::new(), &newest.head.machine, newest.entries.into_iter())?;
    println!("a restored machine has the same state hash: {}", restored.state_hash() == machine.state_hash());

    flip_a_bit(&manager, newest.id)?;
    println!("a bit of it is flipped");
    let older = self::newest(&manager)?;
    println!("recovery takes the older one, up to {}; the log has the rest", older.id.index);
    Ok(())
}

/// Applies so many log entries, each a write of its own key.
fn write(machine: &mut Machine<ModelStore>, count: u64) {
    for _ in 0..count {
        let index = machine.applied().next();
        let put = Put {
            key: Bytes::from(format!("user:{}", index.0)),
            value: Bytes::from(format!("the value that entry {} wrote", index.0)),
            expiry: Expiry::Default,
            condition: Condition::Always,
            return_old: false,
        };
        let record =
            LogRecord { stamp: Timestamp(index.0), commands: vec![Command::Put(put)], ..LogRecord::default() };
        machine.apply(index, record);
    }
}

/// Captures the machine, step by step, and publishes what it was like at the first.
fn checkpoint(machine: &mut Machine<ModelStore>, manager: &CheckpointManager) -> Result<(), Box<dyn Error>> {
    let head = Head {
        term: Term(1),
        cluster: OWNER.cluster,
        group: OWNER.group,
        generation: OWNER.generation,
        feature_level: FEATURE_LEVEL,
        conf: ConfState { voters: vec![OWNER.replica], ..ConfState::default() },
        machine: machine.begin_capture(),
        ..Head::default()
    };
    let (mut encoder, header) = Encoder::with_compression(&head, manager.config().compression);
    let mut draft = manager.begin(id(head.index()))?;
    draft.write(&header)?;
    loop {
        match machine.capture_step(STEP) {
            CaptureStep::Entries(entries) => draft.write(&encoder.block(&entries))?,
            CaptureStep::Last(entries) => {
                draft.write(&encoder.block(&entries))?;
                break;
            }
            CaptureStep::Done => break,
        }
    }
    draft.write(&encoder.finish()?)?;
    let published = draft.publish()?;
    match published.log_until {
        Some(index) => println!("published the {}; the log may go up to {index}", published.id),
        None => println!("published the {}; the log stays until there is a second one", published.id),
    }
    Ok(())
}

fn id(index: LogIndex) -> CheckpointId {
    CheckpointId { group: OWNER.group, replica: OWNER.replica, index }
}

/// What a restart would begin with.
fn newest(manager: &CheckpointManager) -> Result<LoadedCheckpoint, Box<dyn Error>> {
    let recovered = manager.newest(&OWNER)?;
    for damage in &recovered.damaged {
        println!("the {} is damaged: {}", damage.id, damage.error);
    }
    recovered.checkpoint.ok_or_else(|| "there is no sound checkpoint".into())
}

fn flip_a_bit(manager: &CheckpointManager, id: CheckpointId) -> Result<(), Box<dyn Error>> {
    let file = manager.list()?.into_iter().find(|file| file.id == id).ok_or("it is not there")?;
    let mut bytes = std::fs::read(&file.path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Ok(std::fs::write(&file.path, bytes)?)
}
