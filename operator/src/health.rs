//! What the operator knows of its own health, for `/livez` and `/readyz`.
//!
//! The loops write it and the HTTP door reads it. Liveness is whether the loops turn, never whether the API server or a
//! cluster answers: a restart would heal neither.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A fact that `/livez` or `/readyz` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// Shared by the loops and the door. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    inner: Arc<Mutex<State>>,
    /// How long a loop may stand still.
    stall: Duration,
}

#[derive(Debug)]
struct State {
    role: Role,
    /// When the loop of the role last turned.
    turned: Instant,
    /// When the API server last answered the one that waits for the lease.
    answered: Option<Instant>,
}

/// What this process does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It waits for the lease.
    Standby,
    /// It holds the lease and acts.
    Leading,
    /// It ends.
    Stopping,
}

impl Health {
    /// `stall`: how long a loop may stand still before `/livez` fails; more than the longest of its waits.
    #[must_use]
    pub fn new(stall: Duration) -> Self {
        let state = State { role: Role::Standby, turned: Instant::now(), answered: None };
        Self { inner: Arc::new(Mutex::new(state)), stall }
    }

    /// The loop of the role turned.
    pub fn turned(&self) {
        self.lock().turned = Instant::now();
    }

    /// An attempt at the lease was made; `answered`: the API server said something.
    pub fn tried_lease(&self, answered: bool) {
        let mut state = self.lock();
        state.turned = Instant::now();
        if answered {
            state.answered = Some(Instant::now());
        }
    }

    /// What this process does from now on.
    pub fn set_role(&self, role: Role) {
        let mut state = self.lock();
        state.role = role;
        state.turned = Instant::now();
    }

    /// For `/livez`.
    #[must_use]
    pub fn liveness(&self) -> Vec<Fact> {
        let still = self.lock().turned.elapsed();
        vec![Fact { name: "loop", ok: still < self.stall, detail: format!("turned {} ms ago", still.as_millis()) }]
    }

    /// For `/readyz`. A replica that waits for the lease is ready: it can take over.
    #[must_use]
    pub fn readiness(&self) -> Vec<Fact> {
        let state = self.lock();
        let role = match state.role {
            Role::Standby => "waits for the lease",
            Role::Leading => "leads",
            Role::Stopping => "is stopping",
        };
        let answered = state.answered.is_some_and(|at| state.role != Role::Standby || at.elapsed() < self.stall);
        let server = if answered { "answers" } else { "has not answered lately" };
        vec![
            Fact { name: "role", ok: state.role != Role::Stopping, detail: role.to_owned() },
            Fact { name: "api-server", ok: answered, detail: server.to_owned() },
        ]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic can't leave it half changed: each field says something by itself.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(health: &Health) -> bool {
        health.readiness().iter().all(|fact| fact.ok)
    }

    fn live(health: &Health) -> bool {
        health.liveness().iter().all(|fact| fact.ok)
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_is_ready_while_the_api_server_answers() {
        let health = Health::new(Duration::from_secs(30));
        assert!(!ready(&health));
        health.tried_lease(true);
        assert!(ready(&health));
        tokio::time::advance(Duration::from_secs(29)).await;
        health.tried_lease(false);
        assert!(ready(&health) && live(&health));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!ready(&health));
        assert!(live(&health), "it goes on trying");
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_not_alive() {
        let health = Health::new(Duration::from_secs(30));
        health.tried_lease(true);
        health.set_role(Role::Leading);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(!live(&health));
        health.turned();
        assert!(live(&health) && ready(&health));
        health.set_role(Role::Stopping);
        assert!(!ready(&health));
    }
}
