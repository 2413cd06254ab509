//! A Redis and a cluster of ours, asked the same: every reply must be the same, byte for byte.
//!
//! Random commands from a table (`templates`) go over several connections in turn, some in RESP2 and some in RESP3,
//! alone and in pipelines. What may differ is one list (`differences`), each with its reason.
//! `DIFFERENTIAL_SEED` chooses another first seed, `DIFFERENTIAL_COMMANDS` another number of commands.
//! Run by `tests/run redis`.

mod differences;
mod generator;
mod server;
mod session;
mod templates;

use std::{env, fmt::Write as _};

use crema_tests::cluster::Cluster;

use self::{
    generator::{Command, Generator},
    server::Redis,
    session::Session,
};

/// So many commands in one history; then all keys go, and the next seed begins with fresh connections.
const COMMANDS_OF_A_SEED: usize = 5_000;
const CONNECTIONS: usize = 6;
/// So many of the last commands are shown when a reply differs.
const SHOWN: usize = 60;
/// And so much of a word or a reply.
const SHOWN_BYTES: usize = 400;

#[test]
fn replies_are_those_of_redis() {
    let number = |name: &str, default: usize| env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let first_seed = number("DIFFERENTIAL_SEED", 1);
    let commands = number("DIFFERENTIAL_COMMANDS", 100_000);
    let redis = Redis::start();
    let cluster = Cluster::start("differential", 3, &[]);
    let seeds = commands.div_ceil(COMMANDS_OF_A_SEED);
    let mut compared = 0;
    for seed in first_seed..first_seed + seeds {
        compared += play(seed as u64, &redis, &cluster);
    }
    println!("{compared} replies compared, {seeds} seeds from {first_seed} on");
    assert!(compared >= commands, "only {compared} replies");
}

/// Plays one seed; how many replies were compared.
fn play(seed: u64, redis: &Redis, cluster: &Cluster) -> usize {
    let mut generator = Generator::new(seed);
    let mut sessions: Vec<(Session, Session)> = (0..CONNECTIONS)
        .map(|place| {
            let node = cluster.nodes[place % cluster.nodes.len()].addresses.resp;
            (Session::open(redis.address), Session::open(node))
        })
        .collect();
    let mut transactions: Vec<Transaction> = (0..CONNECTIONS).map(|_| Transaction::default()).collect();
    let (mut history, mut compared) = (Vec::new(), 0);
    for setup in [&["FLUSHALL"][..], &["HELLO", "3"]] {
        let places = if setup.len() == 1 { 0..1 } else { 0..CONNECTIONS / 2 };
        for place in places {
            let command = vec![setup.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>()];
            let _ = sessions[place].0.ask(&command);
            let _ = sessions[place].1.ask(&command);
        }
    }
    while compared < COMMANDS_OF_A_SEED {
        let place = generator.connection(CONNECTIONS);
        let pipeline = generator.pipeline(place);
        let (theirs, ours) = &mut sessions[place];
        let expected = theirs.ask(&pipeline);
        let came = ours.ask(&pipeline);
        for (at, command) in pipeline.iter().enumerate() {
            let mut reply = expected.get(at).cloned().unwrap_or_default();
            reply.truncate(SHOWN_BYTES);
            history.push((place, command.clone(), reply));
            let (expected, came) = (expected.get(at), came.get(at));
            let same = match (expected, came) {
                (Some(expected), Some(came)) => transactions[place].is_same(command, expected, came),
                (None, None) => true,
                _ => false,
            };
            assert!(same, "{}", report(seed, &history, expected, came));
            compared += 1;
        }
    }
    compared
}

/// What a connection has queued, to compare the replies of `EXEC` one by one.
#[derive(Default)]
struct Transaction(Vec<Command>);

impl Transaction {
    fn is_same(&mut self, command: &Command, theirs: &[u8], ours: &[u8]) -> bool {
        if theirs == b"+QUEUED\r\n" {
            self.0.push(command.clone());
            return theirs == ours;
        }
        let ends = |name: &[u8]| command.len() == 1 && command[0].eq_ignore_ascii_case(name);
        // `EXEC` with too many words ends it, too.
        if ends(b"DISCARD") || ends(b"RESET") || theirs.starts_with(b"-EXECABORT") {
            self.0.clear();
        }
        if !ends(b"EXEC") {
            return differences::is_same(command, theirs, ours);
        }
        let queued = std::mem::take(&mut self.0);
        let (theirs_each, ours_each) = (session::items(theirs), session::items(ours));
        theirs == ours
            || theirs_each.len() == queued.len()
                && ours_each.len() == queued.len()
                && queued.iter().zip(theirs_each).zip(ours_each).all(|((command, theirs), ours)| {
                    let same = differences::is_same(command, theirs, ours);
                    if !same {
                        let words: Vec<String> = command.iter().map(|word| shorten(word)).collect();
                        let (theirs, ours) = (shorten(theirs), shorten(ours));
                        eprintln!("in EXEC: {}\n  Redis: {theirs}\n  Crema: {ours}", words.join(" "));
                    }
                    same
                })
    }
}

fn report(
    seed: u64,
    history: &[(usize, Command, Vec<u8>)],
    theirs: Option<&Vec<u8>>,
    ours: Option<&Vec<u8>>,
) -> String {
    let mut out = format!("seed {seed} (DIFFERENTIAL_SEED={seed}), command {}:\n", history.len());
    let first = history.len().saturating_sub(SHOWN);
    for (place, command, reply) in &history[first..] {
        let words: Vec<String> = command.iter().map(|word| shorten(word)).collect();
        let _ = writeln!(out, "  {place}> {}  => {}", words.join(" "), shorten(reply));
    }
    let show = |reply: Option<&Vec<u8>>| reply.map_or("nothing".to_owned(), |reply| shorten(reply));
    let _ = writeln!(out, "  Redis: {}\n  Crema: {}", show(theirs), show(ours));
    out
}

fn shorten(bytes: &[u8]) -> String {
    match bytes.get(..SHOWN_BYTES) {
        Some(begin) => format!("{}... ({} bytes)", begin.escape_ascii(), bytes.len()),
        None => bytes.escape_ascii().to_string(),
    }
}
