//! `crema-node dev`: a cluster to try things out, all of it in this process and in memory.

use std::net::{Ipv4Addr, SocketAddr};

use crema::{
    cache::{Entry, NodeOptions, RunningNode, StartingNode, Storage, default_workers},
    multiraft::node::{Limits, Timings},
    types::NodeId,
};
use futures::future::{join_all, try_join_all};
use tokio::net::TcpListener;

use crate::{
    args::{Dev, RespMode},
    config,
    doors::{self, Door, RespLimits},
    start::StopSignals,
};

/// One node with its doors.
struct DevNode {
    node: RunningNode,
    resp: Door,
    http: Door,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(crate) async fn run(dev: Dev) -> anyhow::Result<()> {
    let mut signals = StopSignals::watch()?;
    let ids: Vec<u16> = (0..dev.nodes).collect();
    let members: Vec<_> =
        ids.iter().map(|i| (NodeId(u64::from(*i) + 1), local(dev.grpc_port + i).to_string())).collect();
    let starting = try_join_all(ids.iter().map(|i| listen(&dev, *i, members.clone()))).await?;
    let nodes = tokio::select! {
        nodes = try_join_all(starting.into_iter().map(Listening::join)) => nodes?,
        () = signals.recv() => return Ok(()),
    };
    greet(&dev);
    signals.recv().await;
    println!("stopping");
    // All go together: there is nobody to hand a leadership to.
    join_all(nodes.into_iter().map(DevNode::stop)).await;
    Ok(())
}

/// A node that has its ports, and waits for the others.
struct Listening {
    id: NodeId,
    mode: RespMode,
    node: StartingNode,
    resp: TcpListener,
    http: Door,
}

async fn listen(dev: &Dev, i: u16, members: Vec<(NodeId, String)>) -> anyhow::Result<Listening> {
    let spec = config::spec(&dev.cluster, members.len());
    let resp_addr = local(dev.port + i);
    let id = NodeId(u64::from(i) + 1);
    // Many nodes share this machine's cores.
    let workers =
        dev.cluster.workers.unwrap_or_else(|| (default_workers(spec.num_shards) / u32::from(dev.nodes)).max(1));
    let options = NodeOptions {
        node: id,
        listen: local(dev.grpc_port + i),
        advertise: local(dev.grpc_port + i).to_string(),
        entry: Entry::Listed(members),
        spec,
        client_address: resp_addr.to_string(),
        host: String::new(),
        zone: String::new(),
        workers,
        timings: Timings::default(),
        limits: Limits::default(),
        token: None,
        discovery: None,
        storage: Storage::Memory,
    };
    let resp = doors::bind(resp_addr, "Redis clients").await?;
    let http = doors::bind(local(dev.http_port + i), "HTTP").await?;
    let node = StartingNode::listen(options).await?;
    let http = doors::open_http(http, &node);
    Ok(Listening { id, mode: dev.cluster.resp_mode, node, resp, http })
}

impl Listening {
    async fn join(self) -> anyhow::Result<DevNode> {
        let Self { id, mode, node, resp, http } = self;
        let node = node.join().await?;
        let (router, view) = (node.router().clone(), node.view().clone());
        let limits = RespLimits { mode, ..RespLimits::default() };
        let resp = doors::open_resp(resp, limits, id, router, view, node.metrics());
        Ok(DevNode { node, resp, http })
    }
}

impl DevNode {
    async fn stop(self) {
        let Self { node, resp, http } = self;
        node.view().set_stopping();
        resp.close().await;
        http.close().await;
        node.shutdown().await;
    }
}

fn greet(dev: &Dev) {
    let last = dev.nodes - 1;
    let range = |first: u16| if last == 0 { first.to_string() } else { format!("{first} to {}", first + last) };
    let keys = match dev.cluster.resp_mode {
        RespMode::Proxy => "Every node takes every key.",
        RespMode::Cluster => "Redis clients need their cluster mode.",
    };
    println!("{} node(s), {} shard(s), in memory. {keys}", dev.nodes, dev.cluster.shards);
    println!(
        "  Redis clients   127.0.0.1, port {:<16} try: redis-cli -p {} SET greeting hello",
        range(dev.port),
        dev.port
    );
    println!("  gRPC            127.0.0.1, port {}", range(dev.grpc_port));
    println!(
        "  HTTP            127.0.0.1, port {:<16} see: http://127.0.0.1:{}/",
        range(dev.http_port),
        dev.http_port
    );
    println!("Ctrl-C stops it; what it held is gone then.");
}
