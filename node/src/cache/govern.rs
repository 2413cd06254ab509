//! The one [`Govern`]: changes of the cluster map through this node.

use std::{sync::Arc, time::Duration};

use super::view::NodeView;
use crate::{
    cluster::{ClusterMap, command::MetaCommand},
    multiraft::govern::{Govern, GovernError},
};

impl Govern for NodeView {
    fn map(&self) -> Option<Arc<ClusterMap>> {
        self.with_runtime(|map, _| Arc::new(map.clone()))
    }

    async fn govern(&self, _: MetaCommand, _: Option<u64>, _: Duration) -> Result<Arc<ClusterMap>, GovernError> {
        Err(GovernError::Unavailable("this node has no way to the meta group".to_owned()))
    }
}
