//! Chaos as a program asks for it: public names only.

use std::time::Duration;

use crema::testing::{ChaosCluster, ChaosError, Trouble, run_seed};

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A cluster that is treated badly in every way that has no need of disks.
fn treated_badly() -> ChaosCluster {
    ChaosCluster::new(3)
        .spares(1)
        .shards(2)
        .shard_capacity(6)
        .at(at(800), Trouble::TransferLeader { shard: 0, to: 3 })
        .at(at(1_000), Trouble::Unreliable { lost: 100, doubled: 50, late: 200 })
        .at(at(1_200), Trouble::Isolate(1))
        .at(at(2_500), Trouble::HealNetwork)
        .at(at(2_600), Trouble::OneWay { from: 1, to: 2 })
        .at(at(3_000), Trouble::Slow { a: 2, b: 3, by: at(300) })
        .at(at(3_200), Trouble::Cut(1, 3))
        .at(at(3_500), Trouble::HealNetwork)
        .at(at(3_600), Trouble::Restart(4))
        .at(at(4_000), Trouble::Crash(2))
        .at(at(5_000), Trouble::Restart(2))
        .at(at(6_000), Trouble::MoveReplica { shard: 1, to: 4 })
        .at(at(6_500), Trouble::ClockJump(3, 2_000))
        .at(at(7_000), Trouble::Pause(1, at(1_500)))
        .at(at(8_000), Trouble::Split(vec![1, 2]))
        .at(at(9_000), Trouble::HealNetwork)
        .at(at(9_500), Trouble::Drain(3))
        .at(at(11_000), Trouble::Undrain(3))
}

/// The same with disks, which are lost and fail, too.
fn treated_badly_with_disks() -> ChaosCluster {
    treated_badly()
        .disks(true)
        .at(at(12_000), Trouble::LoseDisk(1))
        .at(at(13_000), Trouble::Restart(1))
        .at(at(16_000), Trouble::FailDisk(2))
        .at(at(17_000), Trouble::Crash(2))
        .at(at(17_500), Trouble::Restart(2))
        .at(at(18_000), Trouble::Crash(1))
        .at(at(18_000), Trouble::Crash(2))
        .at(at(18_000), Trouble::Crash(3))
        .at(at(18_500), Trouble::Restart(1))
        .at(at(18_500), Trouble::Restart(2))
        .at(at(19_000), Trouble::Restart(3))
}

#[test]
fn what_is_promised_holds_in_trouble() {
    for seed in 1..=20 {
        for cluster in [treated_badly(), treated_badly_with_disks()] {
            let report = cluster.seed(seed).run().unwrap_or_else(|error| panic!("{error}"));
            assert!(report.operations > 100 && report.keys > 0, "seed {seed}: {report:?}");
            assert!(report.took >= at(11_000), "seed {seed}: {report:?}");
        }
    }
}

#[test]
fn a_run_is_the_same_each_time_and_another_with_another_seed() {
    let trace = |seed| {
        let mut lines = Vec::new();
        let report = treated_badly().seed(seed).run_traced(|line| lines.push(line)).expect("nothing is broken");
        (report, lines)
    };
    let (first, second, other) = (trace(7), trace(7), trace(8));
    assert!(first.1.len() > 1_000);
    assert!(first == second, "the same seed went two ways");
    assert!(first.1 != other.1, "two seeds went one way");
}

/// Two of three in memory would take with them what nobody else has.
#[test]
fn a_crash_too_many_is_left_out_and_said() {
    let cluster = ChaosCluster::new(3).at(at(1_000), Trouble::Crash(1)).at(at(1_000), Trouble::Crash(2));
    let report = cluster.run().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report.left_out, 1);
}

#[test]
fn seeds_draw_clusters_of_their_own() {
    for seed in 1..=5 {
        run_seed(seed).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let table = [
        ("nodes", ChaosCluster::new(0)),
        ("nodes", ChaosCluster::new(17)),
        ("spares", ChaosCluster::new(3).spares(17)),
        ("shards", ChaosCluster::new(3).shards(0)),
        ("replicas", ChaosCluster::new(3).replicas(4)),
        ("clients", ChaosCluster::new(3).clients(0)),
        ("operations", ChaosCluster::new(3).operations(0)),
        ("at", ChaosCluster::new(3).at(at(1), Trouble::Crash(0))),
        ("at", ChaosCluster::new(3).at(at(1), Trouble::Crash(4))),
        ("at", ChaosCluster::new(3).at(at(1), Trouble::Crash(u64::MAX))),
        ("at", ChaosCluster::new(3).at(at(1), Trouble::Cut(1, 1))),
        ("at", ChaosCluster::new(3).at(at(1), Trouble::TransferLeader { shard: 4, to: 1 })),
        ("at", ChaosCluster::new(3).at(at(1), Trouble::Unreliable { lost: 1_001, doubled: 0, late: 0 })),
        ("at", ChaosCluster::new(3).at(Duration::MAX, Trouble::HealNetwork)),
        ("at", ChaosCluster::new(3).at(at(1), Trouble::Pause(1, Duration::MAX))),
        ("at", ChaosCluster::new(3).at(at(1), Trouble::ClockJump(1, i64::MIN))),
        ("at", ChaosCluster::new(3).at(at(1), Trouble::ClockJump(1, 9)).at(at(2), Trouble::ClockJump(2, 9))),
        ("at", ChaosCluster::new(3).at(at(1), Trouble::LoseDisk(1))),
        ("at", ChaosCluster::new(3).disks(false).at(at(1), Trouble::FailDisk(1))),
    ];
    for (field, cluster) in table {
        match cluster.run() {
            Err(ChaosError::Invalid { field: found, .. }) => assert_eq!(found, field, "{cluster:?}"),
            other => panic!("{cluster:?}: {other:?}"),
        }
    }
}
