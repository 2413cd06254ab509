//! A whole data directory as the first release wrote it: later releases must go on reading it, and know a newer one.
//!
//! `REWRITE=1` makes it when it is not there, and never touches one that is: a change of the format needs another
//! directory beside it.

use super::*;
use crate::storage::{CheckpointConfig, CheckpointManager, checkpoints::Owner};

const CLUSTER: ClusterUid = ClusterUid(0x0102);
const OWNER: Owner = Owner { cluster: CLUSTER, group: GroupId(3), generation: 2, replica: ReplicaId(17) };
const CHECKPOINT: SnapshotPoint = SnapshotPoint { index: 1_000, term: 7 };

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/storage").join(name)
}

fn of_owner(persist: Persist) -> Persist {
    Persist { group: OWNER.group, replica: OWNER.replica, generation: OWNER.generation, ..persist }
}

/// Logs that are partly sorted, partly in the write-ahead log, and the checkpoint that one of them goes on from.
fn make(at: &Path) {
    let dir = Dir::new();
    {
        let (mut logs, mut lanes) = open(&dir);
        logs.enter(CLUSTER, b"the map that it began with").expect("a cluster");
        let begin = Persist { reset: Some(CHECKPOINT), hard_state: Some(hard_state(7, 17, 1_000)), ..persist(3) };
        lanes[0].write(&[of_owner(begin), birth(1, 5), birth(2, 5)]).expect("births");
        lanes[0]
            .write(&[of_owner(append(3, entries(1_001..=1_090, 7))), append(1, entries(2..=9, 2))])
            .expect("a turn");
        lanes[1].write(&[append(2, entries(2..=3, 2))]).expect("a turn");
    }
    {
        let (_logs, mut lanes) = open(&dir);
        let turn = [of_owner(append(3, entries(1_003..=1_004, 8))), append(1, entries(10..=10, 3))];
        lanes[1].write(&turn).expect("a turn");
        lanes[0].commit(&[(GroupId(2), ReplicaId(5))], &[]).expect("an end");
    }
    let checkpoints = dir.0.join("checkpoints");
    fs::create_dir(&checkpoints).expect("a folder");
    let name = "g3-r17-i1000.mcrs";
    fs::copy(golden("checkpoints/golden").join(name), checkpoints.join(name)).expect("a checkpoint");
    remove_idle_files(&dir.0);
    copy(&dir.0, at);
}

/// A copy of it, to be opened.
fn directory() -> Dir {
    let golden = golden("golden/directory-1");
    if std::env::var_os("REWRITE").is_some() && !golden.exists() {
        make(&golden);
    }
    Dir::copy_of(&golden)
}

#[test]
fn the_first_releases_directory_is_read() {
    let dir = directory();
    let (logs, mut lanes) = open(&dir);
    assert_eq!(logs.identity(), Identity { node: NodeId(1), incarnation: Incarnation(7), cluster: Some(CLUSTER) });
    assert_eq!(logs.birth(), Some(&b"the map that it began with"[..]));
    let live = |replica, generation| Holding::Live { replica: ReplicaId(replica), generation };
    let gone = Holding::Gone { highest: ReplicaId(5) };
    assert_eq!(logs.groups(), [(GroupId(1), live(5, 3)), (GroupId(2), gone), (GroupId(3), live(17, 2))]);

    let log = load(&lanes[0], 3);
    assert_eq!((log.replica, log.generation, log.base), (OWNER.replica, OWNER.generation, CHECKPOINT));
    assert_eq!(log.entries, [entries(1_001..=1_002, 7), entries(1_003..=1_004, 8)].concat());
    assert_eq!(log.hard_state, hard_state(8, 5, 1));
    assert_eq!(load(&lanes[0], 1).entries, [entries(2..=9, 2), entries(10..=10, 3)].concat());

    let manager = CheckpointManager::open(CheckpointConfig::new(dir.0.join("checkpoints"))).expect("checkpoints");
    let recovered = manager.newest(&OWNER).expect("a search");
    let checkpoint = recovered.checkpoint.expect("one that the log goes on from");
    assert_eq!((checkpoint.head.index(), checkpoint.head.term.0), (LogIndex(CHECKPOINT.index), CHECKPOINT.term));

    // And written to.
    lanes[0].write(&[append(1, entries(11..=11, 3)), birth(2, 6)]).expect("a turn");
}

/// Opens a directory that a newer release wrote; what is said of it, and that nothing of it changes.
fn refused(dir: &Dir) -> String {
    let before = fs::read(dir.0.join("MARK")).expect("the mark");
    let error = try_open(&dir.0).err().expect("refused");
    assert!(matches!(error, StoreError::Newer { found: 2, supported: 1, .. }), "{}", chain(&error));
    assert_eq!(fs::read(dir.0.join("MARK")).expect("the mark"), before);
    error.to_string()
}

#[test]
fn a_newer_directory_is_refused() {
    let dir = directory();
    let path = dir.0.join("MARK");
    let mut bytes = fs::read(&path).expect("the mark");
    let newer = record::number_record(record::Kind::Format, b"crema data directory", 2);
    bytes[..newer.len()].copy_from_slice(&newer);
    fs::write(&path, bytes).expect("a newer mark");
    let text = "has format 2 and this build reads up to 1: use the release that wrote it, or a newer one";
    assert_eq!(refused(&dir), format!("{} {text}", dir.0.display()));

    let dir = directory();
    {
        let (logs, _lanes) = open(&dir);
        let family = logs.shared.family(options::IDENTITY);
        let identity = logs.shared.db.get_cf(&family, record::NODE_KEY).expect("read").expect("an identity");
        let newer = record::sealed_as(2, record::Kind::Node, record::NODE_KEY, &identity[1..identity.len() - 4]);
        logs.shared.db.put_cf(&family, record::NODE_KEY, newer).expect("a newer identity");
    }
    assert_eq!(refused(&dir), format!("the node's identity in {} {text}", dir.0.display()));
}
