//! Who belongs to the cluster, and how one comes to be.
//!
//! [`map`] is the cluster as its members agreed on it, [`initial`] lays out the first one, [`formation`] makes it, by the
//! vote of a static list or by Init from outside (PROTOCOL 10). [`command`] is what changes the map from then on,
//! [`progress`] what a migration needs next. These are pure: `network::form` carries their messages. [`discovery`] does
//! I/O: it finds the addresses of other nodes, and decides nothing.

pub mod command;
pub mod discovery;
pub mod formation;
pub mod initial;
pub mod map;
pub mod progress;

pub use formation::{FormConfig, FormError, FormMode, FormOutcome, Former};
pub use initial::ClusterSpec;
pub use map::ClusterMap;
