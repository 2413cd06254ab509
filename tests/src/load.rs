//! Clients that load a cluster and write down what they were told, for the judge in [`crate::register`].
//!
//! Each is a thread with an ordinary blocking Redis client and its usual reconnect: after a failure it goes to the
//! next node. Half of the operations are reads; writes put a value that is written nowhere else.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use redis::{Connection, RedisError, RedisResult};

use crate::{
    history::{Call, Clock, Event},
    register::{check_counter, check_register},
    wait_for,
};

/// Keys that hold values; few, so that the clients meet.
const REGISTERS: usize = 48;
/// Keys that count.
const COUNTERS: usize = 16;
/// How long a client waits for one answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// Between two operations of a gentle client.
const GENTLE_PAUSE: Duration = Duration::from_millis(30);

/// What all clients share.
struct Shared {
    clock: Clock,
    stop: AtomicBool,
    next_value: AtomicU64,
    /// Between two operations of a client.
    pause: Duration,
}

/// Running clients.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Told>>,
    /// Answered operations of each client.
    answered: Vec<Arc<AtomicU64>>,
}

/// What one client, or all of them, were told.
#[derive(Default)]
pub struct Told {
    /// The history.
    pub calls: Vec<Call>,
    /// Failures by their text, as an application sees them through a client that reconnects: a connection that was
    /// closed is one only when the next attempts, one at each address, don't succeed either.
    pub errors: BTreeMap<String, u64>,
    /// Closed connections that a reconnect made good.
    pub reconnects: u64,
    /// The longest time between two answers of one client.
    pub longest_pause: Duration,
}

impl Load {
    /// Starts `clients` clients, spread over the nodes. Each is as fast as it is answered, which fills the machine.
    #[must_use]
    pub fn start(addrs: Vec<SocketAddr>, clients: usize) -> Self {
        Self::paced(addrs, clients, Duration::ZERO)
    }

    /// The same with a short pause between two operations of a client: for tests that wait for many other things, and
    /// would wait longer for the load. A failure or a pause of the service is seen by each client as well.
    #[must_use]
    pub fn gentle(addrs: Vec<SocketAddr>, clients: usize) -> Self {
        Self::paced(addrs, clients, GENTLE_PAUSE)
    }

    fn paced(addrs: Vec<SocketAddr>, clients: usize, pause: Duration) -> Self {
        let (clock, stop) = (Clock::default(), AtomicBool::new(false));
        let shared = Shared { clock, stop, next_value: AtomicU64::new(1), pause };
        let mut load = Self { shared: Arc::new(shared), clients: Vec::new(), answered: Vec::new() };
        load.add(addrs, clients);
        load
    }

    /// Starts more clients, which know these nodes.
    pub fn add(&mut self, addrs: Vec<SocketAddr>, clients: usize) {
        let addrs: Arc<[SocketAddr]> = addrs.into();
        for _ in 0..clients {
            let answered = Arc::new(AtomicU64::new(0));
            let client = Client::new(self.clients.len(), addrs.clone(), self.shared.clone(), answered.clone());
            self.clients.push(thread::spawn(move || client.run()));
            self.answered.push(answered);
        }
    }

    /// Waits until every client has had `more` further answers.
    pub fn wait_answers(&self, more: u64) {
        let count = |client: &Arc<AtomicU64>| client.load(Ordering::Relaxed);
        let goals: Vec<u64> = self.answered.iter().map(|client| count(client) + more).collect();
        wait_for("answers to every client", || {
            let all = self.answered.iter().zip(&goals).all(|(client, goal)| count(client) >= *goal);
            all.then_some(())
        });
    }

    /// Ends the load, and reads every key once through every address of `last`.
    ///
    /// # Panics
    /// A client panicked, or a last read is refused for long.
    #[must_use]
    pub fn finish(self, last: &[SocketAddr]) -> Told {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut told = Told::default();
        for client in self.clients {
            told.add(client.join().expect("a client panicked"));
        }
        for addr in last {
            told.calls.extend(read_all(*addr, &self.shared.clock));
        }
        told
    }
}

impl Told {
    fn add(&mut self, other: Self) {
        let Self { calls, errors, reconnects, longest_pause } = other;
        self.reconnects += reconnects;
        self.calls.extend(calls);
        for (text, count) in errors {
            *self.errors.entry(text).or_default() += count;
        }
        self.longest_pause = self.longest_pause.max(longest_pause);
    }

    /// Fails unless the history of every key is linearizable. Prints what was seen.
    ///
    /// # Panics
    /// It is not: the keys, and why.
    pub fn judge(&self, name: &str) {
        let mut by_key: BTreeMap<usize, Vec<&Call>> = BTreeMap::new();
        for call in &self.calls {
            by_key.entry(call.key).or_default().push(call);
        }
        let pause_ms = self.longest_pause.as_millis();
        println!(
            "{name}: {} calls, longest pause of a client {pause_ms} ms, {} reconnects, errors {:?}",
            self.calls.len(),
            self.reconnects,
            self.errors
        );
        let judged = by_key.into_iter().map(|(key, calls)| match key < REGISTERS {
            true => check_register(&calls).map_err(|why| format!("{}: {why}", key_name(key))),
            false => check_counter(&calls).map_err(|why| format!("{}: {why}", key_name(key))),
        });
        let wrong: Vec<String> = judged.filter_map(Result::err).collect();
        assert!(wrong.is_empty(), "not linearizable:\n{}", wrong.join("\n"));
    }

    /// How many writes were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        let acknowledged = |call: &&Call| {
            matches!(call.event, Event::Write { acknowledged: true, .. } | Event::Increment { sum: Some(_) })
        };
        self.calls.iter().filter(acknowledged).count()
    }
}

fn key_name(key: usize) -> String {
    if key < REGISTERS { format!("register:{key}") } else { format!("counter:{key}") }
}

/// Reads every key; waits out what is refused, since the cluster is expected to be well.
fn read_all(addr: SocketAddr, clock: &Clock) -> Vec<Call> {
    let mut connection = wait_for("a connection for the last reads", || connect(addr).ok());
    let read = |key| {
        wait_for("a last read", || {
            let begin = clock.tick();
            let value: RedisResult<Option<u64>> = redis::cmd("GET").arg(key_name(key)).query(&mut connection);
            match value {
                Ok(value) => Some(Call { key, begin, end: clock.tick(), event: Event::Read { value } }),
                Err(_) => {
                    connection = connect(addr).ok()?;
                    None
                }
            }
        })
    };
    (0..REGISTERS + COUNTERS).map(read).collect()
}

/// Opens a connection with the client's timeouts.
///
/// # Errors
/// As the client library has them.
pub fn connect(addr: SocketAddr) -> RedisResult<Connection> {
    let client = redis::Client::open(format!("redis://{addr}/"))?;
    let connection = client.get_connection_with_timeout(CLIENT_TIMEOUT)?;
    connection.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    connection.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    Ok(connection)
}

/// One client.
struct Client {
    number: usize,
    addrs: Arc<[SocketAddr]>,
    shared: Arc<Shared>,
    answered: Arc<AtomicU64>,
    draw: u64,
    attempts: usize,
    /// Since the last answer.
    failures: usize,
    last_answer: Instant,
    told: Told,
}

impl Client {
    fn new(number: usize, addrs: Arc<[SocketAddr]>, shared: Arc<Shared>, answered: Arc<AtomicU64>) -> Self {
        Self {
            number,
            addrs,
            shared,
            answered,
            draw: number as u64 + 1,
            attempts: 0,
            failures: 0,
            last_answer: Instant::now(),
            told: Told::default(),
        }
    }

    fn run(mut self) -> Told {
        let mut connection = None;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let Some(open) = &mut connection else {
                connection = self.reconnect();
                continue;
            };
            if !self.operation(open) {
                connection = None;
            }
            thread::sleep(self.shared.pause);
        }
        self.told
    }

    /// The first attempt goes to this client's own node, each later one to the next.
    fn reconnect(&mut self) -> Option<Connection> {
        let addr = self.addrs[(self.number + self.attempts) % self.addrs.len()];
        self.attempts += 1;
        match connect(addr) {
            Ok(connection) => Some(connection),
            Err(error) => {
                self.failed("connect", &error);
                thread::sleep(RECONNECT_PAUSE);
                None
            }
        }
    }

    /// One operation; false when the connection is of no more use.
    fn operation(&mut self, connection: &mut Connection) -> bool {
        let key = self.below(REGISTERS + COUNTERS);
        let is_read = self.below(2) == 0;
        let begin = self.shared.clock.tick();
        let (event, failure) = match (is_read, key < REGISTERS) {
            (true, _) => self.read(connection, key),
            (false, true) => self.write(connection, key),
            (false, false) => increment(connection, key),
        };
        let end = self.shared.clock.tick();
        self.told.calls.extend(event.map(|event| Call { key, begin, end, event }));
        match failure {
            None => {
                self.answered();
                true
            }
            Some(error) => {
                self.failed("operation", &error);
                // A refusal leaves the connection sound; go on with it after a moment, as client libraries do.
                thread::sleep(RECONNECT_PAUSE);
                !error.is_io_error() && !error.is_timeout() && !error.is_unrecoverable_error()
            }
        }
    }

    fn read(&self, connection: &mut Connection, key: usize) -> (Option<Event>, Option<RedisError>) {
        match redis::cmd("GET").arg(key_name(key)).query(connection) {
            Ok(value) => (Some(Event::Read { value }), None),
            Err(error) => (None, Some(error)),
        }
    }

    /// Any failure of a write counts as unknown, also where the node says that it has not happened: that asks
    /// less of the node, never more.
    fn write(&self, connection: &mut Connection, key: usize) -> (Option<Event>, Option<RedisError>) {
        let value = self.shared.next_value.fetch_add(1, Ordering::Relaxed);
        let result: RedisResult<()> = redis::cmd("SET").arg(key_name(key)).arg(value).query(connection);
        (Some(Event::Write { value, acknowledged: result.is_ok() }), result.err())
    }

    fn answered(&mut self) {
        let now = Instant::now();
        self.told.longest_pause = self.told.longest_pause.max(now - self.last_answer);
        self.last_answer = now;
        self.failures = 0;
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&mut self, doing: &str, error: &RedisError) {
        self.failures += 1;
        let closed = error.is_connection_dropped() || error.is_connection_refusal();
        if closed && self.failures <= self.addrs.len() {
            self.told.reconnects += 1;
            return;
        }
        let text = format!("{doing}: {}", error.code().map_or_else(|| error.to_string(), str::to_owned));
        *self.told.errors.entry(text).or_default() += 1;
    }

    fn below(&mut self, bound: usize) -> usize {
        // A linear congruential generator (Knuth's constants): any spread will do.
        self.draw = self.draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.draw >> 33) as usize % bound
    }
}

fn increment(connection: &mut Connection, key: usize) -> (Option<Event>, Option<RedisError>) {
    let result: RedisResult<u64> = redis::cmd("INCR").arg(key_name(key)).query(connection);
    match result {
        Ok(sum) => (Some(Event::Increment { sum: Some(sum) }), None),
        Err(error) => (Some(Event::Increment { sum: None }), Some(error)),
    }
}
