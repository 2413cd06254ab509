//! Looking for a cluster that exists: nodes are asked for the map they know.

use std::{collections::BTreeMap, future::Future, time::Duration};

use crema_api::v1::{FormRequest, form_request::Ask};
use futures::future::join_all;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::{
    cluster::ClusterMap,
    network::{
        session::describe,
        transport::{client, endpoint},
    },
    types::{ClusterUid, Incarnation, NodeId},
};

/// How long one question may take, the connect included.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two rounds of questions.
const ROUND: Duration = Duration::from_millis(500);
/// The log says again what is missing after so many rounds.
const REMIND_ROUNDS: u32 = 40;

/// A cluster counts as gone when so many rounds in a row have found nobody of it.
const GONE_ROUNDS: u32 = 5;
const GONE_ROUND: Duration = Duration::from_secs(2);

/// Nodes of more than one cluster answer where one was looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{one_at} belongs to cluster {one}, {other_at} to cluster {other}; all addresses that this node is given must lead \
     to one cluster"
)]
pub struct TwoClusters {
    one: ClusterUid,
    one_at: String,
    other: ClusterUid,
    other_at: String,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Seeker {
    /// The node.
    pub node: NodeId,
    /// Its present life.
    pub incarnation: Incarnation,
}

/// Asks the nodes at `addresses`, which is called anew for each round, until one of them belongs to a cluster; the newest
/// map that any of them has. Says in the log what it waits for; drop the future to give up.
///
/// # Errors
/// When they belong to several.
pub async fn find<F: Future<Output = Vec<String>>>(
    seeker: Seeker,
    addresses: impl Fn() -> F,
) -> Result<ClusterMap, TwoClusters> {
    let mut said = String::new();
    let mut rounds = 0;
    loop {
        let addresses = addresses().await;
        let answers = join_all(addresses.iter().map(|address| ask_map(seeker, address))).await;
        let mut missing = Vec::new();
        let mut maps: BTreeMap<ClusterUid, (String, ClusterMap)> = BTreeMap::new();
        for (address, answer) in addresses.into_iter().zip(answers) {
            match answer {
                Ok(map) => {
                    let best = maps.entry(map.uid).or_insert_with(|| (address, map.clone()));
                    if best.1.version < map.version {
                        best.1 = map;
                    }
                }
                Err(reason) => missing.push(format!("{address}: {reason}")),
            }
        }
        let mut maps = maps.into_values();
        match (maps.next(), maps.next()) {
            (Some((_, map)), None) => return Ok(map),
            (Some((one_at, one)), Some((other_at, other))) => {
                return Err(TwoClusters { one: one.uid, one_at, other: other.uid, other_at });
            }
            (None, _) => {}
        }
        let waiting_on = if missing.is_empty() { "no address is known".to_owned() } else { missing.join("; ") };
        rounds += 1;
        if waiting_on != said || rounds % REMIND_ROUNDS == 0 {
            warn!(waiting_on, "no cluster to join is found yet");
            said = waiting_on;
        }
        sleep(ROUND).await;
    }
}

/// Resolves when none of the nodes at `addresses` belongs to the cluster `uid` any more: all of them have restarted, or
/// none is reached for a while.
pub async fn gone(seeker: Seeker, addresses: &[String], uid: ClusterUid) {
    let mut rounds = 0;
    while rounds < GONE_ROUNDS {
        sleep(GONE_ROUND).await;
        let answers = join_all(addresses.iter().map(|address| ask_map(seeker, address))).await;
        let there = answers.iter().flatten().any(|map| map.uid == uid);
        rounds = if there { 0 } else { rounds + 1 };
    }
}

/// The map that the node at an address knows; else why there is none.
pub(super) async fn ask_map(seeker: Seeker, address: &str) -> Result<ClusterMap, String> {
    let ask = Some(Ask::Probe(true));
    let Seeker { node, incarnation } = seeker;
    let request =
        FormRequest { node: node.0, incarnation: incarnation.to_bytes(), listed: Vec::new(), initiator: None, ask };
    let endpoint = endpoint(address, ASK_TIMEOUT).map_err(|error| error.to_string())?;
    let answer = async { client(endpoint.connect_lazy()).form(request).await };
    let reply = match timeout(ASK_TIMEOUT, answer).await {
        Err(_) => return Err(format!("no answer within {ASK_TIMEOUT:?}")),
        Ok(Err(status)) => return Err(describe(&status)),
        Ok(Ok(reply)) => reply.into_inner(),
    };
    match reply.formed {
        Some(map) => ClusterMap::try_from(map).map_err(|error| error.to_string()),
        None => Err("it belongs to no cluster yet".to_owned()),
    }
}
