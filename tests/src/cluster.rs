//! `crema-node start` processes on loopback that form one cluster.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
};

use serde_json::Value;

use crate::{
    http,
    process::{Process, Signal},
    wait_for,
};

/// Ports below those that the system gives to outgoing connections, so that no client takes one meanwhile.
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 32_000;

/// A port on loopback that nobody listens on. Different in each call and, nearly always, in each process.
#[must_use]
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` neighbouring ports that nobody listens on.
///
/// # Panics
/// None are free.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = LAST_PORT - FIRST_PORT;
    let start = (std::process::id() as u16).wrapping_mul(97);
    for _ in 0..range {
        let first = FIRST_PORT + start.wrapping_add(NEXT.fetch_add(count, Ordering::Relaxed)) % range;
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no free ports from {FIRST_PORT} to {LAST_PORT}");
}

/// Where one node listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Peers and gRPC.
    pub peer: SocketAddr,
    /// Redis clients.
    pub resp: SocketAddr,
    /// `/readyz`, `/status`, `/metrics`.
    pub http: SocketAddr,
}

impl Addresses {
    /// Three free ports.
    #[must_use]
    pub fn free() -> Self {
        let one = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        Self { peer: one(), resp: one(), http: one() }
    }
}

/// One node: its number, where it listens, and its process while there is one.
#[derive(Debug)]
pub struct Node {
    /// Its NodeId.
    pub id: u64,
    /// Where it listens.
    pub addresses: Addresses,
    /// The flags of its last start.
    pub flags: Vec<String>,
    /// The process; `None` before the first start and after a kill.
    pub process: Option<Process>,
    folder: PathBuf,
    starts: u32,
}

impl Node {
    /// Starts its process. The output goes to `node-ID.START.log` in the cluster's folder.
    pub fn start(&mut self) {
        self.starts += 1;
        let output = self.folder.join(format!("node-{}.{}.log", self.id, self.starts));
        self.process = Some(Process::start("crema-node", &self.flags, &output));
    }

    /// The running process.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap_or_else(|| panic!("node {} is not running", self.id))
    }

    /// What its process has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// From its next start on it listens elsewhere; the others are not told.
    pub fn move_to_free_ports(&mut self) {
        let (old, new) = (self.addresses, Addresses::free());
        for (old, new) in [(old.peer, new.peer), (old.resp, new.resp), (old.http, new.http)] {
            let own = format!("{}={old}", self.id);
            for flag in &mut self.flags {
                *flag = match flag.as_str() == old.to_string() {
                    true => new.to_string(),
                    false => flag.replace(&own, &format!("{}={new}", self.id)),
                };
            }
        }
        self.addresses = new;
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// It ends instead.
    pub fn wait_ready(&mut self) {
        let id = self.id;
        wait_for(&format!("node {id} to be ready"), || {
            assert!(self.process().is_running(), "node {id} ended: {}", self.output());
            self.is_ready().then_some(())
        });
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// It ends with an error.
    pub fn stop(&mut self) {
        self.process().signal(Signal::Term);
        let status = self.process().wait_exit();
        assert!(status.success(), "node {}, {status}: {}", self.id, self.output());
        self.process = None;
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.process().signal(Signal::Kill);
        self.process().wait_exit();
        self.process = None;
    }

    /// Whether it says that clients may be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        http::get(self.addresses.http, "/readyz").is_ok_and(|(status, _)| status == 200)
    }

    /// Its `/status` page; `None` when it does not answer.
    #[must_use]
    pub fn status(&self) -> Option<Value> {
        let (status, body) = http::get(self.addresses.http, "/status").ok()?;
        if status == 200 { serde_json::from_str(&body).ok() } else { None }
    }

    /// How many shards it says that it leads.
    #[must_use]
    pub fn led(&self) -> u64 {
        self.status().and_then(|page| page.pointer("/node/shards/led")?.as_u64()).unwrap_or(0)
    }
}

impl Drop for Cluster {
    /// The logs stay for people to read; what took room goes.
    fn drop(&mut self) {
        let folders: Vec<String> = self.nodes.iter().map(|node| self.data(node.id)).collect();
        self.nodes.clear();
        if self.is_durable && !std::thread::panicking() {
            for folder in folders {
                // Nothing depends on it.
                let _ = std::fs::remove_dir_all(folder);
            }
        }
    }
}

impl Node {
    /// How many shards it holds a replica of, and how many it leads.
    fn hosted_and_led(&self) -> Option<(u64, u64)> {
        let page = self.status()?;
        let count = |name: &str| page.pointer(&format!("/node/shards/{name}"))?.as_u64();
        Some((count("local")?, count("led")?))
    }

    /// How many shards it holds a replica of.
    #[must_use]
    pub fn hosted(&self) -> Option<u64> {
        Some(self.hosted_and_led()?.0)
    }

    /// Whether every shard that it leads has so many voters and no learner, and it knows of no migration.
    fn is_settled(&self, replicas: usize) -> Option<bool> {
        let page = self.status()?;
        let migrations = page.pointer("/cluster/migrations")?.as_array()?;
        let shards = page.pointer("/shards")?.as_array()?;
        let count = |shard: &Value, name: &str| shard.get(name).and_then(Value::as_array).map_or(0, Vec::len);
        let sound = |shard: &Value| count(shard, "voters") == replicas && count(shard, "learners") == 0;
        Some(migrations.is_empty() && shards.iter().all(sound))
    }
}

/// A cluster of processes, all killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes by rising NodeId, from 1.
    pub nodes: Vec<Node>,
    folder: PathBuf,
    further: Vec<String>,
    is_durable: bool,
}

impl Cluster {
    /// Starts `count` nodes with 16 shards and further flags, and waits until all are ready and every shard is led.
    #[must_use]
    pub fn start(name: &str, count: usize, further: &[&str]) -> Self {
        Self::prepare(name, count, further).started()
    }

    /// As [`Self::start`], of nodes that keep their data in a folder each.
    #[must_use]
    pub fn start_durable(name: &str, count: usize, further: &[&str]) -> Self {
        let mut cluster = Self::empty(name, further);
        cluster.is_durable = true;
        Self::form(cluster, count).started()
    }

    fn started(mut self) -> Self {
        self.nodes.iter_mut().for_each(Node::start);
        self.nodes.iter_mut().for_each(Node::wait_ready);
        self.wait_led();
        self
    }

    /// The nodes and their flags, none started.
    ///
    /// # Panics
    /// Their folder can't be made.
    #[must_use]
    pub fn prepare(name: &str, count: usize, further: &[&str]) -> Self {
        Self::form(Self::empty(name, further), count)
    }

    fn form(mut cluster: Self, count: usize) -> Self {
        let all: Vec<(u64, Addresses)> = (1..=count as u64).map(|id| (id, Addresses::free())).collect();
        let peers: Vec<String> = all.iter().map(|(id, at)| format!("{id}={}", at.peer)).collect();
        let replication = count.min(3).to_string();
        for (id, addresses) in all {
            let shape =
                [("--peers", peers.join(",")), ("--shards", "16".to_owned()), ("--replication", replication.clone())];
            cluster.push(id, addresses, &shape);
        }
        cluster
    }

    /// No nodes yet; those that are added get these flags, too.
    ///
    /// # Panics
    /// Their folder can't be made.
    #[must_use]
    pub fn empty(name: &str, further: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("crema-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the logs");
        eprintln!("logs of the nodes: {}", folder.display());
        let further = further.iter().map(|&flag| flag.to_owned()).collect();
        Self { nodes: Vec::new(), folder, further, is_durable: false }
    }

    /// Adds a node, not started, that will join the others.
    pub fn add(&mut self) -> &mut Node {
        let seeds: Vec<String> = self.nodes.iter().map(|node| node.addresses.peer.to_string()).collect();
        self.add_with(&[("--join", seeds.join(","))])
    }

    /// Adds a node, not started, that has these flags of its own.
    pub fn add_with(&mut self, own: &[(&str, String)]) -> &mut Node {
        let id = self.nodes.last().map_or(1, |node| node.id + 1);
        self.push(id, Addresses::free(), own)
    }

    fn push(&mut self, id: u64, addresses: Addresses, shape: &[(&str, String)]) -> &mut Node {
        let own = [
            ("--node-id", id.to_string()),
            ("--peer-addr", addresses.peer.to_string()),
            ("--resp-addr", addresses.resp.to_string()),
            ("--http-addr", addresses.http.to_string()),
            // No proxy stands in front.
            ("--linger", "200ms".to_owned()),
        ];
        let data = self.data(id);
        let data = self.is_durable.then(|| [("--storage", "rocksdb".to_owned()), ("--data-dir", data)]);
        let own = own
            .iter()
            .chain(data.iter().flatten())
            .chain(shape)
            .flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]);
        let flags = ["start".to_owned()].into_iter().chain(own).chain(self.further.iter().cloned());
        let folder = self.folder.clone();
        self.nodes.push(Node { id, addresses, flags: flags.collect(), process: None, folder, starts: 0 });
        self.nodes.last_mut().expect("one was just added")
    }

    /// Where a node with a disk keeps its data.
    #[must_use]
    pub fn data(&self, id: u64) -> String {
        self.folder.join(format!("data-{id}")).display().to_string()
    }

    /// Waits until all replicas of every shard have applied the same, and asserts that their states are equal.
    ///
    /// # Panics
    /// Two replicas differ.
    pub fn assert_equal_states(&self) {
        let states = wait_for("replicas at one index", || {
            let pages: Option<Vec<Value>> = self.nodes.iter().map(Node::status).collect();
            let of_node = |page: &Value| {
                let shards = page.pointer("/shards")?.as_array()?;
                let state = |shard: &Value| Some((shard.get("applied")?.as_u64()?, shard.get("state_hash")?.clone()));
                shards.iter().map(state).collect::<Option<Vec<_>>>()
            };
            let states: Option<Vec<_>> = pages?.iter().map(of_node).collect();
            let states = states?;
            let applied = |state: &Vec<(u64, Value)>| state.iter().map(|(index, _)| *index).collect::<Vec<_>>();
            states.windows(2).all(|pair| applied(&pair[0]) == applied(&pair[1])).then_some(states)
        });
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "replicas differ: {states:?}");
    }

    /// Waits until the nodes at these places, and only they, hold every shard: `replicas` voters each, no learner, no
    /// migration under way, spread and led evenly.
    pub fn wait_balanced(&self, places: &[usize], replicas: usize) {
        wait_for("a balanced cluster", || {
            let counts: Option<Vec<(u64, u64)>> =
                places.iter().map(|&place| self.nodes[place].hosted_and_led()).collect();
            let counts = counts?;
            let even = |of: fn(&(u64, u64)) -> u64| {
                let all: Vec<u64> = counts.iter().map(of).collect();
                (all.iter().max()? - all.iter().min()? <= 1).then(|| all.iter().sum::<u64>())
            };
            let (hosted, led) = (even(|count| count.0)?, even(|count| count.1)?);
            let settled = self.nodes[*places.first()?].is_settled(replicas)?;
            (hosted == 16 * replicas as u64 && led == 16 && settled).then_some(())
        });
    }

    /// Where Redis clients connect, in the order of the nodes.
    #[must_use]
    pub fn resp(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.addresses.resp).collect()
    }

    /// Waits until the running nodes together lead every shard.
    pub fn wait_led(&self) {
        wait_for("a leader of every shard", || {
            let running = self.nodes.iter().filter(|node| node.process.is_some());
            let led: u64 = running.map(Node::led).sum();
            (led >= 16).then_some(())
        });
    }

    /// The place of the node that leads most shards.
    ///
    /// # Panics
    /// No node runs.
    #[must_use]
    pub fn busiest(&self) -> usize {
        let places = 0..self.nodes.len();
        places.max_by_key(|&place| self.nodes[place].led()).expect("a cluster has nodes")
    }
}
