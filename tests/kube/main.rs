//! CremaCluster on a real Kubernetes: what users rely on, seen through kubectl and ordinary Redis clients.
//!
//! `tests/run kube` starts the control plane and its machines (`harness/run`), and this in the control plane's network, where
//! pods and services are reached by their addresses. Each is in a Kubernetes namespace of its own. Those
//! that stop or replace the operator take turns, and so do those that take a machine away: the last one, on which only their pods
//! are.

mod crema;
mod kubectl;
mod machines;
mod mortal;
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
