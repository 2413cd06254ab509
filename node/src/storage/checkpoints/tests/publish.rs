//! What is published, kept, listed and removed when nothing goes wrong.

use super::*;

#[test]
fn the_last_two_are_kept_and_the_log_is_needed_from_the_older() {
    let files = Arc::<FaultyFiles>::default();
    let manager = managed(&files, &[]);
    assert_eq!(newest(&manager), None);
    let published = |index| publish(&manager, index).expect("no fault is set").log_until;
    assert_eq!(published(9), None, "one alone is not relied on");
    assert_eq!(published(10), Some(LogIndex(9)));
    assert_eq!(published(100), Some(LogIndex(10)));
    assert_eq!(indexes(&manager), [10, 100]);
    assert_eq!(newest(&manager), Some(100));
    assert_eq!(files.names().len(), KEPT, "nothing else is left: {:?}", files.names());
    // A late one, as of a capture that a received snapshot has overtaken, takes the place of none that is newer.
    assert_eq!(published(50), Some(LogIndex(50)));
    assert_eq!(published(20), Some(LogIndex(50)));
    assert_eq!(indexes(&manager), [50, 100]);
    // The same again.
    assert_eq!(published(100), Some(LogIndex(50)));
    assert_eq!((indexes(&manager), newest(&manager)), (vec![50, 100], Some(100)));
}

#[test]
fn replicas_do_not_see_each_other() {
    let files = Arc::<FaultyFiles>::default();
    let manager = managed(&files, &[5, 6]);
    let successor = Owner { replica: ReplicaId(18), ..OWNER };
    assert!(manager.newest(&successor).expect("a search").checkpoint.is_none());
    let other = Owner { group: GroupId(4), ..OWNER };
    let other_id = CheckpointId { group: GroupId(4), ..id(1) };
    let mut draft = manager.begin(other_id).expect("a draft");
    pieces_of(&other, 1, 3, Compression::Lz4).iter().for_each(|piece| draft.write(piece).expect("written"));
    assert_eq!(draft.publish().expect("published").log_until, None);
    assert_eq!(manager.replicas().len(), 2);
    assert_eq!(found(&manager.newest(&other).expect("a search")), Some(1));

    manager.forget(OWNER.group, OWNER.replica).expect("removed");
    assert_eq!((indexes(&manager), newest(&manager)), (vec![1], None));
    manager.forget(OWNER.group, OWNER.replica).expect("nothing to remove");
}

#[test]
fn an_uncompressed_one_is_larger_and_as_good() {
    let length = |compression| {
        let files = Arc::<FaultyFiles>::default();
        let manager = managed(&files, &[]);
        let mut draft = manager.begin(id(8)).expect("a draft");
        pieces_of(&OWNER, 8, 500, compression).iter().for_each(|piece| draft.write(piece).expect("written"));
        let bytes = draft.publish().expect("published").bytes;
        let loaded = manager.newest(&OWNER).expect("a search").checkpoint.expect("found");
        assert_eq!(loaded.entries.len(), 500);
        assert_eq!(bytes, manager.list().expect("a listing")[0].bytes);
        bytes
    };
    assert!(length(Compression::Off) > length(Compression::Lz4));
}

#[test]
fn what_was_not_published_is_removed() {
    let files = Arc::<FaultyFiles>::default();
    let manager = managed(&files, &[5]);
    let mut draft = manager.begin(id(6)).expect("a draft");
    draft.write(&pieces(6)[0]).expect("written");
    assert_eq!((files.names().len(), indexes(&manager)), (2, vec![5]), "it is not listed");
    drop(draft);
    assert_eq!(files.names(), ["g3-r17-i5.mcrs"]);
}

#[test]
fn leftovers_go_when_the_directory_is_opened_and_nothing_else_does() {
    let files = Arc::<FaultyFiles>::default();
    let there = ["LOCK", "g3-r17-i5.mcrs.0.tmp", "g3-r17-i6.mcrs.damaged", "g4-r9-i70.mcrs", "notes.tmp"];
    there.iter().for_each(|name| files.put(&format!("data/checkpoints/{name}"), b"?"));
    let manager = open(&files);
    assert_eq!(files.names(), ["LOCK", "g3-r17-i6.mcrs.damaged", "g4-r9-i70.mcrs", "notes.tmp"]);
    assert_eq!(indexes(&manager), [70]);
}

#[test]
fn only_its_own_bytes_become_a_checkpoint() {
    let files = Arc::<FaultyFiles>::default();
    let manager = managed(&files, &[5]);
    let mut draft = manager.begin(id(6)).expect("a draft");
    let error = draft.write(&pieces(7)[0]).expect_err("the head of another");
    assert!(matches!(error, CheckpointError::OtherHead { .. }) && !error.is_fatal(), "{error}");
    let mut draft = manager.begin(id(6)).expect("a draft");
    let error = draft.write(b"MCRX").expect_err("no head");
    assert!(matches!(error, CheckpointError::Head { .. }), "{error}");
    let empty = manager.begin(id(6)).expect("a draft").publish().expect_err("nothing was written");
    assert!(matches!(empty, CheckpointError::OtherHead { .. }), "{empty}");
    assert_eq!(indexes(&manager), [5]);
}

#[test]
fn a_large_one_is_synced_on_the_way() {
    let files = Arc::<FaultyFiles>::default();
    let manager = managed(&files, &[]);
    let before = files.syncs();
    let mut draft = manager.begin(id(6)).expect("a draft");
    draft.write(&pieces(6)[0]).expect("written");
    (0..20).for_each(|_| draft.write(&[0; 1 << 20]).expect("written"));
    assert_eq!(files.syncs() - before, 2, "each 8 MiB");
}

#[test]
fn it_works_on_the_disk() {
    let dir = std::env::temp_dir().join(format!("crema-checkpoints-{}", std::process::id()));
    let config = || CheckpointConfig::new(dir.join("a/b"));
    let manager = CheckpointManager::open(config()).expect("the directory is made");
    for index in [5, 6, 7] {
        publish(&manager, index).expect("published");
    }
    let unfinished = manager.begin(id(8)).expect("a draft");
    std::mem::forget(unfinished);
    std::fs::create_dir(dir.join("a/b/folder")).expect("a folder");
    let manager = CheckpointManager::open(config()).expect("it opens again");
    assert_eq!((indexes(&manager), newest(&manager)), (vec![6, 7], Some(7)));
    assert!(manager.list().expect("a listing")[0].modified_ms > Some(1_600_000_000_000));
    assert_eq!(std::fs::read_dir(dir.join("a/b")).expect("a listing").count(), 3);
    let error = DiskFiles.create(&dir.join("a/b/g3-r17-i7.mcrs")).expect_err("it is there");
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    std::fs::remove_dir_all(dir).expect("removed");
}
