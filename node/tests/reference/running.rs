//! "Running a Cluster": the examples that it names, and its production settings.

use std::net::SocketAddr;

use crema::{CacheConfig, MemberlistConfig, MemberlistDiscovery, RaftConfig, RaftStorageType};

use crate::rig::Sample;

/// `cargo run --example basic` and `cargo run --example cluster -- 1`; the process tests run them.
#[test]
fn the_examples_are_there() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for name in ["basic", "cluster"] {
        assert!(examples.join(name).with_extension("rs").is_file(), "{name}");
    }
}

/// The fragments of "Production Deployment", in one configuration.
#[test]
fn production_deployment() -> Sample {
    // Left to the reader; where the reference has "...", one address.
    let (node_id, raft_addr): (u64, SocketAddr) = (1, "127.0.0.1:9000".parse()?);
    let seed_nodes: Vec<(u64, SocketAddr)> = vec![(2, "127.0.0.1:9001".parse()?)];

    let memberlist_config = MemberlistConfig {
        enabled: true,
        bind_addr: Some("0.0.0.0:9100".parse()?),
        seed_addrs: vec!["127.0.0.1:9101".parse()?],
        ..Default::default()
    };
    let discovery = MemberlistDiscovery::new(node_id, raft_addr, &memberlist_config, &seed_nodes);

    let config = CacheConfig::new(node_id, raft_addr)
        .with_raft_storage_type(RaftStorageType::RocksDb)
        .with_data_dir("/var/lib/crema/node1")
        .with_raft_config(RaftConfig {
            election_tick: 10, // 10 * tick_interval
            heartbeat_tick: 3, // 3 * tick_interval
            ..Default::default()
        })
        .with_cluster_discovery(discovery);

    // Not in the reference: nothing is opened before a cache is made of it.
    assert!(format!("{config:?}").contains("node1"));
    Ok(())
}
