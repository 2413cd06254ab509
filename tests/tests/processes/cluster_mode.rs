//! The cluster client of the crate `redis` against nodes in cluster mode; `tests/clients/cluster` has those of other
//! languages.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crema_tests::{cluster::Cluster, ctl::ctl, wait_for};
use redis::{
    AsyncCommands as _, ErrorKind, RedisError, RedisResult, cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
};
use tokio::runtime::Runtime;

const TOKEN: &str = "of-this-test";
const KEYS: usize = 500;
const SHARDS: u32 = 16;

#[test]
fn a_cluster_client_sees_no_error_while_leaders_move_and_a_node_dies() {
    let mut cluster = Cluster::start("cluster-mode", 3, &["--resp-mode", "cluster", "--cluster-token", TOKEN]);
    // Commands over all keys add up what the masters have: no leadership moves meanwhile.
    cluster.wait_balanced(&[0, 1, 2], 3);
    let runtime = Runtime::new().expect("a runtime");
    let nodes: Vec<String> = cluster.resp().iter().map(|node| format!("redis://{node}")).collect();
    let client = ClusterClientBuilder::new(nodes)
        // By default it gives an answer half a second, less than an election takes.
        .response_timeout(Duration::from_secs(20))
        .build()
        .expect("a client");
    let connection = runtime.block_on(client.get_async_connection()).expect("a connection");
    runtime.block_on(basic(connection.clone())).expect("keys, pipelines, tags");

    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = runtime.spawn(load(connection, stop.clone(), rounds.clone()));
    let wait_rounds = |more: u64| {
        let goal = rounds.load(Ordering::Relaxed) + more;
        wait_for("the client to go on", || {
            // It ends early by an error only.
            (load.is_finished() || rounds.load(Ordering::Relaxed) >= goal).then_some(())
        });
    };
    wait_rounds(10);
    for (shard, to) in (0..SHARDS).flat_map(|shard| [1, 2, 3].map(|to| (shard, to))).step_by(2) {
        let grpc = cluster.nodes[0].addresses.peer.to_string();
        let (shard, to) = (shard.to_string(), to.to_string());
        ctl(&["transfer-leader", &shard, &to, "--grpc", &grpc, "--token", TOKEN]).expect("a transfer");
    }
    wait_rounds(10);
    let victim = cluster.busiest();
    cluster.nodes[victim].stop();
    wait_rounds(10);
    cluster.nodes[victim].start();
    cluster.nodes[victim].wait_ready();
    wait_rounds(10);
    let victim = cluster.busiest();
    cluster.nodes[victim].kill();
    wait_rounds(10);
    cluster.nodes[victim].start();
    cluster.nodes[victim].wait_ready();
    cluster.wait_led();
    wait_rounds(10);
    stop.store(true, Ordering::Relaxed);
    let unknown = runtime.block_on(load).expect("no panic").expect("no error");
    println!("{} rounds, {unknown} writes with an unknown outcome", rounds.load(Ordering::Relaxed));
}

async fn basic(mut connection: ClusterConnection) -> RedisResult<()> {
    for i in 0..KEYS {
        let () = connection.set(format!("key:{i}"), i).await?;
    }
    for i in 0..KEYS {
        assert_eq!(connection.get::<_, usize>(format!("key:{i}")).await?, i);
    }
    let mut tagged = redis::pipe();
    for i in 0..KEYS {
        tagged.cmd("INCR").arg(format!("{{tag}}{i}"));
    }
    let counts: Vec<usize> = tagged.query_async(&mut connection).await?;
    assert_eq!(counts, vec![1; KEYS]);
    let values: Vec<Option<usize>> = connection.mget(&["{tag}1", "{tag}2", "{tag}none"]).await?;
    assert_eq!(values, [Some(1), Some(1), None]);
    // It asks every master, and adds up.
    let keys: usize = redis::cmd("DBSIZE").query_async(&mut connection).await?;
    assert_eq!(keys, 2 * KEYS);
    Ok(())
}

/// Writes and reads back, until it is told to stop; how many writes had to be repeated because nobody knew.
async fn load(mut connection: ClusterConnection, stop: Arc<AtomicBool>, rounds: Arc<AtomicU64>) -> RedisResult<u64> {
    let (mut seen, mut unknown) = (BTreeMap::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        for i in 0..32 {
            let key = format!("load:{}", (round * 37 + i * 31) % 1000);
            while let Err(error) = connection.set::<_, _, ()>(&key, round).await {
                if !is_unknown(&error) {
                    return Err(error);
                }
                unknown += 1;
            }
            seen.insert(key, round);
        }
        for (key, value) in seen.iter().take(32) {
            assert_eq!(connection.get::<_, Option<u64>>(key).await?, Some(*value), "{key}");
        }
    }
    Ok(unknown)
}

/// A node that was killed may owe the answer to a write: then nobody knows, and the program decides.
fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Io || error.code() == Some("OUTCOMEUNKNOWN")
}
