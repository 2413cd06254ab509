//! The Helm chart: what it renders, what it refuses, and whether what it says of numbers, flags and kinds is true.
//!
//! Nothing is installed here: `tests/kube` does that. Helm and promtool are asked; `tests/run chart` brings them.

mod names;
mod numbers;
mod rendered;
mod tools;
