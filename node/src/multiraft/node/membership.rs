//! Replicas come and go as the committed map says.

use std::sync::Arc;

use crema_api::v1;

use super::Node;
use crate::{
    cluster::map::ClusterMap,
    machine::store::EntryStore,
    types::{NodeId, Now},
};

impl<S: EntryStore> Node<S> {
    pub(super) fn on_map(&mut self, _now: Now, map: Arc<ClusterMap>) {
        self.map = map;
    }

    pub(super) fn on_gone(&mut self, _from: NodeId, _gone: &v1::Gone) {}
}
