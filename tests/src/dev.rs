//! A `crema-node dev`: three nodes in one process, on free ports.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;

use crate::{cluster::free_ports, http, process::Process};

const NODES: u16 = 3;

/// The process and its ports; killed when dropped.
#[derive(Debug)]
pub struct Dev {
    /// The process.
    pub process: Process,
    /// The first node's port for Redis clients; the others follow.
    pub resp_port: u16,
    http_port: u16,
}

impl Dev {
    /// Starts it with further flags. It has not formed yet.
    #[must_use]
    pub fn start(name: &str, further: &[&str]) -> Self {
        let (resp_port, http_port, grpc_port) = (free_ports(NODES), free_ports(NODES), free_ports(NODES));
        let own = [("--nodes", NODES), ("--port", resp_port), ("--http-port", http_port), ("--grpc-port", grpc_port)];
        let own = own.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_string()]);
        let further = further.iter().map(|&flag| flag.to_owned());
        let flags: Vec<String> = ["dev".to_owned()].into_iter().chain(own).chain(further).collect();
        let output = std::env::temp_dir().join(format!("crema-{name}-{}.log", std::process::id()));
        Self { process: Process::start("crema-node", &flags, &output), resp_port, http_port }
    }

    /// Where Redis clients connect, in the order of the nodes.
    #[must_use]
    pub fn resp(&self) -> Vec<SocketAddr> {
        addresses(self.resp_port)
    }

    /// The `/status` pages of all nodes; `None` when one does not answer.
    #[must_use]
    pub fn status(&self) -> Option<Vec<Value>> {
        let page = |addr| {
            let (status, body) = http::get(addr, "/status").ok()?;
            if status == 200 { serde_json::from_str(&body).ok() } else { None }
        };
        addresses(self.http_port).into_iter().map(page).collect()
    }
}

fn addresses(first: u16) -> Vec<SocketAddr> {
    (first..first + NODES).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).collect()
}
