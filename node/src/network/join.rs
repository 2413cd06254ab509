//! A node asks the members of a cluster to take it in, until they have (PROTOCOL 10, 11).
//!
//! Called by `cache::node` before the runtime starts, with a map from whoever answered first. `Join` may be sent as often
//! as needed: it is idempotent for one incarnation. It is refused while an earlier life of this node is alive by its
//! lease, so a node that comes back at once waits for some election timeouts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crema_api::v1::{GovernReply, GovernRequest};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::{
    cluster::{
        ClusterMap,
        command::{MetaCommand, encode_command},
        map::{FeatureLevels, Member, MemberState, SUPPORTED_LEVELS},
    },
    network::{
        backoff::Backoff,
        govern::{CallError, GovernStatus, call},
    },
    types::{ClusterUid, Incarnation, NodeId},
};

/// How long one try may take at the leader.
const TRY_TIMEOUT: Duration = Duration::from_secs(3);
/// Between tries: the lease of an earlier life runs out within about a second.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Hints that are followed without a pause.
const MAX_HOPS: u32 = 3;
/// Different reasons for waiting that the log hears of.
const MAX_REASONS: usize = 100;

/// The node that wants in.
#[derive(Clone, Debug)]
pub struct Joiner {
    /// Its number.
    pub node: NodeId,
    /// What it says of itself.
    pub member: Member,
    /// Where members may be found beside the addresses in the map.
    pub seeds: Vec<String>,
}

impl Joiner {
    /// Whether a map says of the node what it says of itself. One that comes back with its data, at another address
    /// perhaps, is to be known as it is now.
    #[must_use]
    pub fn is_known_to(&self, map: &ClusterMap) -> bool {
        map.members
            .get(&self.node)
            .is_some_and(|known| *known == Member { state: known.state, ..self.member.clone() })
    }
}

/// Why a node can't join, ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Its binary is too old or too new.
    #[error("cluster {uid} runs at feature level {level}; this binary supports {} to {}", ours.min, ours.max)]
    FeatureLevel {
        /// The cluster.
        uid: ClusterUid,
        /// Its level.
        level: u32,
        /// What this binary supports.
        ours: FeatureLevels,
    },
    /// It had joined, and its life was ended before it came to know.
    #[error("cluster {uid} has declared incarnation {incarnation} of node {node} {state}")]
    Retired {
        /// The cluster.
        uid: ClusterUid,
        /// The node.
        node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// What became of it.
        state: &'static str,
    },
}

/// Asks until the cluster of `map` has taken the node in; the map that says so. Waits for as long as that takes and says
/// in the log what for; drop the future to give up.
///
/// # Errors
/// [`JoinError`] when asking again is of no use.
pub async fn join(joiner: &Joiner, map: ClusterMap) -> Result<ClusterMap, JoinError> {
    let mut course = Course { joiner, map, hint: None, turn: 0 };
    let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
    // Members fail for different reasons, in turn: each is said once.
    let mut said = BTreeSet::new();
    let mut hops = 0;
    loop {
        if let Some(settled) = course.settled() {
            let map = settled?;
            info!(uid = %map.uid, node = %joiner.node, incarnation = %joiner.member.incarnation, "joined the cluster");
            return Ok(map);
        }
        let target = course.next_target();
        let request = course.request();
        let reason = course.take(&target, call(&target, request).await);
        if reason.is_none() && hops < MAX_HOPS {
            hops += 1;
            continue;
        }
        hops = 0;
        let reason = reason.unwrap_or_else(|| "the members point at each other".to_owned());
        if said.len() < MAX_REASONS && !said.contains(&reason) {
            warn!(uid = %course.map.uid, node = %joiner.node, reason, "waiting to join the cluster");
            said.insert(reason);
        }
        sleep(backoff.pause()).await;
    }
}

/// Whom to ask next, by what is known.
struct Course<'a> {
    joiner: &'a Joiner,
    map: ClusterMap,
    /// Who is said to lead the meta group.
    hint: Option<NodeId>,
    /// Goes round the members and seeds.
    turn: usize,
}

impl Course<'_> {
    /// The result, once there is one.
    fn settled(&self) -> Option<Result<ClusterMap, JoinError>> {
        let Joiner { node, member, .. } = self.joiner;
        let (uid, level) = (self.map.uid, self.map.feature_level);
        if !SUPPORTED_LEVELS.supports(level) {
            return Some(Err(JoinError::FeatureLevel { uid, level, ours: SUPPORTED_LEVELS }));
        }
        let known = self.map.members.get(node).filter(|known| known.incarnation == member.incarnation)?;
        if self.map.incarnation_of(*node).is_some() && !self.joiner.is_known_to(&self.map) {
            return None;
        }
        let retired =
            |state| Some(Err(JoinError::Retired { uid, node: *node, incarnation: member.incarnation, state }));
        match known.state {
            MemberState::Joining | MemberState::Up | MemberState::Draining => Some(Ok(self.map.clone())),
            MemberState::Down => retired("down"),
            MemberState::Removed => retired("removed"),
        }
    }

    /// Where the leader is said to be; else everyone in turn.
    fn next_target(&mut self) -> String {
        let living: BTreeMap<NodeId, &str> = self
            .map
            .members
            .iter()
            .filter(|(id, _)| **id != self.joiner.node && self.map.incarnation_of(**id).is_some())
            .map(|(id, member)| (*id, member.address.as_str()))
            .collect();
        match self.hint.take() {
            // It leads, having come back with its data.
            Some(hint) if hint == self.joiner.node => return self.joiner.member.address.clone(),
            Some(hint) if living.contains_key(&hint) => return living[&hint].to_owned(),
            Some(_) | None => {}
        }
        let all: Vec<&str> = living.into_values().chain(self.joiner.seeds.iter().map(String::as_str)).collect();
        self.turn += 1;
        // Nobody at all: the node's own address answers with a refusal, and the log says so.
        all.get(self.turn % all.len().max(1)).copied().unwrap_or(&self.joiner.member.address).to_owned()
    }

    fn request(&self) -> GovernRequest {
        let Joiner { node, member, .. } = self.joiner;
        GovernRequest {
            cluster_uid: self.map.uid.to_bytes(),
            command: encode_command(&MetaCommand::Join { node: *node, member: member.clone() }),
            expected_version: 0,
            timeout_ms: TRY_TIMEOUT.as_millis() as u64,
            node: node.0,
            incarnation: member.incarnation.to_bytes(),
            // Who may join is for the leader to say, not for who knows a secret.
            token: String::new(),
        }
    }

    /// Takes an answer in; why it is not the end, unless the next one may be asked at once.
    fn take(&mut self, target: &str, answer: Result<GovernReply, CallError>) -> Option<String> {
        let reply = match answer {
            Ok(reply) => reply,
            Err(error) => return Some(error.to_string()),
        };
        let status = GovernStatus::of(&reply);
        let GovernReply { reason, map, leader_node, status: _, actual_version: _ } = reply;
        if let Some(Ok(map)) = map.map(ClusterMap::try_from)
            && map.uid == self.map.uid
            && map.version > self.map.version
        {
            self.map = map;
        }
        self.hint = Some(NodeId(leader_node)).filter(|node| node.0 != 0);
        match status {
            GovernStatus::Committed => None,
            GovernStatus::NotLeader if self.hint.is_some() => None,
            GovernStatus::NotLeader | GovernStatus::Refused | GovernStatus::Unknown | GovernStatus::Unavailable => {
                Some(format!("{target}: {reason}"))
            }
        }
    }
}
