//! The operator: turns `CremaCluster` objects into running clusters.
//!
//! One pass over a cluster is observe, validate, plan, apply, status. What decides ([`plan`], [`objects`], [`status`]) is
//! pure; what talks to Kubernetes ([`observe`], [`apply`]) and to the cache's nodes ([`admin`]) decides nothing.
//! Modules use only what is below them: [`controller`], then [`observe`], [`apply`] and [`admin`], then [`plan`],
//! [`objects`] and [`status`], then [`model`]. The data plane never depends on this program.

pub mod admin;
pub mod apply;
pub mod controller;
pub mod events;
pub mod fault;
#[cfg(test)]
mod golden;
pub mod health;
pub mod kinds;
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
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Many errors tell their source themselves.
        if !text.contains(&inner_text) {
            text += ": ";
            text += &inner_text;
        }
        cause = inner.source();
    }
    text
}
