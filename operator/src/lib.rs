//! The operator: turns `CremaCluster` objects into running clusters.
//!
//! One pass over a cluster is observe, validate, plan, apply, status. What decides ([`plan`], [`objects`], [`status`]) is
//! pure; what talks to Kubernetes ([`observe`], [`apply`]) and to the cache's nodes ([`admin`]) decides nothing.
//! Modules use only what is below them: [`controller`], then [`observe`], [`apply`] and [`admin`], then [`plan`],
//! [`objects`] and [`status`], then [`model`]. The data plane never depends on this program.

use std::error::Error;

pub mod admin;
pub mod apply;
pub mod controller;
pub mod events;
pub mod fault;
#[cfg(test)]
mod golden;
pub mod health;
pub mod kinds;
pub mod labels;
pub mod lease;
pub mod metrics;
pub mod model;
pub mod objects;
pub mod observe;
pub mod plan;
pub mod status;

/// Who owns the fields that the operator writes, and who reports its events.
pub const FIELD_MANAGER: &str = "crema-operator";

/// An error and what caused it, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut is_last) = words(error);
    let mut cause = error.source();
    while let Some(inner) = cause.filter(|_| !is_last) {
        let (inner_text, ends) = words(inner);
        is_last = ends;
        // Many errors tell their source themselves.
        if !text.contains(&inner_text) {
            text += ": ";
            text += &inner_text;
        }
        cause = inner.source();
    }
    text
}

/// What one error says, and whether that is all: the API server's own words are for people, what kube adds is not.
fn words(error: &(dyn Error + 'static)) -> (String, bool) {
    let boxed = || error.downcast_ref::<Box<kube::Error>>().map(|boxed| &**boxed);
    match error.downcast_ref::<kube::Error>().or_else(boxed) {
        Some(kube::Error::Api(status)) if !status.message.is_empty() => (status.message.clone(), true),
        Some(_) | None => (error.to_string(), false),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read the pods")]
    struct Outer {
        source: Box<kube::Error>,
    }

    #[test]
    fn the_api_server_speaks_for_itself() {
        let refused = || kube::Error::Api(Status::failure("pods is forbidden", "Forbidden").boxed());
        assert_eq!(chain(&refused()), "pods is forbidden");
        assert_eq!(chain(&Outer { source: Box::new(refused()) }), "read the pods: pods is forbidden");
    }
}
