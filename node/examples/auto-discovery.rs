//! Nodes that find each other by gossip: `cargo run -p crema --example auto-discovery -- 1` in one terminal, then
//! `2`, `3`, … in others. Only node 1's gossip address is known beforehand.
//!
//! Each prints who comes and goes, and what is to be done about it by its switches; Ctrl-C ends one.

use std::{collections::BTreeSet, net::SocketAddr, time::Instant};

use crema::{
    ClusterDiscovery, MemberlistConfig, MemberlistDiscovery, PeerManagementConfig,
    cluster::discovery::{PeerDecision, PeerManager, Sight},
};

fn raft_address(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_000 + node as u16 - 1))
}

fn gossip_address(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_100 + node as u16 - 1))
}

fn memberlist(node: u64) -> MemberlistConfig {
    MemberlistConfig {
        enabled: true,
        bind_addr: Some(gossip_address(node)),
        advertise_addr: None,
        seed_addrs: vec![gossip_address(1)],
        node_name: Some(format!("node-{node}")),
        peer_management: PeerManagementConfig {
            auto_add_peers: true,
            auto_remove_peers: false,
            auto_add_voters: true,
            auto_remove_voters: false,
        },
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let node: u64 = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).ok_or("usage: auto-discovery NODE")?;
    if !(1..=99).contains(&node) {
        return Err(format!("node {node}; 1 to 99 have a port here").into());
    }
    let discovery = MemberlistDiscovery::new(node, raft_address(node), &memberlist(node), &[]);
    discovery.start().await?;
    println!("node {node} gossips at {}", gossip_address(node));

    let mut manager = PeerManager::new(discovery.peer_management(), node.into(), Vec::new());
    let started = Instant::now();
    let mut watch = discovery.watch();
    loop {
        let found = watch.borrow_and_update().clone();
        for peer in found.iter() {
            println!("{} is {:?}", peer.address, peer.state);
        }
        let mono_ms = started.elapsed().as_millis() as u64;
        let nobody = BTreeSet::new();
        let sight = Sight { mono_ms, found: &found, map: None, connected: &nobody, leads_meta: false };
        for decision in manager.decide(sight) {
            match decision {
                PeerDecision::Contact { address, .. } => println!("would contact {address}"),
                PeerDecision::Forget { address } => println!("would forget {address}"),
                // A running cache does this, on the leader of the meta group.
                PeerDecision::Propose(command) => println!("would propose {command:?}"),
            }
        }
        tokio::select! {
            changed = watch.changed() => changed?,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    discovery.shutdown().await;
    Ok(())
}
