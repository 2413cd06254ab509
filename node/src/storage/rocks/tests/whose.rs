//! Whose directory it is, and what is refused.

use super::*;

fn refusal(result: Result<(RocksLogs, Vec<RocksLane>), StoreError>) -> String {
    result.err().expect("refused").to_string()
}

#[test]
fn a_second_process_is_refused() {
    let dir = Dir::new();
    let (logs, lanes) = open(&dir);
    let path = dir.0.display();
    let text = format!(
        "{path} is in use by another process ({}): stop it, or give this node a directory of its own",
        std::process::id()
    );
    assert_eq!(refusal(try_open(&dir.0)), text);
    assert!(matches!(set_aside(&dir.0), Err(StoreError::Locked { .. })));
    drop(logs);
    assert_eq!(refusal(try_open(&dir.0)), text, "the lanes hold it, too");
    drop(lanes);
    open(&dir);
}

#[test]
fn another_nodes_directory_is_refused() {
    let dir = Dir::new();
    drop(open(&dir));
    let other = Claim { node: NodeId(2), new_incarnation: Incarnation(8) };
    let error = RocksLogs::open(&dir.0, other, &options()).err().expect("refused");
    let path = dir.0.display();
    let text = format!(
        "{path} belongs to node 1, and this is node 2: start node 1 with it, or give this node its own directory"
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(open(&dir).0.identity().incarnation, Incarnation(7), "unchanged");
}

#[test]
fn another_cluster_is_refused() {
    let dir = Dir::new();
    {
        let (mut logs, _lanes) = open(&dir);
        assert_eq!(logs.birth(), None);
        logs.enter(ClusterUid(0xaa), b"map").expect("its first cluster");
        logs.enter(ClusterUid(0xaa), b"a later map").expect("the same");
        assert_eq!(logs.birth(), Some(&b"map"[..]), "it began once");
    }
    let (mut logs, mut lanes) = open(&dir);
    assert_eq!((logs.identity().cluster, logs.birth()), (Some(ClusterUid(0xaa)), Some(&b"map"[..])));
    let error = logs.enter(ClusterUid(0xbb), b"other").expect_err("another");
    assert!(matches!(error, StoreError::OtherCluster { found: ClusterUid(0xaa), .. }), "{error}");
    lanes[0].write(&[birth(1, 5)]).expect("a refusal does no harm");
}

#[test]
fn each_start_is_a_new_life_until_a_cluster_is_entered() {
    let dir = Dir::new();
    let start = |life: u128| {
        let claim = Claim { node: NodeId(1), new_incarnation: Incarnation(life) };
        RocksLogs::open(&dir.0, claim, &options()).expect("a sound directory")
    };
    for life in 1..=3 {
        assert_eq!(start(life).identity().incarnation, Incarnation(life));
    }
    start(4).enter(ClusterUid(0xaa), b"map").expect("a cluster");
    for life in 5..=6 {
        let kept = Identity { node: NodeId(1), incarnation: Incarnation(4), cluster: Some(ClusterUid(0xaa)) };
        assert_eq!(start(life).identity(), kept);
    }
}

#[test]
fn a_directory_that_was_not_finished_is_made_anew() {
    let dir = Dir::new();
    drop(Mark::create(&dir.0));
    drop(open(&dir));

    let dir = Dir::new();
    let mark = Mark::create(&dir.0).expect("a mark");
    drop(open_database(&dir.0, &dir.0.join(DATABASE), &options(), true));
    drop(mark);
    assert_eq!(open(&dir).0.identity().node, NodeId(1));
}

#[test]
fn what_was_set_aside_makes_room_for_a_new_life() {
    let dir = Dir::new();
    {
        let (_logs, mut lanes) = open(&dir);
        lanes[0].write(&[birth(1, 5)]).expect("a birth");
    }
    fs::create_dir(dir.0.join("checkpoints")).expect("another store's folder");
    for number in 1..=2 {
        let aside = set_aside(&dir.0).expect("set aside");
        assert_eq!(aside, dir.0.join(format!("set-aside-{number}")));
        assert!(aside.join("MARK").exists() && aside.join(DATABASE).join("CURRENT").exists());
        let claim = Claim { new_incarnation: Incarnation(100 + u128::from(number as u32)), ..claim() };
        let logs = RocksLogs::open(&dir.0, claim, &options()).expect("a new directory");
        assert_eq!(logs.identity().incarnation, claim.new_incarnation);
        assert_eq!(logs.lanes().expect("lanes")[0].groups(), []);
    }
    assert!(dir.0.join("set-aside-1/checkpoints").exists() && !dir.0.join("checkpoints").exists());
}
