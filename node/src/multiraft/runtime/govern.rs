//! Changes of the cluster map, from this process and from other nodes, on their way to the worker of the meta group.

use std::{sync::Arc, time::Duration};

use crema_api::v1::{self, GovernReply, GovernRequest};
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::{
    RuntimeHandle,
    mailbox::{Mail, Petition},
    meta_worker,
};
use crate::{
    cluster::{
        ClusterMap,
        command::{MetaCommand, Refused, decode_command},
    },
    multiraft::govern::GovernError,
    network::govern::{GovernStatus, Governor},
    types::{ClusterUid, Incarnation, NodeId},
};

/// What the worker may be late with its answer.
const GRACE: Duration = Duration::from_secs(1);
/// However long another node is ready to wait, it must ask again after this.
const MAX_REMOTE_TIMEOUT: Duration = Duration::from_secs(30);

impl RuntimeHandle {
    /// Commits a change of the cluster map, if this node leads the meta group, and answers with the map just after it.
    ///
    /// # Errors
    /// [`GovernError`] tells whether it may have been made; `NotLeader` names who may help.
    pub async fn govern(
        &self,
        command: MetaCommand,
        expected_version: Option<u64>,
        timeout: Duration,
    ) -> Result<Arc<ClusterMap>, GovernError> {
        let mailbox = &self.mailboxes[meta_worker(self.mailboxes.len())];
        let Ok(permit) = tokio::time::timeout(timeout, mailbox.admit(1)).await else {
            return Err(GovernError::Unavailable("the worker's queue is full".to_owned()));
        };
        let deadline_mono_ms = self.clock.now().mono_ms + timeout.as_millis() as u64;
        let (reply, answer) = oneshot::channel();
        let petition = Petition { command, expected_version, deadline_mono_ms, reply, permit };
        if !mailbox.offer(Mail::Govern(petition)) {
            return Err(GovernError::Unavailable("this node is shutting down".to_owned()));
        }
        match tokio::time::timeout(timeout + GRACE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(GovernError::Unknown("this node stopped meanwhile".to_owned())),
            Err(_) => Err(GovernError::Unknown(format!("no answer within {timeout:?}"))),
        }
    }

    /// Carries out what another node asks for, once it is sound.
    async fn answer(&self, request: GovernRequest) -> GovernReply {
        let (command, expected_version, timeout) = match self.check(request) {
            Ok(sound) => sound,
            Err(reason) => return GovernStatus::Refused.because(reason),
        };
        let result = self.govern(command, expected_version, timeout).await;
        let reason = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        match result {
            Ok(map) => {
                GovernReply { map: Some(v1::ClusterMap::from(&*map)), ..GovernStatus::Committed.because(reason) }
            }
            Err(GovernError::NotLeader(hint)) => GovernReply {
                map: Some(v1::ClusterMap::from(&*self.map())),
                leader_node: hint.map_or(0, |node| node.0),
                ..GovernStatus::NotLeader.because(reason)
            },
            Err(GovernError::Refused(Refused::Version { actual, .. })) => {
                GovernReply { actual_version: actual, ..GovernStatus::Refused.because(reason) }
            }
            Err(GovernError::Refused(Refused::Reason(reason))) => GovernStatus::Refused.because(reason),
            Err(GovernError::Unknown(reason)) => GovernStatus::Unknown.because(reason),
            Err(GovernError::Unavailable(reason)) => GovernStatus::Unavailable.because(reason),
        }
    }

    fn check(&self, request: GovernRequest) -> Result<(MetaCommand, Option<u64>, Duration), String> {
        // The door has looked at the token.
        let GovernRequest { cluster_uid, command, expected_version, timeout_ms, node, incarnation, token: _ } =
            request;
        let map = self.map();
        match ClusterUid::from_bytes(&cluster_uid) {
            Some(uid) if uid == map.uid => {}
            Some(uid) => return Err(format!("this node belongs to cluster {}, not {uid}", map.uid)),
            None => return Err("the request names no cluster".to_owned()),
        }
        let command = decode_command(&command).map_err(|error| error.to_string())?;
        let node = NodeId(node);
        let is_member =
            map.incarnation_of(node).is_some_and(|life| Incarnation::from_bytes(&incarnation) == Some(life));
        match &command {
            MetaCommand::Join { node: joiner, .. } if *joiner == node => {}
            // The leader alone sees by the reports that a phase is done.
            MetaCommand::AdvanceMigration { .. } => {
                return Err("only the leader of the meta group may advance a migration".to_owned());
            }
            _ if is_member => {}
            _ => return Err(format!("node {node} is not a living member in this life; it may only join")),
        }
        let timeout = Duration::from_millis(timeout_ms).min(MAX_REMOTE_TIMEOUT);
        Ok((command, Some(expected_version).filter(|version| *version != 0), timeout))
    }
}

impl Governor for RuntimeHandle {
    fn govern(&self, request: GovernRequest) -> BoxFuture<'_, GovernReply> {
        Box::pin(self.answer(request))
    }
}
