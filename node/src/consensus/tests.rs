//! Scripts (`crate::golden`) in `consensus/testdata`: replicas on a network that only moves when a script says so.
//!
//! Every block goes on where the one before stopped; `new` starts over. The words are in [`Script::line`]. What holds in every script is asserted as it runs: entries are handed out once, in order and
//! the same on every replica, and no read is answered twice.

mod durable;
mod membership;
mod timeouts;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    mem,
};

use bytes::Bytes;
use crema_api::v1;

use super::*;
use crate::{
    golden,
    types::{GroupId, Incarnation, LogIndex, ReplicaId, Term, Timestamp},
};

const ELECTION_TICKS: usize = 10;
const HEARTBEAT_TICKS: usize = 2;

#[test]
fn scripts() {
    golden::check("src/consensus/testdata", driver);
}

/// What happens by each line, on a network of its own.
fn driver() -> impl FnMut(&str) -> String {
    let mut script = Script::default();
    move |line: &str| {
        script.line(line);
        mem::take(&mut script.out)
    }
}

fn config(replica: u64, voters: u64, learners: u64, seed: u64) -> ReplicaConfig {
    ReplicaConfig {
        group: GroupId(1),
        generation: 1,
        replica: ReplicaId(replica),
        incarnation: Incarnation(u128::from(replica)),
        origin: Origin::First {
            voters: (1..=voters).map(ReplicaId).collect(),
            learners: (voters + 1..=voters + learners).map(ReplicaId).collect(),
        },
        election_ticks: ELECTION_TICKS,
        heartbeat_ticks: HEARTBEAT_TICKS,
        seed,
        durable: false,
        boot: 0,
    }
}

/// A replica and what the script remembers of it.
struct Peer {
    replica: Replica<u64>,
    /// What its clock would stamp.
    stamp: Timestamp,
    standing: Standing,
    applied: LogIndex,
    /// What a machine would keep: how many conf changes took effect.
    conf_version: u64,
    disk: durable::Disk,
}

impl Peer {
    fn new(id: u64, config: ReplicaConfig) -> Self {
        let applied = if config.origin == Origin::Empty { LogIndex(0) } else { FIRST_INDEX };
        let replica = Replica::new(config);
        let standing = replica.standing();
        Self {
            replica,
            stamp: Timestamp(id * 1_000),
            standing,
            applied,
            conf_version: 0,
            disk: durable::Disk::default(),
        }
    }
}

#[derive(Default)]
struct Script {
    peers: BTreeMap<u64, Peer>,
    queue: Vec<v1::RaftMessage>,
    /// Links, from and to, that lose what is sent.
    cut: BTreeSet<(u64, u64)>,
    /// What was committed: the same on every replica.
    log: BTreeMap<LogIndex, (Term, CommittedKind)>,
    /// The configurations that came into force, with their versions; the same on every replica.
    confs: BTreeMap<LogIndex, (u64, v1::ConfState)>,
    seed: u64,
    answered: BTreeSet<u64>,
    out: String,
}

impl Script {
    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["new", voters, ref options @ ..] => self.start(number(voters), options),
            ["ticks", times, ref ids @ ..] => self.ticks(number(times), ids),
            ["run", times] => self.run(number(times)),
            ["deliver"] => self.deliver_all(),
            ["deliver", link] => self.deliver(link),
            ["drop", link] => {
                let lost = self.pick(link).len();
                self.say(format_args!("{lost} lost"));
            }
            ["queue"] => self.show_queue(),
            ["cut", id] => self.isolate(number(id)),
            ["heal"] => self.cut.clear(),
            ["flow"] => self.flow(),
            ["sync", id] => self.sync(number(id), usize::MAX),
            ["sync", id, count] => self.sync(number(id), number(count)),
            ["crash", id] => self.crash(number(id)),
            ["spare", id] => self.spare(number(id)),
            ["kill", id] => self.kill(number(id)),
            ["members"] => self.members(),
            ["status"] => self.status(),
            ["step", id, ref fields @ ..] => self.receive(message(number(id), fields)),
            [verb, target, ref rest @ ..] => self.ask(verb, target, rest),
            _ => panic!("unknown command {line}"),
        }
    }

    /// Commands to one replica.
    fn ask(&mut self, verb: &str, target: &str, rest: &[&str]) {
        let (id, to) = target.split_once('>').map_or((target, None), |(id, to)| (id, Some(to)));
        let (id, to) = (number(id), to.map(number).map(ReplicaId));
        let peer = self.peers.get_mut(&id).expect("a replica");
        let replica = &mut peer.replica;
        let answer = match (verb, rest) {
            ("campaign", []) => {
                replica.campaign();
                String::new()
            }
            ("wake", []) => {
                replica.wake();
                String::new()
            }
            ("propose", [data]) => match replica.propose(data.as_bytes().to_vec()) {
                Ok((index, term)) => format!("proposed at {index} in term {term}"),
                Err(Dropped) => "dropped".to_owned(),
            },
            ("read", reads) => {
                reads.iter().for_each(|read| replica.read(number(read)));
                String::new()
            }
            ("expire", [upto]) => {
                let upto = number::<u64>(upto);
                format!("given back {:?}", replica.drop_reads(|read| *read <= upto))
            }
            ("pending", []) => format!("{} pending", replica.pending_reads()),
            ("stamp", [ms]) => {
                peer.stamp = Timestamp(number(ms));
                String::new()
            }
            ("transfer", []) => {
                let begun = replica.transfer_to(to.expect("from>to"));
                (if begun { "begun" } else { "refused" }).to_owned()
            }
            ("truncate", [index]) => {
                replica.truncate_to(LogIndex(number(index)));
                let (entries, bytes) = replica.log_size();
                format!("log after {}, {entries} entries, {bytes} bytes", replica.truncated_to())
            }
            ("offer", ["none"]) => {
                replica.offer_snapshot(None);
                String::new()
            }
            ("offer", [index]) => {
                let index = LogIndex(number(index));
                let term = replica.term_at(index).expect("the log has it").0;
                let (_, conf) = conf_at(&self.confs, index);
                replica.offer_snapshot(Some((SnapshotPoint { index: index.0, term }, conf)));
                String::new()
            }
            ("conf", [version, step @ ..]) => match replica.propose_conf(&membership::change(version, step)) {
                Ok((index, term)) => format!("proposed at {index} in term {term}"),
                Err(Dropped) => "dropped".to_owned(),
            },
            ("progress", []) => membership::progress(replica),
            ("wants", []) => format!("wants a snapshot: {}", replica.wants_snapshot()),
            ("report", [how @ ("ok" | "failed")]) => {
                replica.report_snapshot(to.expect("from>to"), *how == "ok");
                String::new()
            }
            ("unreachable", []) => {
                replica.report_unreachable(to.expect("from>to"));
                String::new()
            }
            ("matches", []) => {
                let matches: Vec<_> = replica.matches().iter().map(|(id, at)| format!("{id} at {at}")).collect();
                matches.join(", ")
            }
            ("level", []) => format!("level: {}", replica.is_level(peer.applied)),
            _ => panic!("unknown command {verb} {target} {rest:?}"),
        };
        if !answer.is_empty() {
            self.say(format_args!("{answer}"));
        }
        self.take(id);
    }

    fn say(&mut self, what: std::fmt::Arguments<'_>) {
        writeln!(self.out, "{what}").expect("a string grows");
    }

    fn start(&mut self, voters: u64, options: &[&str]) {
        let (mut seed, mut learners, mut durable) = (1, 0, false);
        for option in options {
            match option.split_once('=') {
                None if *option == "durable" => durable = true,
                Some(("seed", n)) => seed = number(n),
                Some(("learners", n)) => learners = number(n),
                _ => panic!("unknown option {option}"),
            }
        }
        let config = |id| ReplicaConfig { durable, ..config(id, voters, learners, seed) };
        let peer = |id| (id, Peer::new(id, config(id)));
        let peers: BTreeMap<u64, Peer> = (1..=voters + learners).map(peer).collect();
        let confs = BTreeMap::from([(FIRST_INDEX, (0, peers[&1].replica.conf()))]);
        *self = Self { peers, confs, seed, ..Self::default() };
    }

    /// Ticks without a delivery; of all replicas, or those named.
    fn ticks(&mut self, times: usize, ids: &[&str]) {
        let ids = if ids.is_empty() { self.ids() } else { ids.iter().map(|id| number(id)).collect() };
        for _ in 0..times {
            for id in &ids {
                self.peers.get_mut(id).expect("a replica").replica.tick();
                self.take(*id);
            }
        }
    }

    fn ids(&self) -> Vec<u64> {
        self.peers.keys().copied().collect()
    }

    /// Ticks of a network that delivers at once.
    fn run(&mut self, times: usize) {
        for _ in 0..times {
            self.ticks(1, &[]);
            self.deliver_all();
        }
    }

    fn deliver_all(&mut self) {
        while !self.queue.is_empty() {
            let message = self.queue.remove(0);
            self.receive(message);
        }
    }

    /// What is on a link now, and nothing that follows from it.
    fn deliver(&mut self, link: &str) {
        for message in self.pick(link) {
            self.receive(message);
        }
    }

    fn pick(&mut self, link: &str) -> Vec<v1::RaftMessage> {
        let (from, to) = link.split_once('>').expect("from>to");
        let (from, to) = (number(from), number(to));
        self.queue.extract_if(.., |message| (message.from, message.to) == (from, to)).collect()
    }

    fn receive(&mut self, message: v1::RaftMessage) {
        let id = message.to;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Err(error) = peer.replica.step(message) {
            self.say(format_args!("{id} refuses: {error}"));
        }
        self.take(id);
    }

    fn isolate(&mut self, id: u64) {
        for other in self.ids() {
            self.cut.extend([(id, other), (other, id)]);
        }
        self.queue.retain(|message| !self.cut.contains(&(message.from, message.to)));
    }

    /// Does what the replica asks for, as its node would; every turn's entries and reads are checked.
    fn take(&mut self, id: u64) {
        self.show_standing(id);
        loop {
            let peer = self.peers.get_mut(&id).expect("a replica");
            let Some(output) = peer.replica.poll((peer.stamp > Timestamp(0)).then_some(peer.stamp)) else { break };
            let Output { persist, install, messages, committed, reads } = output;
            if let Some((number, persist)) = persist {
                self.note_write(id, number, persist);
            }
            let peer = self.peers.get_mut(&id).expect("a replica");
            if let Some(SnapshotPoint { index, term }) = install {
                peer.applied = LogIndex(index);
                peer.replica.applied(peer.applied);
                let (version, conf) = conf_at(&self.confs, peer.applied);
                assert_eq!(peer.replica.conf(), conf, "{id} has another configuration at {index}");
                peer.conf_version = version;
                self.say(format_args!("{id} installs a snapshot at {index}, term {term}"));
            }
            self.queue.extend(messages.into_iter().filter(|message| !self.cut.contains(&(message.from, message.to))));
            let last = committed.last().map(|entry| entry.index);
            for entry in committed {
                self.apply(id, entry);
            }
            if let Some(last) = last {
                self.peers.get_mut(&id).expect("a replica").replica.applied(last);
            }
            for ReadAnswer { index, now, reads } in reads {
                self.say(format_args!("{id} answers {reads:?} at {index}, now {now}"));
                for read in reads {
                    assert!(self.answered.insert(read), "read {read} was answered twice");
                }
            }
        }
        self.show_standing(id);
    }

    fn apply(&mut self, id: u64, entry: Committed) {
        let Committed { index, term, kind } = entry;
        let peer = self.peers.get_mut(&id).expect("a replica");
        assert_eq!(index, peer.applied.next(), "{id} is handed a gap or an entry twice");
        peer.applied = index;
        let first = self.log.entry(index).or_insert_with(|| (term, kind.clone()));
        assert_eq!(*first, (term, kind.clone()), "{id} applies another entry at {index}");
        match kind {
            CommittedKind::Empty => self.say(format_args!("{id} applies {index}: an empty entry of term {term}")),
            CommittedKind::Normal(data) => self.say(format_args!("{id} applies {index}: {}", data.escape_ascii())),
            CommittedKind::ConfChange { context } => self.apply_conf(id, index, &context),
        }
    }

    fn show_standing(&mut self, id: u64) {
        let peer = self.peers.get_mut(&id).expect("a replica");
        let Standing { role, term, leader, .. } = peer.replica.standing();
        let before = mem::replace(&mut peer.standing, peer.replica.standing());
        if (role, term, leader) != (before.role, before.term, before.leader) {
            let known = leader.map_or("nobody".to_owned(), |leader| leader.to_string());
            match role {
                Role::Leader => self.say(format_args!("{id} leads in term {term}")),
                Role::Follower => self.say(format_args!("{id} follows {known} in term {term}")),
                Role::Candidate => self.say(format_args!("{id} stands, term {term}")),
            }
        }
    }

    fn status(&mut self) {
        for id in self.ids() {
            let Standing { role, term, leader, commit, last } = self.peers[&id].replica.standing();
            let leader = leader.map_or("nobody".to_owned(), |leader| leader.to_string());
            self.say(format_args!("{id} {role:?} of {leader}, term {term}, commit {commit}, last {last}"));
        }
    }

    fn show_queue(&mut self) {
        for message in self.queue.clone() {
            let text = show(&message);
            self.say(format_args!("{text}"));
        }
    }
}

fn show(message: &v1::RaftMessage) -> String {
    let v1::RaftMessage { from, to, term, index, commit, reject, read_now_ms, .. } = message;
    let kind = convert::from_wire(message.clone()).expect("our own message").msg_type;
    let mut out = format!("{from}>{to} {kind:?} term {term}");
    if *index != 0 || *commit != 0 {
        let _ = write!(out, " index {index} commit {commit}");
    }
    if !message.entries.is_empty() {
        let _ = write!(out, " entries {}", message.entries.len());
    }
    if let Some(meta) = &message.snapshot {
        let conf = meta.conf.clone().unwrap_or_default();
        let _ = write!(out, " snapshot {} of {:?} and {:?}", meta.index, conf.voters, conf.learners);
        if !conf.voters_outgoing.is_empty() {
            let _ = write!(out, " from {:?}", conf.voters_outgoing);
        }
    }
    out += if *reject { " reject" } else { "" };
    if *read_now_ms != 0 {
        let _ = write!(out, " now {read_now_ms}");
    }
    out
}

/// The version and the configuration in force at an index.
fn conf_at(confs: &BTreeMap<LogIndex, (u64, v1::ConfState)>, index: LogIndex) -> (u64, v1::ConfState) {
    confs.range(..=index).next_back().expect("the first one").1.clone()
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

/// A message that the script makes up; `entries=INDEX:TYPE,…`, `snapshot=INDEX:TERM` of three voters
/// unless `voters=`, `outgoing=`, `learners=` and `leave=auto` say otherwise.
fn message(to: u64, fields: &[&str]) -> v1::RaftMessage {
    let mut message = v1::RaftMessage { group: 1, generation: 1, to, ..Default::default() };
    for field in fields {
        match field.split_once('=').expect("field=value") {
            ("type", n) => message.r#type = number(n),
            ("from", n) => message.from = number(n),
            ("term", n) => message.term = number(n),
            ("logterm", n) => message.log_term = number(n),
            ("index", n) => message.index = number(n),
            ("commit", n) => message.commit = number(n),
            ("snapshot", point) => message.snapshot = Some(snapshot(point)),
            ("voters", list) => conf_of(&mut message).voters = ids(list),
            ("outgoing", list) => conf_of(&mut message).voters_outgoing = ids(list),
            ("learners", list) => conf_of(&mut message).learners = ids(list),
            ("leave", "auto") => conf_of(&mut message).auto_leave = true,
            ("entries", list) => message.entries = list.split(',').map(|e| entry(e, message.term)).collect(),
            _ => panic!("unknown field {field}"),
        }
    }
    message
}

/// The configuration of a made-up snapshot.
fn conf_of(message: &mut v1::RaftMessage) -> &mut v1::ConfState {
    message.snapshot.as_mut().and_then(|meta| meta.conf.as_mut()).expect("snapshot=INDEX:TERM comes first")
}

fn ids(list: &str) -> Vec<u64> {
    list.split(',').filter(|id| !id.is_empty()).map(number).collect()
}

fn entry(word: &str, term: u64) -> v1::LogEntry {
    let (index, kind) = word.split_once(':').expect("index:type");
    let data = Bytes::from(format!("made-up-{index}"));
    v1::LogEntry { r#type: number(kind), term, index: number(index), data, context: Bytes::new() }
}

fn snapshot(word: &str) -> v1::SnapshotMeta {
    let (index, term) = word.split_once(':').expect("index:term");
    let conf = v1::ConfState { voters: vec![1, 2, 3], ..Default::default() };
    v1::SnapshotMeta { index: number(index), term: number(term), conf: Some(conf) }
}
