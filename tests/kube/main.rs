//! CremaCluster on a real Kubernetes: what users rely on, seen through kubectl and ordinary Redis clients.
//!
//! `tests/run kube` starts the control plane and its machines (`harness/run`), and this in the control plane's network, where
//! pods and services are reached by their addresses. Each is in a Kubernetes namespace of its own, and alone where it takes away
//! a machine or the operator (`.config/nextest.toml`).

mod crema;
mod kubectl;
mod machines;
mod operator;

mod autoscale;
mod identity;
mod idle;
mod invalid;
mod lifecycle;
mod monitoring;
mod quickstart;
mod repair;
mod roll;
mod scale;
mod succession;
mod upkeep;
