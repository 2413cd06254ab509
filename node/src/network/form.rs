//! Carries the messages of forming (`cluster::formation`) until the node knows its cluster.

use std::{collections::BTreeMap, time::Duration};

use crema_api::v1::{FormReply, FormRequest};
use futures::future::join_all;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tonic::transport::Channel;
use tracing::{info, warn};

use crate::{
    cluster::{
        ClusterMap, FormError, FormOutcome,
        formation::init::{InitError, Initiator},
    },
    network::{
        PeerDoor,
        session::describe,
        transport::{client, endpoint},
    },
    types::NodeId,
};

/// How often peers are asked.
const TICK: Duration = Duration::from_millis(100);
/// How long one question may take, the connect included.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// After the decision the proposer tells the members this often before it goes on; those that miss it ask by themselves.
const TELL_ROUNDS: u32 = 10;
/// The log says again what is missing after so many rounds.
const REMIND_ROUNDS: u32 = 100;

/// Forms a cluster through a door whose service is already being served, or learns of the one that exists, in which this
/// node may still have no place.
///
/// Waits for as long as a listed peer is missing and says so in the log; drop the future to give up. An error is
/// final: this process must not take part, and says why when it ends.
pub async fn form(door: &PeerDoor) -> Result<FormOutcome, FormError> {
    let mut rounds = Rounds::new(door);
    let mut told_rounds = 0;
    loop {
        rounds.next(door).await;
        let former = door.former().lock();
        if let Some(outcome) = former.outcome() {
            told_rounds += 1;
            if !former.has_untold() || told_rounds > TELL_ROUNDS {
                return outcome.inspect(log_outcome);
            }
        }
    }
}

/// Resolves when the cluster that was found by [`form`] is gone: every listed peer has come back empty. Then this node
/// forms one with them.
pub async fn until_gone(door: &PeerDoor) {
    let mut rounds = Rounds::new(door);
    while door.former().lock().outcome().is_some() {
        rounds.next(door).await;
    }
}

/// Resolves when this node, which was to join a cluster, has promised itself to an Init from outside: that one has met all
/// members of the cluster without it. [`form`] goes on from there.
pub async fn until_promised(door: &PeerDoor) {
    let mut ticks = ticks();
    while matches!(door.former().lock().outcome(), Some(Ok(FormOutcome::Join { .. }) | Err(_))) {
        ticks.tick().await;
    }
}

/// Questions to all whom the former wants to hear of, in rounds.
struct Rounds {
    channels: Channels,
    ticks: Interval,
    log: WaitLog,
}

impl Rounds {
    fn new(door: &PeerDoor) -> Self {
        let channels = Channels { addresses: door.former().lock().addresses(), open: BTreeMap::new() };
        Self { channels, ticks: ticks(), log: WaitLog::default() }
    }

    async fn next(&mut self, door: &PeerDoor) {
        let Self { channels, ticks, log } = self;
        ticks.tick().await;
        let asks = door.former().lock().on_tick();
        let answers = join_all(asks.into_iter().map(|(to, request)| ask(to, channels.to(to), request))).await;
        let mut former = door.former().lock();
        let mut unreachable = BTreeMap::new();
        for (from, answer) in answers {
            match answer {
                Ok(reply) => former.on_reply(from, reply),
                Err(reason) => {
                    unreachable.insert(from, reason);
                }
            }
        }
        if former.outcome().is_none() {
            log.round(former.waiting_on().map(|(node, reason)| {
                let reason = unreachable.get(&node).map_or(reason, String::as_str);
                format!("node {node}: {reason}")
            }));
        }
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Forms a cluster of nodes that wait for it: Init from outside. They are asked through their doors, this one too.
///
/// Waits for as long as one of them is missing; drop the future to give up. Whoever begins again completes or ends what was
/// begun.
pub async fn initiate(mut initiator: Initiator) -> Result<ClusterMap, InitError> {
    let mut channels = Channels { addresses: initiator.addresses(), open: BTreeMap::new() };
    let mut ticks = ticks();
    let mut told_rounds = 0;
    loop {
        ticks.tick().await;
        let asks = initiator.on_tick();
        for (from, answer) in join_all(asks.into_iter().map(|(to, request)| ask(to, channels.to(to), request))).await
        {
            match answer {
                Ok(reply) => initiator.on_reply(from, reply),
                Err(reason) => warn!(node = %from, reason, "a first member does not answer"),
            }
        }
        if let Some(outcome) = initiator.outcome() {
            told_rounds += 1;
            if !initiator.has_untold() || told_rounds > TELL_ROUNDS {
                return outcome;
            }
        }
    }
}

fn log_outcome(outcome: &FormOutcome) {
    match outcome {
        // Loud: after a restart of all nodes this is where an operator learns that the data is gone.
        FormOutcome::Formed(map) => {
            warn!(uid = %map.uid, members = map.members.len(), "a NEW, EMPTY cluster was formed; nothing of an earlier one is in it");
        }
        FormOutcome::Join { map } => info!(uid = %map.uid, version = map.version, "found a cluster to join"),
    }
}

/// One lazy channel for each peer: it connects, and resolves the name, again when it breaks.
struct Channels {
    addresses: BTreeMap<NodeId, String>,
    open: BTreeMap<NodeId, Channel>,
}

impl Channels {
    fn to(&mut self, node: NodeId) -> Result<Channel, String> {
        if let Some(channel) = self.open.get(&node) {
            return Ok(channel.clone());
        }
        let address = self.addresses.get(&node).ok_or("it is not listed")?;
        let endpoint = endpoint(address, ASK_TIMEOUT).map_err(|error| format!("address {address:?}: {error}"))?;
        Ok(self.open.entry(node).or_insert(endpoint.connect_lazy()).clone())
    }
}

async fn ask(
    to: NodeId,
    channel: Result<Channel, String>,
    request: FormRequest,
) -> (NodeId, Result<FormReply, String>) {
    let answer = async {
        let mut client = client(channel?);
        match timeout(ASK_TIMEOUT, client.form(request)).await {
            Err(_) => Err(format!("no answer within {ASK_TIMEOUT:?}")),
            Ok(Err(status)) => Err(describe(&status)),
            Ok(Ok(reply)) => Ok(reply.into_inner()),
        }
    };
    (to, answer.await)
}

/// Says what is missing when that changes, and now and then.
#[derive(Default)]
struct WaitLog {
    said: Vec<String>,
    rounds: u32,
}

impl WaitLog {
    fn round(&mut self, waiting_on: impl Iterator<Item = String>) {
        let waiting_on: Vec<_> = waiting_on.collect();
        self.rounds += 1;
        if waiting_on.is_empty() || (waiting_on == self.said && self.rounds < REMIND_ROUNDS) {
            return;
        }
        // The first rounds of a start in which all nodes come up together are not worth a line.
        if self.rounds > 5 {
            warn!(waiting_on = waiting_on.join("; "), "the cluster is not formed yet");
            self.said = waiting_on;
            self.rounds = 5;
        }
    }
}
