//! A run: one cluster, its clients and its trouble, on one thread, all from one seed.
//!
//! The world owns true time. It hands the nodes their inputs, performs what they ask for, and shows every node to the
//! invariants after each turn. Called by [`run`]; nothing here may look at a real clock or at the order of a hash map.

use crema::{
    checkpoint,
    cluster::map::ClusterMap,
    faults::{Fault, Faults},
    machine::{
        command::{Op, Query},
        store::{Entry, EntryStore},
    },
    multiraft::node::{Effects, GroupStatus, Input, ReceivedSnapshot, SendSnapshot, Ticket},
    types::{Draw, GroupId},
};
use crema_api::v1;

use crate::{
    check::{self, Checked, ClockBounds, Rules, SearchLimit},
    clients::{Answered, Clients},
    clock::{MS, Micros, NodeClock, SECOND, wall_ms},
    cluster,
    host::{Host, node_id, place_of},
    invariants::{Failure, Watch, answers, complaints, convergence, tier},
    net::{Net, Notice, Place},
    plan::{Incident, Plan},
    queue::Queue,
    workload::{Ask, Workload, get_both, hidden_key},
};

/// After the trouble the cluster must have recovered within this.
const RECOVERY: Micros = 15 * SECOND;
/// How long the last reads and writes may take.
const LAST_TIMEOUT_MS: u64 = 6_000;

/// What a run that found nothing went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// Operations that clients asked for.
    pub ops: usize,
    /// What the checker looked at.
    pub checked: Checked,
    /// Virtual time.
    pub ended_at: Micros,
    /// Things that happened.
    pub events: u64,
}

/// Not an invariant: the history of one key was too hard to judge.
pub const UNDECIDED: &str = "undecided";

/// Which plan a seed has, and whether a bug is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Any plan, no bug.
    Sound,
    /// A plan that lets this bug show itself, and the bug.
    Planted(Fault),
    /// The same plan without the bug: it must pass, or the plan and not the bug was caught.
    Control(Fault),
}

/// Runs a seed. `trace` gets a line for each thing that happens.
///
/// # Errors
/// The invariant that did not hold.
pub fn run(seed: u64, scenario: Scenario, trace: Option<&mut dyn FnMut(String)>) -> Result<Passed, Failure> {
    complaints::listen(|| World::new(seed, scenario, trace).run())
}

#[derive(Debug)]
enum Event {
    Tick(Place),
    Turn(Place),
    Resume(Place),
    Round(u64),
    Overdue(Ticket),
    Incident(usize),
    Heal,
    Snapshot {
        from: Place,
        snapshot: Box<SendSnapshot>,
    },
    /// Have the nodes converged? Then the last calls; then the end.
    Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Trouble,
    Recovery,
    /// The nodes agree and were left alone; the last calls are out.
    LastCalls,
    Done,
}

struct World<'t> {
    plan: Plan,
    map: ClusterMap,
    faults: Faults,
    seed: u64,
    now: Micros,
    phase: Phase,
    queue: Queue<Event>,
    net: Net<v1::Frame>,
    hosts: Vec<Host>,
    clients: Clients,
    watch: Watch,
    draw: Draw,
    /// The true error of clocks, least and most, over all nodes but the one whose clock jumps.
    clock_error_ms: (i64, i64),
    jumper: Option<Place>,
    events: u64,
    trace: Option<&'t mut dyn FnMut(String)>,
}

macro_rules! trace {
    ($world:expr, $($text:tt)*) => {
        if let Some(trace) = $world.trace.as_mut() {
            trace(format!("{:>9.3} {}", $world.now as f64 / 1000.0, format_args!($($text)*)));
        }
    };
}

impl<'t> World<'t> {
    fn new(seed: u64, scenario: Scenario, trace: Option<&'t mut dyn FnMut(String)>) -> Self {
        let mut draw = Draw::new(seed ^ 0x5eed);
        let (plan, faults) = match scenario {
            Scenario::Sound => (Plan::of(&mut draw), Faults::none()),
            Scenario::Planted(fault) => (Plan::hunting(fault, &mut draw), Faults::none().with(fault)),
            Scenario::Control(fault) => (Plan::hunting(fault, &mut draw), Faults::none()),
        };
        let map = cluster::map(&plan);
        let hosts = (0..plan.nodes).map(|place| {
            let clock = NodeClock::skewed(&mut draw, plan.skew_ms, plan.drift_ppm);
            Host::new(place, clock, &plan, &map, seed, faults)
        });
        let hosts = hosts.collect();
        let jumper = plan.incidents.iter().find_map(|(_, incident)| match incident {
            Incident::Jump(place, _) => Some(*place),
            _ => None,
        });
        Self {
            net: Net::new(plan.nodes, Draw::new(draw.next_u64())),
            clients: Clients::new(Workload::new(plan.load.clone(), plan.shards)),
            queue: Queue::default(),
            watch: Watch::default(),
            now: 0,
            phase: Phase::Trouble,
            clock_error_ms: (0, 0),
            events: 0,
            plan,
            map,
            faults,
            seed,
            hosts,
            draw,
            jumper,
            trace,
        }
    }

    fn run(mut self) -> Result<Passed, Failure> {
        trace!(self, "plan {:?}", self.plan);
        self.schedule();
        while self.phase != Phase::Done {
            self.events += 1;
            let (local, net) = (self.queue.next_at(), self.net.next_at());
            let result = match (local, net) {
                (Some(local), Some(net)) if net < local => self.net_event(net),
                (None, Some(net)) => self.net_event(net),
                (Some(_), _) => self.own_event(),
                (None, None) => unreachable!("ticks never end"),
            };
            result.map_err(|(invariant, reason)| Failure { invariant, at: self.now, reason })?;
        }
        self.judge()
    }

    fn schedule(&mut self) {
        for place in 0..self.plan.nodes {
            let at = self.draw.below(50 * MS);
            self.queue.set(at, Event::Tick(place));
        }
        for client in 0..self.plan.load.clients {
            let at = 500 * MS + self.draw.below(SECOND);
            self.queue.set(at, Event::Round(client));
        }
        for i in 0..self.plan.incidents.len() {
            self.queue.set(self.plan.incidents[i].0, Event::Incident(i));
        }
        self.queue.set(self.plan.heal_at, Event::Heal);
    }

    fn judge(mut self) -> Result<Passed, Failure> {
        let rules = self.rules();
        let history = self.clients.recorder().history();
        let checked = check::check(history, &rules, SearchLimit::default()).map_err(|violation| Failure {
            invariant: if violation.undecided { UNDECIDED } else { "linearizability" },
            at: self.now,
            reason: violation.to_string(),
        })?;
        trace!(self, "passed: {checked:?}");
        Ok(Passed { ops: self.clients.asked(), checked, ended_at: self.now, events: self.events })
    }

    /// How far log time may have been from true time: as wrong as the clocks were, and a jumping clock leads it
    /// forward by the allowed skew at most (PROTOCOL 3).
    fn rules(&self) -> Rules {
        let (least, most) = self.clock_error_ms;
        let allowed = if self.jumper.is_some() { self.map.settings.max_clock_skew_ms } else { 0 };
        let slack = 20;
        let clocks = ClockBounds {
            behind_ms: least.min(0).unsigned_abs() + slack,
            ahead_ms: most.max(0).unsigned_abs() + allowed + slack,
        };
        // A clock that was set back holds log time back, for as long as its node leads.
        let bounded = self.jumper.is_none() || self.plan.nodes >= 3;
        Rules { evictable: self.plan.max_entries > 0, default_ttl_ms: 0, clocks: bounded.then_some(clocks) }
    }

    fn net_event(&mut self, at: Micros) -> Outcome {
        self.now = at;
        let Some(notice) = self.net.pop() else { return Ok(()) };
        let (place, input) = match notice {
            Notice::Up { at, peer, session } => {
                trace!(self, "{at}: session {session} to {peer} is up");
                (at, Input::SessionUp { peer: node_id(peer), session })
            }
            Notice::Down { at, peer, session } => {
                trace!(self, "{at}: session {session} to {peer} is down");
                (at, Input::SessionDown { peer: node_id(peer), session })
            }
            Notice::Arrived { at, from, session, message: frame } => {
                trace!(self, "{at}: from {from}: {}", brief(&frame));
                (at, Input::Frame { from: node_id(from), session, frame })
            }
        };
        self.input(place, input);
        Ok(())
    }

    fn own_event(&mut self) -> Outcome {
        let Some((at, event)) = self.queue.pop() else { return Ok(()) };
        self.now = at;
        match event {
            Event::Tick(place) => {
                self.note_clock(place);
                self.queue.set(at + 50 * MS, Event::Tick(place));
                if !self.hosts[place].is_paused(at) {
                    self.input(place, Input::Tick);
                }
                return self.read_locally(place);
            }
            Event::Turn(place) => return self.turn(place),
            Event::Resume(place) => {
                if !self.hosts[place].is_paused(at) {
                    trace!(self, "{place}: resumes");
                    self.hosts[place].resume(at);
                    self.set_turn(place);
                }
            }
            Event::Round(client) => self.round(client),
            Event::Overdue(ticket) => return self.overdue(ticket),
            Event::Incident(i) => self.incident(i),
            Event::Heal => self.heal(),
            Event::Snapshot { from, snapshot } => self.snapshot_arrives(from, *snapshot),
            Event::Probe => return self.probe(),
        }
        Ok(())
    }

    /// Local readers: what those of the last tick left behind takes effect, then one more reads.
    fn read_locally(&mut self, place: Place) -> Outcome {
        if self.plan.max_entries == 0 {
            return Ok(());
        }
        let keys = self.clients.workload.keys();
        let (shard, key) = &keys[self.draw.below(keys.len() as u64) as usize];
        let Some(node) = &mut self.hosts[place].node else { return Ok(()) };
        let Some(machine) = node.machine_mut(GroupId::of_shard(*shard)) else { return Ok(()) };
        machine.store_mut().settle_reads();
        for (_, key) in keys.iter().filter(|(of, _)| of == shard) {
            tier::check(place, *shard, key, machine.store())?;
        }
        machine.store_mut().read_through(key);
        Ok(())
    }

    fn note_clock(&mut self, place: Place) {
        let error = self.hosts[place].clock.error_ms(self.now);
        let (least, most) = &mut self.clock_error_ms;
        *least = error.min(*least);
        if self.jumper != Some(place) {
            *most = error.max(*most);
        }
    }

    fn input(&mut self, place: Place, input: Input) {
        if self.hosts[place].input(self.now, input) {
            self.set_turn(place);
        }
    }

    /// A worker takes what has come in so far and turns; what comes within the same moment shares the turn.
    fn set_turn(&mut self, place: Place) {
        if !std::mem::replace(&mut self.hosts[place].turn_is_set, true) {
            let at = self.now + self.draw.below(300);
            self.queue.set(at, Event::Turn(place));
        }
    }

    fn turn(&mut self, place: Place) -> Outcome {
        let host = &mut self.hosts[place];
        host.turn_is_set = false;
        if host.is_paused(self.now) {
            return Ok(());
        }
        let Some(effects) = host.turn(self.now) else { return Ok(()) };
        if let Some(node) = &host.node {
            self.watch.node(place, node)?;
            if self.trace.is_some() {
                let standing: Vec<String> = node.status().map(|status| brief_status(&status)).collect();
                trace!(self, "{place}: stands at {}", standing.join(" "));
            }
        }
        let Effects { frames, replies, snapshots, events, map: _, governed: _, reports: _, destroyed: _, more } =
            effects;
        for event in events {
            trace!(self, "{place}: {event:?}");
        }
        for (to, frame) in frames {
            self.send(place, place_of(to), frame);
        }
        for (ticket, reply) in replies {
            trace!(self, "{place}: answers {}: {reply:?}", ticket.0);
            let answered = self.clients.answer(ticket, reply, wall_ms(self.now))?;
            self.answered(&answered);
        }
        for snapshot in snapshots {
            trace!(self, "{place}: sends a snapshot of {} to {}", snapshot.group, snapshot.to);
            let at = self.now + MS + self.draw.below(400 * MS);
            self.queue.set(at, Event::Snapshot { from: place, snapshot: Box::new(snapshot) });
        }
        if more {
            self.set_turn(place);
        }
        Ok(())
    }

    /// Raft messages may be treated badly; all else of a frame keeps the order of the stream.
    fn send(&mut self, from: Place, to: Place, mut frame: v1::Frame) {
        let loose = self.net.looseness;
        if loose.lost + loose.doubled + loose.late > 0 {
            for message in std::mem::take(&mut frame.raft) {
                let frame = v1::Frame { raft: vec![message], ..Default::default() };
                self.net.send_loose(self.now, from, to, frame);
            }
        }
        self.net.send(self.now, from, to, frame);
    }

    fn snapshot_arrives(&mut self, from: Place, snapshot: SendSnapshot) {
        let SendSnapshot { group, to, node, message, chunks } = snapshot;
        let place = place_of(node);
        let lost = !self.net.is_connected(from, place) || self.net.draws(10);
        let decoded = checkpoint::decode_all(&chunks.concat());
        let ok = match decoded {
            Ok((head, entries)) if !lost => {
                let received = ReceivedSnapshot { from: node_id(from), message, head, entries };
                trace!(self, "{place}: gets a snapshot of {group} from {from}");
                self.input(place, Input::Snapshot(Box::new(received)));
                true
            }
            Ok(_) | Err(_) => false,
        };
        self.input(from, Input::SnapshotSent { group, to, ok });
    }

    fn round(&mut self, client: u64) {
        if self.phase != Phase::Trouble || self.clients.asked() > self.plan.load.max_ops {
            return;
        }
        if let Some((from, until)) = self.plan.load.quiet
            && (from..until).contains(&self.now)
        {
            self.queue.set(until, Event::Round(client));
            return;
        }
        let live: Vec<Place> = self.hosts.iter().filter(|host| host.is_live()).map(|host| host.place).collect();
        let calls = 1 + self.draw.below(self.plan.load.pipeline);
        let place = live[self.draw.below(live.len() as u64) as usize];
        for _ in 0..calls {
            let ask = self.clients.workload.next(&mut self.draw, wall_ms(self.now));
            let timeout_ms = 1 + self.draw.below(self.plan.load.timeout_ms);
            self.call(Some(client), place, ask, timeout_ms);
        }
    }

    fn call(&mut self, client: Option<u64>, place: Place, ask: Ask, timeout_ms: u64) {
        let ticket = self.clients.begin(client, place, &ask, wall_ms(self.now));
        trace!(self, "{place}: client {client:?} asks {} {:?}", ticket.0, ask);
        let deadline_mono_ms = self.hosts[place].clock.now(self.now).mono_ms + timeout_ms;
        let group = ask.group();
        self.queue.set(self.now + timeout_ms * MS + answers::GRACE, Event::Overdue(ticket));
        self.input(place, Input::Submit { ticket, group, ops: ask.ops, deadline_mono_ms });
    }

    fn answered(&mut self, answered: &Answered) {
        let Answered { client: Some(client), idle: true } = *answered else { return };
        let at = self.now + self.draw.below(self.plan.load.think);
        self.queue.set(at, Event::Round(client));
    }

    fn overdue(&mut self, ticket: Ticket) -> Outcome {
        let Some(open) = self.clients.open(ticket) else { return Ok(()) };
        let resumes = self.hosts[open.place].paused_until;
        if resumes + answers::GRACE > self.now {
            self.queue.set(resumes + answers::GRACE, Event::Overdue(ticket));
            return Ok(());
        }
        answers::overdue(ticket.0, &open.describe())
    }

    fn incident(&mut self, i: usize) {
        let incident = self.plan.incidents[i].1.clone();
        trace!(self, "INCIDENT {incident:?}");
        match incident {
            Incident::Split { side } => {
                for a in 0..self.plan.nodes {
                    for b in (0..self.plan.nodes).filter(|b| *b != a) {
                        self.net.set_blocked(self.now, a, b, side[a] != side[b]);
                    }
                }
            }
            Incident::OneWay { from, to } if from != to => self.net.set_blocked(self.now, from, to, true),
            Incident::OneWay { .. } => {}
            Incident::Cut(a, b) => self.net.cut(self.now, a, b),
            Incident::Slow(a, b, by) => self.net.set_slow(a, b, by),
            Incident::Loose(looseness) => self.net.looseness = looseness,
            Incident::HealNet => self.net.heal(self.now),
            Incident::Crash(place) => self.crash(place),
            Incident::Restart(place) => self.restart(place),
            Incident::Pause(place, by) => {
                self.hosts[place].paused_until = self.now + by;
                self.queue.set(self.now + by, Event::Resume(place));
            }
            Incident::Jump(place, ms) => {
                self.hosts[place].clock.jump(ms);
                self.note_clock(place);
            }
            Incident::Transfer { group, to } => {
                for place in 0..self.plan.nodes {
                    self.input(place, Input::TransferLeader { group: GroupId(group), to: node_id(to) });
                }
            }
            Incident::Corrupt { place, group } => self.corrupt(place, GroupId(group)),
        }
    }

    fn crash(&mut self, place: Place) {
        if !self.hosts[place].is_live() {
            return;
        }
        self.hosts[place].crash();
        self.net.detach(self.now, place);
        self.watch.forget(place);
        for answered in self.clients.lose(place, wall_ms(self.now)) {
            self.answered(&answered);
        }
    }

    /// A fresh process is a new incarnation: its peers refuse it, so it takes no part. The planted fault lets it in.
    fn restart(&mut self, place: Place) {
        if self.faults.has(Fault::ReplicaIdReused) && !self.hosts[place].is_live() {
            let seed = self.seed ^ self.now;
            self.hosts[place].restart_under_old_ids(&self.plan, &self.map, seed);
            self.net.attach(self.now, place);
        }
    }

    /// Damages one entry where no client reads; the next write to it makes the hash differ.
    fn corrupt(&mut self, place: Place, group: GroupId) {
        let Some(shard) = group.shard() else { return };
        let Some(machine) = self.hosts[place].node.as_mut().and_then(|node| node.machine_mut(group)) else { return };
        let Some(entry) = machine.store().get(&hidden_key(shard)) else { return };
        let mut value = entry.value().to_vec();
        value[0] ^= 1;
        let damaged = Entry::new(entry.key(), &value, entry.version(), entry.expires_at());
        machine.store_mut().insert(damaged.into());
        self.watch.damage(place, group);
    }

    fn heal(&mut self) {
        trace!(self, "HEAL");
        self.phase = Phase::Recovery;
        self.net.heal(self.now);
        for place in 0..self.plan.nodes {
            if self.hosts[place].is_paused(self.now) {
                self.hosts[place].paused_until = self.now;
                self.queue.set(self.now, Event::Resume(place));
            }
        }
        self.queue.set(self.now + SECOND, Event::Probe);
    }

    fn probe(&mut self) -> Outcome {
        match self.phase {
            Phase::Recovery => self.probe_recovery(),
            Phase::LastCalls if self.clients.is_idle() => {
                self.phase = Phase::Done;
                Ok(())
            }
            Phase::Trouble | Phase::LastCalls | Phase::Done => {
                self.queue.set(self.now + 50 * MS, Event::Probe);
                Ok(())
            }
        }
    }

    fn probe_recovery(&mut self) -> Outcome {
        let nodes: Vec<_> = self.hosts.iter().filter_map(|host| Some((host.place, host.node.as_ref()?))).collect();
        let missing = if self.clients.is_idle() { convergence::missing(&nodes) } else { Some("open calls".into()) };
        match missing {
            None => self.last_calls(),
            Some(reason) if self.now > self.plan.heal_at + RECOVERY => return Err(("convergence", reason)),
            Some(_) => self.queue.set(self.now + 50 * MS, Event::Probe),
        }
        Ok(())
    }

    /// Every key through every node, perhaps from asleep; all of it must succeed.
    fn last_calls(&mut self) {
        trace!(self, "converged; the last calls");
        self.phase = Phase::LastCalls;
        let places: Vec<Place> = self.hosts.iter().filter(|host| host.is_live()).map(|host| host.place).collect();
        for place in places {
            for shard in 0..self.plan.shards {
                let keys = self.clients.workload.keys().into_iter().filter(|(of, _)| *of == shard);
                let mut ops: Vec<Op> = keys.map(|(_, key)| Op::Read(Query::Get { key })).collect();
                ops.push(Op::Read(get_both(shard)));
                self.call(None, place, Ask { shard, ops }, LAST_TIMEOUT_MS);
            }
        }
        self.queue.set(self.now + 50 * MS, Event::Probe);
    }
}

type Outcome = Result<(), (&'static str, String)>;

/// A replica in a few words.
fn brief_status(s: &GroupStatus) -> String {
    let asleep = if s.asleep { " asleep" } else { "" };
    format!("g{}({:?} {} {}/{}/{}{asleep})", s.group.0, s.role, s.term, s.applied, s.commit, s.last)
}

/// A frame in a few words.
fn brief(frame: &v1::Frame) -> String {
    let mut text = String::new();
    for m in &frame.raft {
        text.push_str(&format!(
            "raft(g{} type {} term {} index {} log_term {} commit {} entries {}{}) ",
            m.group,
            m.r#type,
            m.term,
            m.index,
            m.log_term,
            m.commit,
            m.entries.len(),
            if m.reject { " reject" } else { "" }
        ));
    }
    for (name, count) in [
        ("heartbeats", frame.heartbeats.len()),
        ("forwards", frame.forwards.len()),
        ("replies", frame.forward_replies.len()),
        ("beats", frame.beats.len()),
        ("sleeps", frame.sleeps.len()),
        ("hashes", frame.hashes.len()),
        ("stamps", frame.stamps.len()),
    ] {
        if count > 0 {
            text.push_str(&format!("{name}({count}) "));
        }
    }
    text
}
