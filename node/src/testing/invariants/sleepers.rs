//! Who sleeps under whom is what each group says: a node keeps it in sums, and its beats speak for the sums.

use super::Verdict;
use crate::{machine::model::ModelStore, multiraft::node::Node, testing::net::Place};

/// Checks one node.
pub(super) fn check(place: Place, node: &Node<ModelStore>) -> Verdict {
    node.check_sleepers().map_err(|reason| ("sleepers", format!("place {place}: {reason}")))
}
