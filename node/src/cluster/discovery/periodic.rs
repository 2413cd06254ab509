//! What the discoveries share: the published state, and one background task that ends when it is told.

use std::{ops::Deref, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::info;

use crate::cluster::discovery::{Discovered, Found, PeerState};

/// The published state and its task; shared between a discovery and its task.
#[derive(Debug)]
pub(super) struct Periodic {
    name: &'static str,
    found: watch::Sender<Found>,
    pub(super) stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Periodic {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            found: watch::Sender::new(Found::default()),
            stop: CancellationToken::new(),
            task: Mutex::default(),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Found> {
        self.found.subscribe()
    }

    pub(super) fn found(&self) -> Found {
        self.found.borrow().clone()
    }

    /// Shows a new state, and says so in the log, if it is one.
    pub(super) fn publish(&self, found: Vec<Discovered>) -> Found {
        let found = sorted(found);
        self.found.send_if_modified(|known| {
            let changed = **known != found;
            if changed {
                info!(discovery = self.name, peers = describe(&found), "peers changed");
                *known = Arc::new(found);
            }
            changed
        });
        self.found()
    }

    /// Spawns a task that does `work` at once and at every interval, until the end.
    pub(super) fn every<F: Future<Output = ()> + Send>(
        &self,
        every: Duration,
        mut work: impl FnMut() -> F + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.spawn(async move {
            let work = async {
                let mut ticks = interval(every);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    work().await;
                }
            };
            let _ = stop.run_until_cancelled(work).await;
        });
    }

    /// Spawns the task, once and not after [`Self::shutdown`]. It should end soon after `stop`.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut task = self.task.lock();
        if task.is_none() && !self.stop.is_cancelled() {
            *task = Some(tokio::spawn(work));
        }
    }

    #[cfg(feature = "memberlist")]
    pub(super) fn is_started(&self) -> bool {
        self.task.lock().is_some() || self.stop.is_cancelled()
    }

    /// Ends the task and waits for its end. What it panicked with has been printed already.
    pub(super) fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.stop.cancel();
            let task = self.task.lock().take();
            if let Some(task) = task {
                let _ = task.await;
            }
        })
    }
}

#[cfg(all(test, feature = "memberlist"))]
impl Periodic {
    /// Ends the task as if its process had been killed.
    pub(super) fn abort(&self) -> Option<JoinHandle<()>> {
        self.task.lock().take().inspect(JoinHandle::abort)
    }
}

/// A discovery's own hold of it: the task ends when the discovery is dropped, though the task has a share too.
#[derive(Debug)]
pub(super) struct Owned {
    shared: Arc<Periodic>,
    _stop: DropGuard,
}

impl Owned {
    pub(super) fn new(name: &'static str) -> Self {
        let shared = Arc::new(Periodic::new(name));
        let _stop = shared.stop.clone().drop_guard();
        Self { shared, _stop }
    }

    pub(super) fn share(&self) -> Arc<Periodic> {
        self.shared.clone()
    }
}

impl Deref for Owned {
    type Target = Periodic;

    fn deref(&self) -> &Periodic {
        &self.shared
    }
}

/// Ascending, each address once: of two, the one that says more.
pub(super) fn sorted(mut found: Vec<Discovered>) -> Vec<Discovered> {
    found.sort_by(|a, b| {
        a.address.cmp(&b.address).then_with(|| b.node.cmp(&a.node)).then_with(|| b.state.cmp(&a.state))
    });
    found.dedup_by(|later, first| later.address == first.address);
    found
}

fn describe(found: &[Discovered]) -> String {
    let one = |peer: &Discovered| {
        let lost = if peer.state == PeerState::Lost { " (lost)" } else { "" };
        match peer.node {
            Some(node) => format!("{node}={}{lost}", peer.address),
            None => format!("{}{lost}", peer.address),
        }
    };
    if found.is_empty() { "nobody".to_owned() } else { found.iter().map(one).collect::<Vec<_>>().join(", ") }
}
