//! Shards that lost two of three replicas for good, while the cluster itself goes on: they return empty, the others whole.

use crema_tests::{
    cluster::{Cluster, Node},
    load::connect,
    wait_for,
};
use redis::Connection;
use serde_json::Value;

use crate::membership::{TOKEN, admin};

const KEYS: usize = 400;

fn json(cluster: &Cluster, args: &[&str]) -> Option<Value> {
    let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    serde_json::from_str(&admin(cluster, 0, &args).ok()?).ok()
}

fn incarnation(cluster: &Cluster, node: u64) -> Option<String> {
    let nodes = json(cluster, &["nodes"])?;
    let row = nodes.as_array()?.iter().find(|row| row["node"] == node)?;
    Some(row["incarnation"].as_str()?.to_owned())
}

/// Five nodes with some keys, and two of them whose end takes the majority of some shards.
struct Loss {
    cluster: Cluster,
    victims: [u64; 2],
    /// Those shards, for `--shards`.
    lost: String,
    /// One that is not lost.
    sound: String,
}

impl Loss {
    fn prepare(name: &str) -> Self {
        Self::of(Cluster::start(name, 5, &["--cluster-token", TOKEN]))
    }

    fn of(cluster: Cluster) -> Self {
        cluster.wait_balanced(&[0, 1, 2, 3, 4], 3);
        let mut connection = connect(cluster.nodes[0].addresses.resp).expect("a connection");
        for key in 0..KEYS {
            let _: String = redis::cmd("SET").arg(key).arg(key).query(&mut connection).expect("a write");
        }
        let shards = wait_for("a look at all shards", || json(&cluster, &["shards", "--all"]));
        let voters = |row: &Value| -> Vec<u64> {
            row["voters"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
        };
        let rows = shards.as_array().expect("shards");
        let pair = |row: &Value| {
            let others: Vec<u64> = voters(row).into_iter().filter(|node| *node != 1).collect();
            Some([*others.first()?, *others.get(1)?])
        };
        let victims = pair(&rows[0]).expect("two voters beside node 1");
        let is_lost = |row: &&Value| victims.iter().all(|victim| voters(row).contains(victim));
        let number = |row: &Value| row["shard"].to_string();
        let lost: Vec<String> = rows.iter().filter(is_lost).map(number).collect();
        let sound = rows.iter().find(|row| !is_lost(row)).map(number).expect("a shard that is not lost");
        Self { cluster, victims, lost: lost.join(","), sound }
    }

    /// Waits until both nodes have come back in other lives.
    fn wait_reborn(&self, lives: &[String; 2]) {
        wait_for("both to be back in another life", || {
            let now = self.victims.map(|node| incarnation(&self.cluster, node));
            (0..2).all(|at| now[at].as_ref().is_some_and(|now| *now != lives[at])).then_some(())
        });
    }

    fn reset(&self, shards: &str, further: &[&str]) -> Result<String, String> {
        let args: Vec<&str> = ["reset-shards", "--shards", shards].iter().chain(further).copied().collect();
        admin(&self.cluster, 0, &args)
    }

    fn kill(&mut self) {
        for victim in self.victims {
            self.cluster.nodes[victim as usize - 1].kill();
        }
    }

    /// What every key says now: its value, or nothing.
    fn read(connection: &mut Connection) -> Vec<Option<usize>> {
        let mut get = |key: usize| redis::cmd("GET").arg(key).query(connection).ok();
        (0..KEYS).map(|key| wait_for("an answer", || get(key))).collect()
    }

    /// Lost shards are empty and take writes; the others have all that was acknowledged.
    fn judge(&self) {
        let mut connection = connect(self.cluster.nodes[0].addresses.resp).expect("a connection");
        let found = Self::read(&mut connection);
        for (key, value) in found.iter().enumerate() {
            assert!(value.is_none_or(|value| value == key), "key {key} has {value:?}");
        }
        let missing = found.iter().filter(|value| value.is_none()).count();
        assert!(missing > 0 && missing < KEYS, "{missing} of {KEYS} keys are gone, with shards {}", self.lost);
        for key in 0..KEYS {
            let _: String = redis::cmd("SET").arg(key).arg(key + 1).query(&mut connection).expect("a write");
        }
        let read = Self::read(&mut connection);
        assert!(read.iter().enumerate().all(|(key, value)| *value == Some(key + 1)), "{read:?}");
    }
}

#[test]
fn nodes_that_came_back_empty_prove_what_is_lost() {
    let mut loss = Loss::prepare("reset-empty");
    let lives = loss.victims.map(|node| incarnation(&loss.cluster, node).expect("a life"));
    loss.kill();
    for victim in loss.victims {
        loss.cluster.nodes[victim as usize - 1].start();
    }
    loss.wait_reborn(&lives);
    let why = loss.reset(&loss.sound, &["--yes"]).expect_err("a shard that lives");
    assert!(why.contains("is not lost"), "{why}");
    assert!(loss.reset(&loss.lost, &[]).is_err(), "without --yes nothing is done");
    wait_for("the reset", || loss.reset(&loss.lost, &["--yes"]).ok());
    let told = loss.reset(&loss.lost, &["--yes"]).expect("once more");
    assert!(told.contains("already"), "{told}");

    loss.cluster.wait_led();
    loss.judge();
    loss.cluster.wait_balanced(&[0, 1, 2, 3, 4], 3);
    assert!(loss.cluster.nodes[0].output().contains("ENTRIES ARE LOST"), "the log must say so");
}

#[test]
fn lives_that_are_named_as_dead_are_fenced() {
    let mut loss = Loss::prepare("reset-named");
    let named: Vec<String> = loss
        .victims
        .iter()
        .map(|node| format!("{node}={}", incarnation(&loss.cluster, *node).expect("a life")))
        .collect();
    let named = named.join(",");
    let why = loss.reset(&loss.lost, &["--dead", &named, "--yes"]).expect_err("they live");
    assert!(why.contains("it is not dead"), "{why}");
    loss.kill();
    wait_for("the reset", || loss.reset(&loss.lost, &["--dead", &named, "--yes"]).ok());
    loss.cluster.wait_led();
    loss.judge();
    let nodes = json(&loss.cluster, &["nodes"]).expect("the members");
    let states: Vec<&Value> = loss.victims.iter().map(|node| &nodes[*node as usize - 1]["state"]).collect();
    assert_eq!(states, ["down", "down"], "{nodes}");

    for victim in loss.victims {
        loss.cluster.nodes[victim as usize - 1].start();
    }
    loss.cluster.wait_balanced(&[0, 1, 2, 3, 4], 3);
}

/// The logs of what began anew are older than the last checkpoint of the map: a start has to find out whom they are of.
#[test]
fn what_a_reset_shard_took_in_outlives_a_power_cut() {
    let mut loss = Loss::of(Cluster::start_durable("reset-disk", 5, &["--cluster-token", TOKEN]));
    let lives = loss.victims.map(|node| incarnation(&loss.cluster, node).expect("a life"));
    loss.kill();
    for victim in loss.victims {
        std::fs::remove_dir_all(loss.cluster.data(victim)).expect("a disk that is lost");
        loss.cluster.nodes[victim as usize - 1].start();
    }
    loss.wait_reborn(&lives);
    wait_for("the reset", || loss.reset(&loss.lost, &["--yes"]).ok());
    loss.cluster.wait_led();
    loss.judge();

    loss.cluster.nodes.iter_mut().for_each(Node::kill);
    loss.cluster.nodes.iter_mut().for_each(Node::start);
    loss.cluster.nodes.iter_mut().for_each(Node::wait_ready);
    loss.cluster.wait_led();
    let mut connection = connect(loss.cluster.nodes[0].addresses.resp).expect("a connection");
    let read = Loss::read(&mut connection);
    assert!(read.iter().enumerate().all(|(key, value)| *value == Some(key + 1)), "{read:?}");
    loss.cluster.wait_balanced(&[0, 1, 2, 3, 4], 3);
}
