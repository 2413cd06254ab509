//! Does the steps of a plan, one by one. It decides nothing: each step carries what must still hold, and is refused by the API
//! server or by the cache's nodes when it doesn't.
//!
//! Called by the controller. Every step is safe to repeat: a process may die before, after and in the middle of each, which
//! [`FaultPoint`] lets tests see.

use std::time::Duration;

use crema_crds::{CremaClusterStatus, Validated};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    FIELD_MANAGER,
    admin::ChangeError,
    chain,
    fault::FaultPoint,
    kinds::Kinds,
    lease::Guard,
    metrics::Metrics,
    model::{Live, NodeId},
    objects::Identity,
    observe::{Sight, Subject},
    plan::Action,
};

mod claims;
mod objects;
mod workload;

/// The longest step: many leaderships that move a few at a time. A step that hangs must not keep a cluster waiting.
const LIMIT: Duration = Duration::from_secs(60);

/// What steps are done with. One for each process.
pub struct Hands {
    /// The API server.
    pub client: Client,
    /// What it serves.
    pub kinds: Kinds,
    /// Whether this process may act at all.
    pub guard: Guard,
    /// Where a test has it die.
    pub faults: Vec<FaultPoint>,
    /// Steps are counted.
    pub metrics: Metrics,
}

/// What steps of one pass are about.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// What is wanted.
    pub spec: &'a Validated,
    /// Whose objects they are, at the revision that is wanted.
    pub identity: &'a Identity,
    /// What the plan was made from.
    pub sight: &'a Sight,
}

/// What a step leaves behind for the rest of the pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// Nothing that the pass itself must know.
    Done,
    /// The status was written: its text, and the object's version with it.
    Remembered {
        /// The version of the object from now on.
        resource_version: String,
        /// The status that is there now.
        status: Box<CremaClusterStatus>,
    },
}

/// Why a step was not done, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another replica may act now.
    #[error("this replica leads no more")]
    NotLeading,
    /// The API server refused, or its answer was lost.
    #[error("{what}")]
    Kube {
        /// What was to be done.
        what: String,
        /// What came.
        source: Box<kube::Error>,
    },
    /// An object of this name is not ours.
    #[error("{kind} {name} exists and does not belong to this cluster: it is not touched")]
    Foreign {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The token can't be made up again.
    #[error("the secret {0} is gone while pods run with its token: it has to be restored")]
    TokenLost(String),
    /// The cache's nodes refused, or their answer was lost.
    #[error("ask the nodes")]
    Nodes(#[source] ChangeError),
    /// Some objects could not be written; the others were.
    #[error("{}", told(.0))]
    Some(Vec<ApplyError>),
    /// It took too long.
    #[error("no end within {0:?}")]
    Slow(Duration),
}

impl ApplyError {
    fn kube(what: impl Into<String>, source: kube::Error) -> Self {
        Self::Kube { what: what.into(), source: Box::new(source) }
    }
}

fn told(errors: &[ApplyError]) -> String {
    errors.iter().map(|error| chain(error)).collect::<Vec<_>>().join("; ")
}

impl Hands {
    /// Does a step.
    ///
    /// # Errors
    /// It may have been done in spite of one: the next look tells.
    pub async fn apply(&self, ground: Ground<'_>, action: &Action) -> Result<Applied, ApplyError> {
        let name = action_name(action);
        self.may_act()?;
        self.reach("before", name, &ground.identity.namespace);
        let done = match timeout(LIMIT, self.step(ground, action)).await {
            Ok(done) => done,
            Err(_) => Err(ApplyError::Slow(LIMIT)),
        };
        self.metrics.acted(name, done.is_ok());
        let Identity { name: cluster, namespace, .. } = ground.identity;
        match &done {
            Ok(_) => tracing::debug!(cluster, namespace, %action, "done"),
            Err(error) => tracing::warn!(cluster, namespace, %action, error = chain(error), "not done"),
        }
        if done.is_ok() {
            self.reach("after", name, &ground.identity.namespace);
        }
        done
    }

    async fn step(&self, ground: Ground<'_>, action: &Action) -> Result<Applied, ApplyError> {
        let nodes = &ground.sight.nodes;
        match action {
            Action::ApplyObjects { max_unavailable } => objects::apply(self, ground, *max_unavailable).await?,
            Action::CreateStatefulSet { replicas } => workload::create(self, ground, *replicas).await?,
            Action::ApplyTemplate { sts, revision, replicas, partition } => {
                assert_eq!(*revision, ground.identity.revision, "what is rendered is what was planned");
                workload::template(self, ground, sts, *replicas, *partition).await?;
            }
            Action::PatchReplicas { sts, replicas, partition } => {
                workload::scale(self, ground, sts, Some(*replicas), *partition).await?;
            }
            Action::PatchPartition { sts, partition } => {
                workload::scale(self, ground, sts, None, *partition).await?;
            }
            Action::OrphanStatefulSet { sts } => workload::orphan(self, ground, sts).await?,
            Action::DeletePod { pod, at_once } => workload::delete_pod(self, ground, pod, *at_once).await?,
            Action::GrowClaim { claim, bytes } => claims::grow(self, ground, claim, *bytes).await?,
            Action::OwnClaim { claim, owned } => claims::own(self, ground, claim, *owned).await?,
            Action::DeleteClaim { claim } => claims::delete(self, ground, claim).await?,
            Action::DeleteConfig { config } => objects::delete_config(self, ground, config).await?,
            Action::Remember { resource_version, memory } => {
                let mut status = ground.sight.seen.status.clone();
                memory.write(&mut status);
                return self.remember(&ground.sight.subject, resource_version, status).await;
            }
            Action::Init { uid, members } => {
                nodes
                    .init(uid, members, |node| advertised(ground.identity, node))
                    .await
                    .map_err(ApplyError::Nodes)?;
            }
            Action::Drain { nodes: leaving, expected } => {
                nodes.drain(leaving, *expected).await.map_err(ApplyError::Nodes)?;
            }
            Action::Undrain { node, expected } => {
                nodes.undrain(*node, *expected).await.map_err(ApplyError::Nodes)?;
            }
            Action::Remove { node, expected } => nodes.remove(*node, *expected).await.map_err(ApplyError::Nodes)?,
            Action::MarkDown { node, incarnation, expected } => {
                nodes.mark_down(*node, incarnation, *expected).await.map_err(ApplyError::Nodes)?;
            }
            Action::TransferLeaders { moves } => nodes.transfer_leaders(moves).await.map_err(ApplyError::Nodes)?,
            Action::ResetShards { shards, dead, expected } => {
                nodes.reset_shards(shards, dead, *expected).await.map_err(ApplyError::Nodes)?;
            }
            Action::UpdateSettings { change, expected } => {
                nodes.update_settings(change, *expected).await.map_err(ApplyError::Nodes)?;
            }
            Action::PauseMigrations => nodes.pause_migrations(true).await.map_err(ApplyError::Nodes)?,
            Action::ResumeMigrations => nodes.pause_migrations(false).await.map_err(ApplyError::Nodes)?,
        }
        Ok(Applied::Done)
    }

    async fn remember(
        &self,
        subject: &Subject,
        resource_version: &str,
        status: CremaClusterStatus,
    ) -> Result<Applied, ApplyError> {
        let resource_version = self.put_status(subject, resource_version, &status).await?;
        Ok(Applied::Remembered { resource_version, status: Box::new(status) })
    }

    /// Writes the status at the end of a pass; gives the object's version with it.
    ///
    /// # Errors
    /// The object has changed since it was read, or can't be written.
    pub async fn write_status(
        &self,
        subject: &Subject,
        resource_version: &str,
        status: &CremaClusterStatus,
    ) -> Result<String, ApplyError> {
        self.may_act()?;
        let namespace = &subject.view.namespace;
        self.reach("before", "write-status", namespace);
        let written = self.put_status(subject, resource_version, status).await;
        self.metrics.acted("write-status", written.is_ok());
        if written.is_ok() {
            self.reach("after", "write-status", namespace);
        }
        written
    }

    /// Against the object's version: a spec that was changed meanwhile is looked at first.
    async fn put_status(
        &self,
        subject: &Subject,
        resource_version: &str,
        status: &CremaClusterStatus,
    ) -> Result<String, ApplyError> {
        let failed = |source| ApplyError::kube("write the status", source);
        let object = subject.with_status(resource_version, status);
        let object = object.map_err(|error| failed(kube::Error::SerdeError(error)))?;
        let api = Subject::api(&self.client, &subject.view.namespace);
        let by = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let written = api.replace_status(&subject.view.name, &by, &object).await.map_err(failed)?;
        Ok(written.metadata.resource_version.unwrap_or_else(|| resource_version.to_owned()))
    }

    fn may_act(&self) -> Result<(), ApplyError> {
        if self.guard.holds() { Ok(()) } else { Err(ApplyError::NotLeading) }
    }

    fn reach(&self, moment: &str, step: &str, namespace: &str) {
        for fault in &self.faults {
            fault.reach(moment, step, namespace);
        }
    }
}

/// How a node is reached by the others.
fn advertised(identity: &Identity, node: NodeId) -> String {
    // Only numbers that belong to pods are ever planned with.
    node.ordinal().map(|ordinal| identity.address(ordinal.0)).unwrap_or_default()
}

/// What a patch is bound to: this very object, and where it matters this version of it.
fn bound_to(live: &Live) -> Value {
    serde_json::json!({ "uid": live.uid, "resourceVersion": live.resource_version })
}

/// A merge patch in our name.
async fn merge<K>(api: &Api<K>, name: &str, patch: &Value) -> Result<K, kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let by = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(name, &by, &Patch::Merge(patch)).await
}

/// What is gone already need not be deleted.
fn unless_gone<T>(result: Result<T, kube::Error>, what: impl FnOnce() -> String) -> Result<(), ApplyError> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(ApplyError::kube(what(), source)),
    }
}

/// Every step, by its name in metrics and fault points.
pub const STEPS: [&str; 23] = [
    "apply-objects",
    "create-stateful-set",
    "apply-template",
    "patch-replicas",
    "patch-partition",
    "orphan-stateful-set",
    "remember",
    "init",
    "drain",
    "undrain",
    "remove",
    "mark-down",
    "transfer-leaders",
    "reset-shards",
    "update-settings",
    "pause-migrations",
    "resume-migrations",
    "delete-pod",
    "grow-claim",
    "own-claim",
    "delete-claim",
    "delete-config",
    "write-status",
];

/// The name of a step in metrics and fault points.
fn action_name(action: &Action) -> &'static str {
    match action {
        Action::ApplyObjects { .. } => "apply-objects",
        Action::CreateStatefulSet { .. } => "create-stateful-set",
        Action::ApplyTemplate { .. } => "apply-template",
        Action::PatchReplicas { .. } => "patch-replicas",
        Action::PatchPartition { .. } => "patch-partition",
        Action::OrphanStatefulSet { .. } => "orphan-stateful-set",
        Action::Remember { .. } => "remember",
        Action::Init { .. } => "init",
        Action::Drain { .. } => "drain",
        Action::Undrain { .. } => "undrain",
        Action::Remove { .. } => "remove",
        Action::MarkDown { .. } => "mark-down",
        Action::TransferLeaders { .. } => "transfer-leaders",
        Action::ResetShards { .. } => "reset-shards",
        Action::UpdateSettings { .. } => "update-settings",
        Action::PauseMigrations => "pause-migrations",
        Action::ResumeMigrations => "resume-migrations",
        Action::DeletePod { .. } => "delete-pod",
        Action::GrowClaim { .. } => "grow-claim",
        Action::OwnClaim { .. } => "own-claim",
        Action::DeleteClaim { .. } => "delete-claim",
        Action::DeleteConfig { .. } => "delete-config",
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(reason: &str) -> kube::Error {
        kube::Error::Api(Status::failure("no", reason).boxed())
    }

    #[test]
    fn what_is_gone_is_deleted() {
        let what = || "delete pod cart-0".to_owned();
        assert!(unless_gone(Ok(1), what).is_ok());
        assert!(unless_gone::<u8>(Err(refused("NotFound")), what).is_ok());
        let error = unless_gone::<u8>(Err(refused("Conflict")), what).expect_err("another one");
        assert!(chain(&error).starts_with("delete pod cart-0: "), "{}", chain(&error));
    }

    #[test]
    fn several_failures_are_told_in_one_line() {
        let foreign = |name: &str| ApplyError::Foreign { kind: "Service", name: name.to_owned() };
        let all = ApplyError::Some(vec![foreign("a"), ApplyError::TokenLost("t".to_owned())]);
        let expected = "Service a exists and does not belong to this cluster: it is not touched; \
                        the secret t is gone while pods run with its token: it has to be restored";
        assert_eq!(all.to_string(), expected);
    }
}
