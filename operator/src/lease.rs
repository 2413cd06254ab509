//! Which of the operator's replicas acts: the one that holds the Lease.
//!
//! Called by `main`, which waits in [`Election::acquire`], and by whoever is about to change something, which asks its
//! [`Guard`]. A holder that can't renew in time stops to hold before anybody else may take over, and its process ends.
//! Nobody's wall clock is believed: how long a lease was left alone is measured here, from when it was seen to change.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// Where the lease is, and how patient its holders are.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who this process is: no other living one may call itself so.
    pub identity: String,
    /// How long a lease must be left alone before another process takes it.
    pub duration: Duration,
    /// How long a holder may fail to renew before it stops to be one; shorter than `duration`.
    pub renew_deadline: Duration,
    /// The pause between two attempts.
    pub retry: Duration,
}

/// Why this process holds the lease no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Another process has it.
    #[error("another process holds the lease")]
    Taken,
    /// It couldn't be renewed for too long.
    #[error("the lease could not be renewed within {0:?}")]
    Expired(Duration),
}

/// A process that would lead.
pub struct Election {
    api: Api<Lease>,
    config: LeaseConfig,
    seen: Option<Seen>,
}

/// This process leads, until [`Leadership::lost`] resolves.
pub struct Leadership {
    election: Election,
    until: watch::Receiver<Instant>,
    renewing: JoinHandle<Lost>,
}

/// Says whether this process still leads. Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct Guard {
    until: watch::Receiver<Instant>,
}

/// What somebody else wrote into the lease, and when it was first seen here.
#[derive(Clone, Debug)]
struct Seen {
    record: LeaseSpec,
    at: Instant,
}

/// What a look at the lease allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It is ours: write the time anew.
    Renew,
    /// Nobody holds it, or its holder has left it alone for too long.
    Take,
    /// Somebody else holds it.
    Leave,
}

impl Election {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(client: Client, config: LeaseConfig) -> Self {
        let api = Api::namespaced(client, &config.namespace);
        Self { api, config, seen: None }
    }

    /// Waits until this process holds the lease, and goes on to renew it. `tried` is called after each attempt, with
    /// whether the API server answered it.
    pub async fn acquire(mut self, mut tried: impl FnMut(bool)) -> Leadership {
        loop {
            // From before the request: the lease that others see is younger than that.
            let asked = Instant::now();
            match self.attempt().await {
                Ok(true) => {
                    tried(true);
                    tracing::info!(lease = %self.config.name, identity = %self.config.identity, "leading");
                    return self.lead(asked);
                }
                Ok(false) => tried(true),
                Err(error) => {
                    tried(false);
                    tracing::warn!(%error, lease = %self.config.name, "take the lease");
                }
            }
            sleep(self.config.retry).await;
        }
    }

    fn lead(self, since: Instant) -> Leadership {
        let (sender, until) = watch::channel(since + self.config.renew_deadline);
        let renewer = Election { api: self.api.clone(), config: self.config.clone(), seen: None };
        let renewing = tokio::spawn(renewer.renew(sender));
        Leadership { election: self, until, renewing }
    }

    /// Renews until that fails for too long.
    async fn renew(mut self, until: watch::Sender<Instant>) -> Lost {
        loop {
            sleep(self.config.retry).await;
            let asked = Instant::now();
            match self.attempt().await {
                Ok(true) => drop(until.send_replace(asked + self.config.renew_deadline)),
                Ok(false) => return Lost::Taken,
                Err(error) => tracing::warn!(%error, lease = %self.config.name, "renew the lease"),
            }
            if Instant::now() >= *until.borrow() {
                return Lost::Expired(self.config.renew_deadline);
            }
        }
    }

    /// One look, and one write if the look allows it. False: somebody else holds the lease.
    async fn attempt(&mut self) -> Result<bool, AttemptError> {
        let limit = self.config.renew_deadline / 2;
        match timeout(limit, self.look_and_write()).await {
            Ok(done) => done.map_err(AttemptError::Kube),
            Err(_) => Err(AttemptError::Silent(limit)),
        }
    }

    async fn look_and_write(&mut self) -> Result<bool, kube::Error> {
        let now = Instant::now();
        let written = match self.api.get_opt(&self.config.name).await? {
            None => {
                let metadata = ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(self.record(None)) };
                self.api.create(&PostParams::default(), &lease).await
            }
            Some(mut lease) => {
                let old = lease.spec.take().unwrap_or_default();
                if claim(&old, &mut self.seen, &self.config, now) == Claim::Leave {
                    return Ok(false);
                }
                // The resourceVersion that was read goes along: of two writers one is refused.
                lease.spec = Some(self.record(Some(old)));
                self.api.replace(&self.config.name, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What we write: what was there stays, but for the holder and the times.
    fn record(&self, old: Option<LeaseSpec>) -> LeaseSpec {
        let old = old.unwrap_or_default();
        let now = || Some(MicroTime(Timestamp::now()));
        let ours = old.holder_identity.as_deref() == Some(&self.config.identity);
        let transitions = old.lease_transitions.unwrap_or(0);
        LeaseSpec {
            acquire_time: if ours { old.acquire_time.clone() } else { now() },
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.duration.as_secs()).ok(),
            lease_transitions: Some(if ours { transitions } else { transitions.saturating_add(1) }),
            renew_time: now(),
            ..old
        }
    }

    /// Gives the lease back, so that the next holder need not wait. Only a holder calls it.
    async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.config.name).await? else { return Ok(()) };
        let Some(spec) = &mut lease.spec else { return Ok(()) };
        if spec.holder_identity.as_deref() != Some(&self.config.identity) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        self.api.replace(&self.config.name, &PostParams::default(), &lease).await.map(drop)
    }
}

/// Why an attempt says nothing about who holds the lease.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("ask the API server")]
    Kube(#[source] kube::Error),
    #[error("the API server did not answer within {0:?}")]
    Silent(Duration),
}

impl Leadership {
    /// For those who act.
    #[must_use]
    pub fn guard(&self) -> Guard {
        Guard { until: self.until.clone() }
    }

    /// Resolves when this process leads no more: it must end.
    pub async fn lost(&mut self) -> Lost {
        let (deadline, patience) = (self.until.clone(), self.election.config.renew_deadline);
        tokio::select! {
            ended = &mut self.renewing => ended.unwrap_or(Lost::Expired(patience)),
            // The renewing task may itself hang on a request.
            () = expired(deadline) => Lost::Expired(patience),
        }
    }

    /// Stops renewing and gives the lease back. Nothing may be under way any more that acts.
    pub async fn release(self) {
        self.renewing.abort();
        let limit = self.election.config.retry;
        match timeout(limit, self.election.release()).await {
            Ok(Ok(())) => tracing::info!("gave the lease back"),
            Ok(Err(error)) => tracing::warn!(%error, "give the lease back"),
            Err(_) => tracing::warn!(?limit, "give the lease back: no answer in time"),
        }
    }
}

/// Resolves once the time is up that is in the channel then.
async fn expired(mut until: watch::Receiver<Instant>) {
    loop {
        let deadline = *until.borrow_and_update();
        if Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep_until(deadline).await;
    }
}

impl Guard {
    /// Whether this process leads now. What is begun after a `true` must be safe to repeat, or carry a precondition:
    /// the answer is old as soon as it is given.
    #[must_use]
    pub fn holds(&self) -> bool {
        Instant::now() < *self.until.borrow()
    }
}

/// Whether the lease may be written. Remembers what another holder wrote, and since when.
fn claim(lease: &LeaseSpec, seen: &mut Option<Seen>, config: &LeaseConfig, now: Instant) -> Claim {
    let holder = lease.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() {
        return Claim::Take;
    }
    if holder == config.identity {
        return Claim::Renew;
    }
    match seen {
        Some(seen) if seen.record == *lease => {
            let patience = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let patience = patience.map_or(config.duration, Duration::from_secs);
            if now.duration_since(seen.at) >= patience { Claim::Take } else { Claim::Leave }
        }
        Some(_) | None => {
            *seen = Some(Seen { record: lease.clone(), at: now });
            Claim::Leave
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LeaseConfig {
        LeaseConfig {
            namespace: "system".to_owned(),
            name: "crema-operator".to_owned(),
            identity: "a".to_owned(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }

    fn lease(holder: &str, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test]
    async fn a_free_lease_is_taken_and_ours_is_renewed() {
        let now = Instant::now();
        assert_eq!(claim(&LeaseSpec::default(), &mut None, &config(), now), Claim::Take);
        assert_eq!(claim(&lease("", 1), &mut None, &config(), now), Claim::Take);
        assert_eq!(claim(&lease("a", 1), &mut None, &config(), now), Claim::Renew);
    }

    #[tokio::test]
    async fn anothers_lease_is_taken_once_it_was_left_alone() {
        let (mut seen, start) = (None, Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        // However old its time says it is: it was only seen now.
        assert_eq!(claim(&lease("b", 1), &mut seen, &config(), start), Claim::Leave);
        assert_eq!(claim(&lease("b", 1), &mut seen, &config(), after(14)), Claim::Leave);
        // It was renewed: patience begins anew.
        assert_eq!(claim(&lease("b", 2), &mut seen, &config(), after(15)), Claim::Leave);
        assert_eq!(claim(&lease("b", 2), &mut seen, &config(), after(29)), Claim::Leave);
        assert_eq!(claim(&lease("b", 2), &mut seen, &config(), after(30)), Claim::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guard_ends_by_itself() {
        let (sender, until) = watch::channel(Instant::now() + Duration::from_secs(10));
        let guard = Guard { until: until.clone() };
        assert!(guard.holds());
        tokio::time::advance(Duration::from_secs(9)).await;
        sender.send_replace(Instant::now() + Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(guard.holds());
        expired(until).await;
        assert!(!guard.holds());
    }
}
