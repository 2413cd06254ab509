//! Files that are no longer what was written, and files of others.

use super::*;

const NEWEST: &str = "data/checkpoints/g3-r17-i200.mcrs";

fn with(bytes: &[u8]) -> (Arc<FaultyFiles>, CheckpointManager) {
    let files = Arc::<FaultyFiles>::default();
    let manager = managed(&files, &[100, 200]);
    files.put(NEWEST, bytes);
    (files, manager)
}

fn good() -> Vec<u8> {
    pieces(200).concat()
}

#[test]
fn every_flipped_byte_and_every_cut_is_found_and_the_older_one_serves() {
    let good = good();
    let flips = (0..good.len()).flat_map(|at| [1, 0x80, 0xff].map(|bits| (at, bits)));
    let mut cases: Vec<Vec<u8>> = (0..good.len()).map(|len| good[..len].to_vec()).collect();
    cases.extend(flips.map(|(at, bits)| {
        let mut bytes = good.clone();
        bytes[at] ^= bits;
        bytes
    }));
    cases.push([&good[..], &[0]].concat());
    for bytes in cases {
        let (_, manager) = with(&bytes);
        let recovered = manager.newest(&OWNER).expect("damage is no refusal");
        assert_eq!(found(&recovered), Some(100), "{bytes:?}");
        assert_eq!(recovered.damaged.iter().map(|damage| damage.id).collect::<Vec<_>>(), [id(200)]);
    }
}

#[test]
fn a_damaged_one_is_set_aside_until_two_sound_ones_are_there() {
    let (files, manager) = with(&good()[1..]);
    assert_eq!((newest(&manager), indexes(&manager)), (Some(100), vec![100]));
    assert!(files.names().contains(&"g3-r17-i200.mcrs.damaged".to_owned()), "{:?}", files.names());
    assert!(manager.newest(&OWNER).expect("a search").damaged.is_empty(), "it is told once");
    // The sound old one stays, and the log with it.
    assert_eq!(publish(&manager, 300).expect("published").log_until, Some(LogIndex(100)));
    assert_eq!((indexes(&manager), files.names().len()), (vec![100, 300], 2));
}

#[test]
fn without_a_sound_one_all_the_damage_is_told() {
    let (files, manager) = with(b"");
    files.put("data/checkpoints/g3-r17-i100.mcrs", b"MCRS");
    let recovered = manager.newest(&OWNER).expect("a search");
    assert!(recovered.checkpoint.is_none());
    let told: Vec<_> = recovered.damaged.iter().map(|damage| damage.error.to_string()).collect();
    assert_eq!(told, [format!("{NEWEST} is damaged"), "data/checkpoints/g3-r17-i100.mcrs is damaged".to_owned()]);
}

#[test]
fn a_missing_file_leaves_the_other_one_and_is_never_made_up_for() {
    for (missing, left) in [(vec![200], Some(100)), (vec![100], Some(200)), (vec![100, 200], None)] {
        let files = Arc::<FaultyFiles>::default();
        drop(managed(&files, &[100, 200]));
        for index in missing {
            let path = format!("data/checkpoints/g3-r17-i{index}.mcrs");
            files.remove(path.as_ref()).expect("removed");
        }
        let manager = open(&files);
        let recovered = manager.newest(&OWNER).expect("a search");
        assert_eq!((found(&recovered), recovered.damaged.len()), (left, 0));
        // Nothing of the log is cut until there are two again.
        let until = publish(&manager, 300).expect("published").log_until;
        assert_eq!(until, left.map(LogIndex));
    }
}

#[test]
fn what_stands_in_the_wrong_place_is_damage() {
    for (owner, index, what) in [
        (OWNER, 201, "index"),
        (Owner { group: GroupId(4), ..OWNER }, 200, "group"),
        (Owner { generation: 1, ..OWNER }, 200, "generation"),
    ] {
        let (_, manager) = with(&pieces_of(&owner, index, 3, Compression::Lz4).concat());
        let recovered = manager.newest(&OWNER).expect("a search");
        assert_eq!(found(&recovered), Some(100));
        assert!(
            matches!(recovered.damaged[0].error, ReadError::Misplaced { what: found, .. } if found == what),
            "{:?}",
            recovered.damaged
        );
    }
}

#[test]
fn another_clusters_files_are_refused_and_left_alone() {
    let other = Owner { cluster: ClusterUid(9), generation: 1, ..OWNER };
    let (files, manager) = with(&pieces_of(&other, 200, 3, Compression::Lz4).concat());
    let error = manager.newest(&OWNER).expect_err("it is of another cluster");
    assert_eq!(
        error.to_string(),
        "the checkpoint of shard 2, replica 17, at entry 200 is of cluster 00000000000000000000000000000009, this node's is 00000000000000000000000000000102; give this node its own directory"
    );
    assert!(files.names().contains(&"g3-r17-i200.mcrs".to_owned()));
}

/// The bytes with a change in the header that a newer release could have made, sealed as it would have.
fn newer(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let header = pieces(200)[0].len() - 4;
    let mut bytes = good();
    change(&mut bytes[..header]);
    let crc = crc32fast::hash(&bytes[..header]).to_le_bytes();
    bytes[header..header + 4].copy_from_slice(&crc);
    bytes
}

#[test]
fn a_newer_release_is_refused_and_its_files_are_left_alone() {
    for (bytes, says) in [
        (newer(|header| header[4] = 2), "checkpoint format 2 is not the one this build reads (1)"),
        (newer(|header| header[6] |= 4), "checkpoint flags 0x0005 are not known to this build"),
    ] {
        let (files, manager) = with(&bytes);
        let error = manager.newest(&OWNER).expect_err("the older one is no way out");
        let LoadError::Newer { source: ReadError::Newer { source, .. }, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains(says), "{source}");
        assert!(error.to_string().contains("start the release that wrote it, or a newer one"), "{error}");
        assert_eq!(files.bytes_of("g3-r17-i200.mcrs"), bytes);
    }
}
