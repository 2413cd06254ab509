//! Forming a cluster from a static list, under lost, late and doubled calls and processes that come back empty.
//!
//! A small world of its own beside [`crate::testing::world`]: the real `Former` of each listed node, calls between them, and
//! dice. Checked: a life belongs to at most one cluster, ever; members that live agree on the cluster; with nothing
//! in the way everybody forms.

use std::collections::BTreeMap;

use crema_api::v1;

use crate::{
    cluster::{
        formation::{FormConfig, FormMode, FormOutcome, Former},
        initial::ClusterSpec,
        map::SharedSettings,
    },
    faults::Faults,
    partitioning::SlotHash,
    testing::invariants::{Failure, Verdict},
    types::{ClusterUid, Draw, Incarnation, NodeId},
};

/// Steps with trouble.
const STEPS: u64 = 400;
/// From there to here without.
const CALM_UNTIL: u64 = 2_000;

enum Call {
    Ask { from: NodeId, to: NodeId, request: Box<v1::FormRequest> },
    Answer { from: NodeId, to: NodeId, reply: Box<v1::FormReply> },
}

struct Forming {
    draw: Draw,
    faults: Faults,
    nodes: u64,
    formers: BTreeMap<NodeId, (Incarnation, Former)>,
    under_way: Vec<Call>,
    /// The cluster that each life has joined.
    joined: BTreeMap<Incarnation, ClusterUid>,
    restarts: u64,
}

/// Forms a cluster by the dice of a seed.
///
/// # Errors
/// The invariant that did not hold, with the step as its time.
pub fn run(seed: u64, faults: Faults) -> Result<(), Failure> {
    let mut draw = Draw::new(seed ^ 0xf0f0);
    let nodes = 2 + draw.below(4);
    let (formers, under_way, joined) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    let mut forming = Forming { draw, faults, nodes, formers, under_way, joined, restarts: 0 };
    (1..=nodes).for_each(|node| forming.start(NodeId(node)));
    let most_restarts = forming.draw.below(4);
    for step in 0..CALM_UNTIL {
        let result = forming.step(step < STEPS, most_restarts);
        result.map_err(|(invariant, reason)| Failure { invariant, at: step, reason })?;
    }
    forming.all_formed().map_err(|(invariant, reason)| Failure { invariant, at: CALM_UNTIL, reason })
}

impl Forming {
    /// A process starts: a new life, with no memory of an earlier one.
    fn start(&mut self, node: NodeId) {
        let incarnation = Incarnation(u128::from(self.draw.next_u64()) << 64 | 1);
        let config = FormConfig {
            node,
            incarnation,
            mode: FormMode::Static(
                (1..=self.nodes).map(|node| (NodeId(node), format!("node-{node}:7000"))).collect(),
            ),
            uid: ClusterUid(u128::from(self.draw.next_u64()) << 64 | 1),
            spec: ClusterSpec {
                num_shards: 2,
                slot_hash: SlotHash::Crc16,
                replication_factor: 1,
                settings: SharedSettings::default(),
            },
            host: String::new(),
            zone: String::new(),
            client_address: String::new(),
            faults: self.faults,
        };
        let former = Former::new(config).expect("the list is sound");
        self.formers.insert(node, (incarnation, former));
    }

    fn step(&mut self, trouble: bool, most_restarts: u64) -> Verdict {
        let node = NodeId(1 + self.draw.below(self.nodes));
        match self.draw.below(20) {
            // Calls wait for their answers: nobody asks without end.
            0..=2 if self.under_way.len() < 4 * self.nodes as usize => self.tick(node),
            3 if trouble && self.restarts < most_restarts && self.draw.below(6) == 0 => {
                self.restarts += 1;
                // The one that proposes most of all.
                let node = if self.draw.below(2) == 0 { NodeId(1) } else { node };
                self.start(node);
            }
            _ if self.under_way.is_empty() => self.tick(node),
            _ => self.deliver(trouble),
        }
        self.check()
    }

    fn tick(&mut self, from: NodeId) {
        let Some((_, former)) = self.formers.get_mut(&from) else { return };
        let asks =
            former.on_tick().into_iter().map(|(to, request)| Call::Ask { from, to, request: Box::new(request) });
        self.under_way.extend(asks);
    }

    /// Any call that is under way arrives: order means nothing.
    fn deliver(&mut self, trouble: bool) {
        let at = self.draw.below(self.under_way.len() as u64) as usize;
        let call = self.under_way.swap_remove(at);
        let fate = self.draw.below(10);
        if trouble && fate == 0 {
            return;
        }
        match call {
            Call::Ask { from, to, request } => {
                if trouble && fate == 1 {
                    self.under_way.push(Call::Ask { from, to, request: request.clone() });
                }
                let Some((_, former)) = self.formers.get_mut(&to) else { return };
                let reply = Box::new(former.on_request(*request));
                self.under_way.push(Call::Answer { from: to, to: from, reply });
            }
            Call::Answer { from, to, reply } => {
                let Some((_, former)) = self.formers.get_mut(&to) else { return };
                former.on_reply(from, *reply);
            }
        }
    }

    fn check(&mut self) -> Verdict {
        let mut living: Option<(NodeId, ClusterUid)> = None;
        for (node, (incarnation, former)) in &self.formers {
            let Some(Ok(FormOutcome::Formed(map))) = former.outcome() else { continue };
            if map.incarnation_of(*node) != Some(*incarnation) {
                return Err(("forming", format!("node {node} joined a cluster that does not name its life")));
            }
            let first = *self.joined.entry(*incarnation).or_insert(map.uid);
            if first != map.uid {
                let reason = format!("node {node} belonged to cluster {first} and now to {}", map.uid);
                return Err(("forming", reason));
            }
            match living {
                Some((other, uid)) if uid != map.uid => {
                    return Err(("forming", format!("node {other} is in cluster {uid}, node {node} in {}", map.uid)));
                }
                Some(_) | None => living = Some((*node, map.uid)),
            }
        }
        Ok(())
    }

    /// Without restarts nothing may keep a node from forming.
    fn all_formed(&self) -> Verdict {
        let late = self
            .formers
            .iter()
            .find(|(_, (_, former))| !matches!(former.outcome(), Some(Ok(FormOutcome::Formed(_)))));
        match late {
            Some((node, (_, former))) if self.restarts == 0 => {
                let waiting: Vec<_> = former.waiting_on().collect();
                Err(("forming", format!("node {node} did not form: {:?}, waiting on {waiting:?}", former.outcome())))
            }
            Some(_) | None => Ok(()),
        }
    }
}
