//! The planner in a small world: scripts, the rules that must never break, and random lives of clusters.

mod cluster;
mod kubernetes;
mod properties;
mod safety;
mod script;
mod steps;
pub(crate) mod world;
