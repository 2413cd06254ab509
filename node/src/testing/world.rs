//! A run: one cluster, its clients and its trouble, on one thread, all from one seed.
//!
//! The world owns true time. It hands the nodes their inputs, performs what they ask for, and shows every node to the
//! invariants after each turn. Called by [`run`]; nothing here may look at a real clock or at the order of a hash map.

use std::sync::Arc;

use crema_api::v1;

#[cfg(feature = "planted-faults")]
use crate::faults::Fault;
use crate::{
    checkpoint,
    cluster::map::ClusterMap,
    consensus::SnapshotPoint,
    faults::Faults,
    multiraft::node::{Effects, Event as Told, Input, ReceivedSnapshot, SendSnapshot, Ticket},
    testing::{
        check::{Checked, SearchLimit},
        clients::Clients,
        clock::{MS, Micros, NodeClock, SECOND, wall_ms},
        cluster,
        host::{Host, node_id, place_of},
        invariants::{Failure, Watch, complaints, tier},
        net::{Net, Notice, Place},
        plan::{Incident, Plan},
        queue::Queue,
        workload::Workload,
    },
    types::{Draw, GroupId, ReplicaId},
};

/// What a run that found nothing went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// Operations that clients asked for.
    pub ops: usize,
    /// What the checker looked at.
    pub checked: Checked,
    /// Crashes and losses of disks that were left out, since a majority would have gone with them.
    pub left_out: usize,
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
    #[cfg(feature = "planted-faults")]
    Planted(Fault),
    /// The same plan without the bug: it must pass, or the plan and not the bug was caught.
    #[cfg(feature = "planted-faults")]
    Control(Fault),
}

/// A seed, and what is done with it.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// All dice come from it.
    pub seed: u64,
    /// What is planned.
    pub scenario: Scenario,
    /// How hard the history may be to judge.
    pub limit: SearchLimit,
}

impl Trial {
    /// With the usual patience for its history.
    #[must_use]
    pub fn new(seed: u64, scenario: Scenario) -> Self {
        Self { seed, scenario, limit: SearchLimit::default() }
    }
}

/// Runs a seed. `trace` gets a line for each thing that happens.
///
/// # Errors
/// The invariant that did not hold.
pub fn run(trial: Trial, trace: Option<&mut dyn FnMut(String)>) -> Result<Passed, Failure> {
    complaints::listen(trace.is_some(), || World::new(Cast::of(trial), trace).run())
}

/// Runs a plan that was made by hand.
///
/// # Errors
/// The invariant that did not hold.
pub fn run_plan(
    plan: Plan,
    seed: u64,
    limit: SearchLimit,
    trace: Option<&mut dyn FnMut(String)>,
) -> Result<Passed, Failure> {
    let cast = Cast { plan, faults: Faults::none(), seed, limit, draw: Draw::new(seed ^ 0x5eed) };
    complaints::listen(trace.is_some(), || World::new(cast, trace).run())
}

/// All that a world begins with.
struct Cast {
    plan: Plan,
    faults: Faults,
    seed: u64,
    limit: SearchLimit,
    /// Where the plan has left it.
    draw: Draw,
}

impl Cast {
    fn of(trial: Trial) -> Self {
        let Trial { seed, scenario, limit } = trial;
        let mut draw = Draw::new(seed ^ 0x5eed);
        let (plan, faults) = match scenario {
            Scenario::Sound => (Plan::of(&mut draw), Faults::none()),
            #[cfg(feature = "planted-faults")]
            Scenario::Planted(fault) => (Plan::hunting(fault, &mut draw), Faults::none().with(fault)),
            #[cfg(feature = "planted-faults")]
            Scenario::Control(fault) => (Plan::hunting(fault, &mut draw), Faults::none()),
        };
        Self { plan, faults, seed, limit, draw }
    }
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
    /// Somebody asks for a change of the map, of this node or of any.
    Ask(Asker, Option<Place>),
    /// A call for a change has waited long enough.
    Unanswered(Ticket),
    /// A node wonders whether the cluster still has a place for it.
    Doubt(Place),
    /// A new process follows one that has ended.
    Return(Place),
    /// The disk of a process has synced all batches up to a number.
    Synced {
        place: Place,
        boot: u64,
        number: u64,
    },
    /// What writes the checkpoints of a process takes more.
    Room {
        place: Place,
        boot: u64,
    },
    /// A checkpoint of a process is in its place.
    Published {
        place: Place,
        boot: u64,
        group: GroupId,
        replica: ReplicaId,
        point: SnapshotPoint,
    },
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
    first_map: ClusterMap,
    faults: Faults,
    seed: u64,
    limit: SearchLimit,
    now: Micros,
    phase: Phase,
    queue: Queue<Event>,
    net: Net<v1::Frame>,
    hosts: Vec<Host>,
    clients: Clients,
    asking: Asking,
    loss: Loss,
    watch: Watch,
    draw: Draw,
    /// The true error of clocks, least and most, over all nodes but the one whose clock jumps.
    clock_error_ms: (i64, i64),
    jumper: Option<Place>,
    events: u64,
    left_out: usize,
    trace: Option<&'t mut dyn FnMut(String)>,
}

macro_rules! trace {
    ($world:expr, $($text:tt)*) => {
        if let Some(trace) = $world.trace.as_mut() {
            trace(format!("{:>9.3} {}", $world.now as f64 / 1000.0, format_args!($($text)*)));
        }
    };
}

mod brief;
mod calls;
mod disks;
mod ending;
mod loss;
mod shape;
mod trouble;

use brief::{brief, brief_status};
use loss::Loss;
use shape::{Asker, Asking};

impl<'t> World<'t> {
    fn new(cast: Cast, trace: Option<&'t mut dyn FnMut(String)>) -> Self {
        let Cast { plan, faults, seed, limit, mut draw } = cast;
        let first_map = cluster::map(&plan);
        let host = |place| {
            let clock = NodeClock::skewed(&mut draw, plan.skew_ms, plan.drift_ppm);
            Host::new(place, clock, faults)
        };
        let mut hosts: Vec<Host> = (0..plan.places()).map(host).collect();
        let map = Arc::new(first_map.clone());
        hosts.iter_mut().take(plan.nodes).for_each(|host| host.start(&plan, map.clone(), seed));
        let jumper = plan.incidents.iter().find_map(|(_, incident)| match incident {
            Incident::Jump(place, _) => Some(*place),
            _ => None,
        });
        Self {
            net: Net::new(plan.places(), Draw::new(draw.next_u64())),
            clients: Clients::new(Workload::new(plan.load.clone(), plan.shards)),
            queue: Queue::default(),
            asking: Asking::default(),
            loss: Loss::default(),
            watch: Watch::default(),
            now: 0,
            phase: Phase::Trouble,
            clock_error_ms: (0, 0),
            events: 0,
            left_out: 0,
            plan,
            first_map,
            faults,
            seed,
            limit,
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
        (self.plan.nodes..self.hosts.len()).for_each(|place| self.net.detach(0, place));
        self.introduce();
        for place in 0..self.hosts.len() {
            let at = self.draw.below(50 * MS);
            self.queue.set(at, Event::Tick(place));
            self.queue.set(SECOND + at, Event::Doubt(place));
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
            Event::Ask(asker, hint) => self.ask(asker, hint),
            Event::Unanswered(ticket) => self.unanswered(ticket),
            Event::Doubt(place) => self.doubt(place),
            Event::Return(place) => self.come_back(place),
            Event::Synced { place, boot, number } => self.synced(place, boot, number),
            Event::Room { place, boot } => self.set_room(place, boot, true),
            Event::Published { place, boot, group, replica, point } => {
                self.published(place, boot, group, replica, point);
            }
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
        for line in complaints::take_lines() {
            trace!(self, "{place}: {line}");
        }
        if let Some(node) = &host.node {
            self.watch.node(place, host.incarnation, node)?;
            if self.trace.is_some() {
                let standing: Vec<String> = node.status().map(|status| brief_status(&status)).collect();
                trace!(self, "{place}: stands at {}", standing.join(" "));
            }
        }
        self.watch.promotions(&self.hosts)?;
        let Effects {
            persist,
            checkpoints,
            frames,
            replies,
            snapshots,
            events,
            map,
            governed,
            reports: _,
            destroyed,
            more,
        } = effects;
        self.write(place, persist, checkpoints);
        if let Some(map) = map {
            if let Some(disk) = &mut self.hosts[place].disk {
                disk.note_map(map.clone());
            }
            trace!(self, "{place}: has map {}, with {:?}", map.version, map.migrations.values());
            self.note_resets(&map);
            self.introduce();
        }
        for group in destroyed {
            trace!(self, "{place}: {group} is gone");
        }
        for (to, frame) in frames {
            self.send(place, place_of(to), frame);
        }
        for (ticket, reply) in replies {
            trace!(self, "{place}: answers {}: {reply:?}", ticket.0);
            let answered = self.clients.answer(ticket, reply, wall_ms(self.now))?;
            self.answered(&answered);
        }
        for (ticket, answer) in governed {
            self.governed(ticket, answer);
        }
        for snapshot in snapshots {
            trace!(self, "{place}: sends a snapshot of {} to {}", snapshot.group, snapshot.to);
            let at = self.now + MS + self.draw.below(400 * MS);
            self.queue.set(at, Event::Snapshot { from: place, snapshot: Box::new(snapshot) });
        }
        if more {
            self.set_turn(place);
        }
        for event in events {
            trace!(self, "{place}: {event:?}");
            if event == Told::Superseded
                && let Some(map) = self.hosts[place].node.as_ref().map(|node| node.map().clone())
            {
                self.end_superseded(place, &map);
            }
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
                let index = head.index().0;
                let received = ReceivedSnapshot { from: node_id(from), message, head, entries };
                trace!(self, "{place}: gets a snapshot of {group} from {from}");
                if let Some(disk) = self.hosts[place].disk.as_mut() {
                    disk.receive(group, to, index, chunks.concat());
                }
                self.input(place, Input::Snapshot(Box::new(received)));
                true
            }
            Ok(_) | Err(_) => false,
        };
        self.input(from, Input::SnapshotSent { group, to, ok });
    }
}

type Outcome = Result<(), (&'static str, String)>;
