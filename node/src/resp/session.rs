//! What a connection remembers between commands, and the list of all of them (`CLIENT LIST`).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use parking_lot::Mutex;

use tokio_util::sync::CancellationToken;

use super::{
    commands, config::RespConfig, reply::Proto, slowlog::SlowLog, stats::RespStats, transaction::Transaction,
};

/// What all connections of a door share.
pub(super) struct Server {
    pub(super) config: RespConfig,
    pub(super) stats: Arc<RespStats>,
    pub(super) slow_log: SlowLog,
    pub(super) started: Instant,
    /// Where the door listens.
    pub(super) address: SocketAddr,
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    next_id: AtomicU64,
}

impl Server {
    pub(super) fn new(config: RespConfig, stats: Arc<RespStats>, address: SocketAddr) -> Self {
        let clients = Mutex::new(BTreeMap::new());
        Self {
            config,
            stats,
            slow_log: SlowLog::default(),
            started: Instant::now(),
            address,
            clients,
            next_id: AtomicU64::new(1),
        }
    }

    /// Opens a session and lists it, until it is dropped.
    pub(super) fn open(self: &Arc<Self>, peer: SocketAddr, local: SocketAddr) -> Session {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let client = Arc::new(Client {
            id,
            peer,
            local,
            connected: Instant::now(),
            last_active_ms: AtomicU64::new(0),
            last_command: AtomicUsize::new(usize::MAX),
            queued: AtomicI64::new(-1),
            killed: CancellationToken::new(),
            labels: Mutex::default(),
        });
        self.clients.lock().insert(id, Arc::clone(&client));
        RespStats::connected_changed(&self.stats, 1);
        let reads = self.first_reads();
        Session {
            server: Arc::clone(self),
            client,
            proto: Proto::Resp2,
            reads,
            replies: Replies::On,
            transaction: Transaction::default(),
            waits: false,
            closing: false,
        }
    }

    /// How a connection reads that has not said it.
    fn first_reads(&self) -> Reads {
        if self.config.local_reads { Reads::Local } else { Reads::Linearizable }
    }

    /// All sessions by id.
    pub(super) fn clients(&self) -> Vec<Arc<Client>> {
        self.clients.lock().values().cloned().collect()
    }
}

impl RespStats {
    fn connected_changed(&self, by: i64) {
        self.connected.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
    }
}

/// How a connection's reads are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// `READWRITE`.
    Linearizable,
    /// `READONLY`.
    Local,
}

/// Whether a connection is answered (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    On,
    Off,
    /// The next command is not.
    SkipNext,
    /// The command that is being planned is not.
    SkipThis,
}

/// One connection's state. Dropping it takes the connection off the list.
pub(super) struct Session {
    pub(super) server: Arc<Server>,
    pub(super) client: Arc<Client>,
    pub(super) proto: Proto,
    pub(super) reads: Reads,
    pub(super) replies: Replies,
    /// Between `WATCH` and `EXEC`.
    pub(super) transaction: Transaction,
    /// The commands behind the last one depend on what comes of it: they are not planned before.
    pub(super) waits: bool,
    /// `QUIT` was read: nothing behind it is.
    pub(super) closing: bool,
}

impl Session {
    /// `RESET`: as the connection began.
    pub(super) fn reset(&mut self) {
        self.set_proto(Proto::Resp2);
        self.reads = self.server.first_reads();
        self.replies = Replies::On;
        self.transaction = Transaction::default();
        let mut labels = self.client.labels.lock();
        labels.name = Bytes::new();
        labels.no_evict = false;
        labels.no_touch = false;
    }

    /// Chooses the protocol of the replies from this command on.
    pub(super) fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
        self.client.labels.lock().proto = proto;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.clients.lock().remove(&self.client.id);
        self.server.stats.connected_changed(-1);
    }
}

/// What others may see of a connection.
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    connected: Instant,
    /// When the last pipeline was read, in milliseconds after `connected`.
    last_active_ms: AtomicU64,
    last_command: AtomicUsize,
    /// Commands that wait for `EXEC`; -1 outside of a transaction.
    pub(super) queued: AtomicI64,
    /// `CLIENT KILL`.
    pub(super) killed: CancellationToken,
    pub(super) labels: Mutex<Labels>,
}

/// What a client says about itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels {
    pub(super) name: Bytes,
    pub(super) library: Bytes,
    pub(super) library_version: Bytes,
    pub(super) proto: Proto,
    /// `CLIENT NO-EVICT`: kept to be shown; connections are never evicted here.
    pub(super) no_evict: bool,
    /// `CLIENT NO-TOUCH`: kept to be shown; what is popular is learned from all reads alike.
    pub(super) no_touch: bool,
}

impl Client {
    /// Notes that a pipeline was read, and its last command.
    pub(super) fn touch(&self, command: usize) {
        let age_ms = u64::try_from(self.connected.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_active_ms.store(age_ms, Ordering::Relaxed);
        self.last_command.store(command, Ordering::Relaxed);
    }

    /// Its line in `CLIENT LIST`, with the fields of Redis that mean something here.
    pub(super) fn describe(&self, out: &mut Vec<u8>) {
        let labels = self.labels.lock().clone();
        let age_ms = u64::try_from(self.connected.elapsed().as_millis()).unwrap_or(u64::MAX);
        let idle_ms = age_ms.saturating_sub(self.last_active_ms.load(Ordering::Relaxed));
        let command = commands::all().get(self.last_command.load(Ordering::Relaxed)).map_or("NULL", |spec| spec.name);
        let queued = self.queued.load(Ordering::Relaxed);
        let marks = [("x", queued >= 0), ("e", labels.no_evict), ("T", labels.no_touch)];
        let flags: String = marks.iter().filter(|(_, holds)| *holds).map(|(mark, _)| *mark).collect();
        let flags = if flags.is_empty() { "N" } else { &flags };
        out.extend_from_slice(format!("id={} addr={} laddr={} name=", self.id, self.peer, self.local).as_bytes());
        out.extend_from_slice(&labels.name);
        let numbers = format!(
            " age={} idle={} flags={flags} db=0 sub=0 psub=0 multi={queued} cmd={command} user=default lib-name=",
            age_ms / 1000,
            idle_ms / 1000,
        );
        out.extend_from_slice(numbers.as_bytes());
        out.extend_from_slice(&labels.library);
        out.extend_from_slice(b" lib-ver=");
        out.extend_from_slice(&labels.library_version);
        out.extend_from_slice(format!(" resp={}\n", labels.proto.number()).as_bytes());
    }
}
