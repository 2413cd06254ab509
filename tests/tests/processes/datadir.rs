//! Data directories that are not what a node expects: refused when they are somebody else's, rebuilt when they are damaged,
//! and left alone by a node that has no room.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crema_tests::{
    cluster::{Addresses, Cluster, Node},
    http,
    load::{Load, Told},
    wait_for,
};

use crate::{
    identity::incarnation,
    membership::{TOKEN, admin},
};

const OFTEN: [&str; 4] = ["--checkpoint-entries", "100", "--cluster-token", TOKEN];

/// What a node says that will not start with these flags of a sound one changed.
fn refusal(node: &mut Node, changes: &[(&str, String)]) -> String {
    let before = node.flags.clone();
    for (flag, value) in changes {
        let at = node.flags.iter().position(|given| given == flag).unwrap_or_else(|| panic!("{flag} is not given"));
        node.flags[at + 1].clone_from(value);
    }
    node.start();
    let status = node.process().wait_exit();
    let output = node.output();
    assert!(!status.success(), "it started with {changes:?}: {output}");
    (node.flags, node.process) = (before, None);
    output
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let mut cluster = Cluster::start_durable("refused", 1, &[]);
    let mut other = Cluster::start_durable("refused-other", 1, &[]);
    let (own, at) = (cluster.data(1), Addresses::free());
    let elsewhere = [
        ("--peer-addr", at.peer.to_string()),
        ("--resp-addr", at.resp.to_string()),
        ("--http-addr", at.http.to_string()),
    ];

    let twin = cluster.add();
    twin.flags.clone_from(&other.nodes[0].flags);
    let peers = ("--peers", format!("1={}", at.peer));
    let taken: Vec<_> = elsewhere.iter().cloned().chain([("--data-dir", own.clone()), peers]).collect();
    let said = refusal(twin, &taken);
    assert!(said.contains(&own) && said.contains("in use by another process"), "{said}");

    cluster.nodes[0].stop();
    let foreign = ("--peers", format!("2={}", at.peer));
    let node = ("--node-id", "2".to_owned());
    let renamed: Vec<_> = elsewhere.iter().cloned().chain([("--data-dir", own.clone()), foreign, node]).collect();
    let twin = &mut cluster.nodes[1];
    let said = refusal(twin, &renamed);
    assert!(said.contains(&own) && said.contains("belongs to node 1"), "{said}");

    // The same node, among the members of another cluster.
    let others = format!("1={},7={}", at.peer, other.nodes[0].addresses.peer);
    let strange: Vec<_> = elsewhere.iter().cloned().chain([("--data-dir", own), ("--peers", others)]).collect();
    let said = refusal(twin, &strange);
    assert!(said.contains("belongs to cluster"), "{said}");
    other.nodes[0].stop();

    cluster.nodes[0].start();
    cluster.nodes[0].wait_ready();

    // Alone in its cluster, and its data can't be believed: nobody could tell it from a new one if it went on empty.
    cluster.nodes[0].stop();
    let mark = Path::new(&cluster.data(1)).join("MARK");
    fs::remove_file(mark).expect("a file of a stopped node");
    let said = refusal(&mut cluster.nodes[0], &[]);
    assert!(said.contains("forms no new, empty cluster"), "{said}");
}

/// Every file below a folder whose name ends so.
fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = |path: PathBuf| match path.is_dir() {
        true => files(&path, suffix),
        false if path.to_string_lossy().ends_with(suffix) => vec![path],
        false => Vec::new(),
    };
    entries.flat_map(|entry| below(entry.path())).collect()
}

fn flip_in_the_middle(path: &Path) {
    let mut bytes = fs::read(path).expect("a file of a stopped node");
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0x10;
    }
    fs::write(path, bytes).expect("a file of a stopped node");
}

/// Does harm to the data directory of a stopped node.
type Damage = fn(&Path);

#[test]
fn what_is_damaged_is_rebuilt_from_the_others() {
    let mut cluster = Cluster::start_durable("damage", 3, &OFTEN);
    let load = Load::start(cluster.resp(), 8);
    let damages: [(&str, Damage); 5] = [
        ("bits of the write-ahead log", |data| files(data, ".log").iter().for_each(|file| flip_in_the_middle(file))),
        ("bits of the checkpoints", |data| files(data, ".mcrs").iter().for_each(|file| flip_in_the_middle(file))),
        ("the checkpoints", |data| fs::remove_dir_all(data.join("checkpoints")).expect("the checkpoints")),
        ("the database", |data| fs::remove_dir_all(data.join("log")).expect("the database")),
        ("everything", |data| fs::remove_dir_all(data).expect("the data")),
    ];
    for (round, (what, damage)) in damages.into_iter().enumerate() {
        load.wait_answers(60);
        let place = round % 3;
        let data = PathBuf::from(cluster.data(cluster.nodes[place].id));
        cluster.nodes[place].kill();
        damage(&data);
        cluster.nodes[place].start();
        eprintln!("node {} comes back without {what}", cluster.nodes[place].id);
        cluster.wait_balanced(&[0, 1, 2], 3);
        cluster.nodes[place].wait_ready();
    }
    load.wait_answers(20);
    load.finish(&cluster.resp()).judge("damaged disks");
    cluster.assert_equal_states();
}

#[test]
fn the_disk_of_a_removed_node_is_set_aside() {
    let mut cluster = Cluster::start_durable("removed", 3, &OFTEN);
    cluster.add().start();
    cluster.wait_balanced(&[0, 1, 2, 3], 3);
    let life = incarnation(&cluster.nodes[3]);
    admin(&cluster, 0, &["drain", "4"]).expect("a drain");
    wait_for("an empty node", || (cluster.nodes[3].hosted()? == 0).then_some(()));
    // It does not hear of it.
    cluster.nodes[3].stop();
    admin(&cluster, 0, &["remove", "4"]).expect("a removal");
    cluster.nodes[3].start();
    // Whoever starts it once more wants it back: a supervisor that does needs no person for it.
    let status = cluster.nodes[3].process().wait_exit();
    let said = cluster.nodes[3].output();
    assert!(!status.success() && said.contains("this node was removed"), "{said}");
    cluster.nodes[3].process = None;
    cluster.nodes[3].start();
    cluster.wait_balanced(&[0, 1, 2, 3], 3);
    assert_ne!(incarnation(&cluster.nodes[3]), life);
    assert!(Path::new(&cluster.data(4)).join("retired").exists(), "the old data is kept for a person");
}

/// A small file system of its own; gone with its owner.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with the reason, where this machine can't mount one.
    fn mount(at: PathBuf, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(&at).expect("a folder to mount at");
        let size = format!("size={megabytes}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(at)),
            Ok(output) => {
                eprintln!("skipped: no small disk: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                eprintln!("skipped: no small disk: mount: {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a node may still end.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_that_node_alone() {
    let small = ["--wal-bytes", "16777216", "--memtable-bytes", "4194304"];
    let flags: Vec<&str> = OFTEN.iter().chain(&small).copied().collect();
    let mut cluster = Cluster::start_durable("full", 3, &flags);
    cluster.nodes[2].stop();
    let data = PathBuf::from(cluster.data(3));
    let Some(disk) = SmallDisk::mount(data.clone(), 128) else { return };
    // The folder is another one now: the node begins a new life on it.
    cluster.nodes[2].start();
    cluster.wait_balanced(&[0, 1, 2], 3);
    let load = Load::start(cluster.resp()[..2].to_vec(), 8);
    load.wait_answers(20);
    let ballast = data.join("ballast");
    // As much as there is room for.
    let _ = Command::new("sh").args(["-c", &format!("cat /dev/zero > {}", ballast.display())]).output();
    wait_for("the node to say that its disk has failed", || {
        let (_, body) = http::get(cluster.nodes[2].addresses.http, "/readyz").ok()?;
        (!cluster.nodes[2].is_ready() && body.contains("No space left on device")).then_some(())
    });
    load.wait_answers(50);
    fs::remove_file(&ballast).expect("the ballast");
    cluster.nodes[2].kill();
    cluster.nodes[2].start();
    cluster.wait_balanced(&[0, 1, 2], 3);
    cluster.nodes[2].wait_ready();
    load.wait_answers(20);
    let told: Told = load.finish(&cluster.resp());
    told.judge("a full disk");
    cluster.assert_equal_states();
    cluster.nodes[2].stop();
    drop(disk);
}
