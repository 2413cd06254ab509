//! Changes of the cluster map through this node: made here when it leads the meta group, else asked of who does.

use std::{sync::Arc, time::Duration};

use crema_api::v1::GovernRequest;
use tokio::time::Instant;

use super::view::NodeView;
use crate::{
    cluster::{
        ClusterMap,
        command::{MetaCommand, Refused, encode_command},
    },
    multiraft::{
        govern::{Govern, GovernError},
        runtime::RuntimeHandle,
    },
    network::govern::{CallError, GovernStatus, call},
    types::NodeId,
};

/// Between two tries while nobody is known to lead.
const PAUSE: Duration = Duration::from_millis(100);
/// Before a hint is followed: two nodes that point at each other don't spin.
const HINT_PAUSE: Duration = Duration::from_millis(5);

/// What one try has come to.
enum Step {
    Done(Result<Arc<ClusterMap>, GovernError>),
    /// Nothing was changed; this node may lead.
    Ask(NodeId),
    /// Nothing was changed, and nobody is known to lead.
    Wait(String),
}

impl Govern for NodeView {
    fn map(&self) -> Option<Arc<ClusterMap>> {
        self.with_runtime(|map, _| map.clone())
    }

    async fn govern(
        &self,
        command: MetaCommand,
        expected_version: Option<u64>,
        timeout: Duration,
    ) -> Result<Arc<ClusterMap>, GovernError> {
        let Some(runtime) = self.runtime() else {
            return Err(GovernError::Unavailable("this node has not joined a cluster yet".to_owned()));
        };
        let deadline = Instant::now() + timeout;
        let mut leader = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let step = match leader.filter(|node| *node != self.id()) {
                Some(node) => self.ask(&runtime, node, &command, expected_version, left).await,
                None => local(runtime.govern(command.clone(), expected_version, left).await, self.id()),
            };
            let (next, pause, reason) = match step {
                Step::Done(result) => return result,
                Step::Ask(node) => (Some(node), HINT_PAUSE, format!("node {node} is said to lead")),
                Step::Wait(reason) => (None, PAUSE, reason),
            };
            if Instant::now() + pause >= deadline {
                return Err(GovernError::Unavailable(reason));
            }
            leader = next;
            tokio::time::sleep(pause).await;
        }
    }
}

fn local(result: Result<Arc<ClusterMap>, GovernError>, own: NodeId) -> Step {
    match result {
        Err(GovernError::NotLeader(Some(hint))) if hint != own => Step::Ask(hint),
        Err(GovernError::NotLeader(_)) => Step::Wait("the meta group has no leader now".to_owned()),
        Ok(_) | Err(GovernError::Refused(_) | GovernError::Unknown(_) | GovernError::Unavailable(_)) => {
            Step::Done(result)
        }
    }
}

impl NodeView {
    async fn ask(
        &self,
        runtime: &RuntimeHandle,
        node: NodeId,
        command: &MetaCommand,
        expected_version: Option<u64>,
        left: Duration,
    ) -> Step {
        let map = runtime.map();
        let Some(member) = map.members.get(&node) else {
            return Step::Wait(format!("node {node}, which is said to lead, is not known here yet"));
        };
        let request = GovernRequest {
            cluster_uid: map.uid.to_bytes(),
            command: encode_command(command),
            expected_version: expected_version.unwrap_or(0),
            timeout_ms: left.as_millis() as u64,
            node: self.id().0,
            incarnation: self.incarnation().to_bytes(),
            token: self.token(),
        };
        let reply = match call(&member.address, request).await {
            Ok(reply) => reply,
            Err(CallError::NotSent(reason)) => return Step::Wait(reason),
            Err(CallError::NoAnswer(reason)) => return Step::Done(Err(GovernError::Unknown(reason))),
        };
        let status = GovernStatus::of(&reply);
        let reason = reply.reason;
        match status {
            GovernStatus::Committed => Step::Done(match reply.map.map(ClusterMap::try_from) {
                Some(Ok(map)) => Ok(Arc::new(map)),
                Some(Err(error)) => Err(GovernError::Unknown(format!("node {node} sent no sound map: {error}"))),
                None => Err(GovernError::Unknown(format!("node {node} sent no map"))),
            }),
            GovernStatus::NotLeader if reply.leader_node != 0 => Step::Ask(NodeId(reply.leader_node)),
            GovernStatus::NotLeader => Step::Wait(reason),
            GovernStatus::Refused => {
                Step::Done(Err(GovernError::Refused(refused(expected_version, reason, reply.actual_version))))
            }
            GovernStatus::Unknown => Step::Done(Err(GovernError::Unknown(reason))),
            GovernStatus::Unavailable => Step::Wait(reason),
        }
    }
}

/// A refusal as the leader meant it.
fn refused(expected: Option<u64>, reason: String, actual: u64) -> Refused {
    match expected {
        Some(expected) if actual != 0 => Refused::Version { expected, actual },
        Some(_) | None => Refused::Reason(reason),
    }
}
