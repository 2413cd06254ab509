//! The standard health service: it says what `/readyz` says.

use std::time::Duration;

use crema_api::v1::{admin_server, cache_server};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::multiraft::introspect::Introspect;

/// How often readiness is looked at: a load balancer hears of a change within it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The names that clients ask for; the empty one is the node as a whole.
const SERVICES: [&str; 3] = ["", cache_server::SERVICE_NAME, admin_server::SERVICE_NAME];

/// Keeps the health service in step with the node's readiness. Never ends; drop it to stop.
pub(super) async fn follow(reporter: HealthReporter, node: impl Introspect) {
    loop {
        let ready = node.readiness().iter().all(|fact| fact.ok);
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            // Watchers are told only when it differs.
            reporter.set_service_status(service, status).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
