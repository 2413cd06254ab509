//! One pass over one cluster: observe, validate, plan, apply, status.
//!
//! The stages that decide are elsewhere and pure; this one passes on what each needs, and says what came of it: in the status,
//! in events, and in when to look again.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crema_crds::{CremaClusterStatus, Validated};
use kube::Client;
use tokio::time::{Instant, timeout};

use super::{
    ControllerConfig,
    judge::{self, ClusterDefaults, Verdict, judge},
    queue::{Done, Key},
    trace::Trace,
    turn::{More, SOON, Turn},
};
use crate::{
    apply::{ApplyError, Hands},
    chain,
    events::Events,
    kinds::Kinds,
    lease::Guard,
    metrics::{Metrics, PassOutcome},
    model::Intent,
    objects::Kind,
    observe::{ObserveError, Sight, Subject, observe},
    plan::{EventNote, Reason, Severity},
    status::{Difference, Limit, Outcome, Pass, difference, status},
};

/// The longest pass: two looks at nodes that are silent, and a few slow steps. What is cut off is begun anew.
const LIMIT: Duration = Duration::from_secs(100);

/// What all passes share.
pub(super) struct Operator {
    hands: Hands,
    events: Events,
    resync: Duration,
    defaults: ClusterDefaults,
    traces: Mutex<HashMap<Key, Trace>>,
}

/// How a pass ended that nothing cut off.
enum Ended {
    /// There is no such object.
    Gone,
    /// It is being deleted: everything it owns goes with it, and nothing is changed any more.
    Leaving,
    /// All was done; to be looked at again after so long.
    Again(Duration),
    /// Something was not done.
    Failed,
}

#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("look at the cluster")]
    Observe(#[from] ObserveError),
    #[error("tell what came of the pass")]
    Status(#[from] ApplyError),
    #[error("no end of the pass within {0:?}")]
    Slow(Duration),
}

impl Operator {
    pub(super) fn new(client: Client, config: &ControllerConfig, guard: Guard, metrics: Metrics) -> Self {
        Self {
            events: Events::new(client.clone(), config.identity.clone()),
            hands: Hands { kinds: Kinds::new(client.clone()), client, guard, faults: config.faults.clone(), metrics },
            resync: config.resync,
            defaults: config.defaults,
            traces: Mutex::default(),
        }
    }

    /// One pass; says when the next is due.
    pub(super) async fn pass(&self, key: &Key) -> Done {
        let begun = Instant::now();
        let ended = match timeout(LIMIT, self.look_and_act(key)).await {
            Ok(ended) => ended,
            Err(_) => Err(PassError::Slow(LIMIT)),
        };
        let (outcome, done) = match ended {
            Ok(Ended::Gone) => {
                self.traces().remove(key);
                (PassOutcome::Gone, Done::Gone)
            }
            Ok(Ended::Leaving) => (PassOutcome::Gone, Done::Again(self.resync)),
            Ok(Ended::Again(pause)) => (PassOutcome::Done, Done::Again(pause)),
            Ok(Ended::Failed) => (PassOutcome::Failed, Done::Failed),
            Err(error) => {
                tracing::warn!(cluster = key.name, namespace = key.namespace, error = chain(&error), "pass");
                (PassOutcome::Failed, Done::Failed)
            }
        };
        self.hands.metrics.passed(&key.namespace, &key.name, outcome, begun.elapsed());
        done
    }

    async fn look_and_act(&self, key: &Key) -> Result<Ended, PassError> {
        let Hands { client, kinds, .. } = &self.hands;
        let Some(subject) = Subject::read(client, &key.namespace, &key.name).await? else { return Ok(Ended::Gone) };
        if subject.view.deleting {
            return Ok(Ended::Leaving);
        }
        let sight = observe(client, kinds, subject).await?;
        let Verdict { spec, problems } =
            judge(&key.name, &sight.subject.spec, self.defaults, sight.seen.accepted.as_ref());
        match spec {
            Some(spec) => self.act(key, spec, sight, &problems).await,
            None => self.refuse(key, &sight, &problems).await,
        }
    }

    /// Nothing is in force: that is told, and nothing is done.
    async fn refuse(&self, key: &Key, sight: &Sight, problems: &[String]) -> Result<Ended, PassError> {
        self.events.publish(&sight.subject.reference(), &[refusal(problems)]).await;
        let after = judge::refused(&sight.seen, problems);
        let version = &sight.subject.view.resource_version;
        self.tell(key, &sight.subject, version, &sight.seen.status, &after).await?;
        self.hands.metrics.waits(&key.namespace, &key.name, problems.len());
        Ok(Ended::Again(self.resync))
    }

    async fn act(&self, key: &Key, spec: Validated, sight: Sight, problems: &[String]) -> Result<Ended, PassError> {
        let mut turn = Turn::new(&self.hands, spec, sight);
        turn.act().await;
        let (missing, mut notes) = self.missing(&turn.spec).await;
        if !problems.is_empty() {
            notes.push(refusal(problems));
        }
        // What was called off or refused is told when it is done.
        if !turn.held_back {
            notes.extend(turn.plan.events.iter().cloned());
        }
        self.events.publish(&turn.sight.subject.reference(), &notes).await;
        let is_news = self.count(key, &turn.failures);
        let after = told(&turn, &outcome(&turn.failures, problems, is_news), missing);
        let later = self.tell(key, &turn.sight.subject, &turn.version, &turn.status, &after).await?;
        self.hands.metrics.waits(&key.namespace, &key.name, turn.plan.waiting_on.len());
        if !turn.failures.is_empty() {
            return Ok(Ended::Failed);
        }
        let pause = match turn.more() {
            More::Soon => SOON,
            More::Waiting => self.trace(key, |trace| trace.patience(&turn.plan.waiting_on)),
            More::Nothing => self.resync,
        };
        Ok(Ended::Again(pause.min(self.resync).min(later.unwrap_or(pause))))
    }

    /// Writes the status if it differs, and says how long that is put off.
    async fn tell(
        &self,
        key: &Key,
        subject: &Subject,
        version: &str,
        before: &CremaClusterStatus,
        after: &CremaClusterStatus,
    ) -> Result<Option<Duration>, PassError> {
        let differs = difference(before, after);
        if differs == Difference::None {
            return Ok(None);
        }
        if let Err(later) = self.trace(key, |trace| trace.may_write(differs, Instant::now())) {
            return Ok(Some(later));
        }
        self.hands.write_status(subject, version, after).await?;
        self.trace(key, |trace| trace.wrote(Instant::now()));
        Ok(None)
    }

    /// Counts the passes in a row that failed; whether that is to be told.
    fn count(&self, key: &Key, failures: &[String]) -> bool {
        self.trace(key, |trace| {
            if failures.is_empty() {
                trace.succeeded();
                false
            } else {
                trace.failed()
            }
        })
    }

    /// What the spec asks for and this API server doesn't know.
    async fn missing(&self, spec: &Validated) -> (Vec<Limit>, Vec<EventNote>) {
        let wanted = [
            (Kind::ServiceMonitor, spec.monitoring.is_some(), "spec.monitoring"),
            (Kind::PodDisruptionBudget, spec.pod_disruption_budget, "spec.podDisruptionBudget"),
        ];
        let (mut limits, mut notes) = (Vec::new(), Vec::new());
        for (kind, _, field) in wanted.into_iter().filter(|(_, asked, _)| *asked) {
            match self.hands.kinds.resolve(kind).await {
                Ok(Some(_)) => {
                    limits.push(served(kind, true, format!("this API server knows {field}'s {}", kind.name())))
                }
                Ok(None) => {
                    let message = format!("{field} asks for a {}, which this API server does not know", kind.name());
                    limits.push(served(kind, false, message.clone()));
                    notes.push(EventNote { severity: Severity::Warning, reason: Reason::Refused, message });
                }
                Err(error) => tracing::warn!(kind = kind.name(), error = chain(&error), "ask for a kind"),
            }
        }
        (limits, notes)
    }

    fn trace<T>(&self, key: &Key, change: impl FnOnce(&mut Trace) -> T) -> T {
        change(self.traces().entry(key.clone()).or_default())
    }

    fn traces(&self) -> MutexGuard<'_, HashMap<Key, Trace>> {
        // A panic can't leave it half changed in a way that matters: it only paces.
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn served(kind: Kind, status: bool, message: String) -> Limit {
    let reason = if status { "Served" } else { "NotServed" };
    Limit { kind: format!("{}Served", kind.name()), status, reason: reason.to_owned(), message }
}

fn refusal(problems: &[String]) -> EventNote {
    let message = format!("the spec is refused: {}", problems.join("; "));
    EventNote { severity: Severity::Warning, reason: Reason::Refused, message }
}

fn outcome(failures: &[String], problems: &[String], is_news: bool) -> Outcome {
    let failures: &[String] = if is_news { failures } else { &[] };
    match (problems, failures) {
        ([], []) => Outcome::Done,
        ([], failures) => Outcome::Failed(failures.join("; ")),
        (problems, failures) => Outcome::Refused([problems, failures].concat()),
    }
}

/// The status after a turn.
fn told(turn: &Turn<'_>, outcome: &Outcome, missing: Vec<Limit>) -> CremaClusterStatus {
    let limits: Vec<Limit> = turn.sight.limits.iter().cloned().chain(missing).collect();
    status(&Pass {
        intent: &Intent::of(&turn.spec, &turn.sight.seen.object),
        seen: &turn.sight.seen,
        plan: &turn.plan,
        outcome,
        memory: &turn.memory,
        selector: &turn.identity.selector_text(),
        versions: &turn.sight.versions,
        warnings: &turn.spec.warnings,
        limits: &limits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_spec_outranks_what_failed() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let (none, failed, wrong) = (words(&[]), words(&["no answer"]), words(&["spec.shards: immutable"]));
        assert_eq!(outcome(&none, &none, false), Outcome::Done);
        assert_eq!(outcome(&failed, &none, false), Outcome::Done, "once is no news");
        assert_eq!(outcome(&failed, &none, true), Outcome::Failed("no answer".to_owned()));
        let both = words(&["spec.shards: immutable", "no answer"]);
        assert_eq!(outcome(&failed, &wrong, true), Outcome::Refused(both));
        assert_eq!(outcome(&none, &wrong, false), Outcome::Refused(wrong.clone()));
    }
}
