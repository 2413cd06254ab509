//! What the samples leave to their reader: ports, folders, and patience.

use std::{
    error::Error,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crema::{CacheConfig, DistributedCache, MultiRaftCacheConfig, NodeId};

/// What a sample's `main` returns, fit for a task of its own.
pub(crate) type Sample = Result<(), Box<dyn Error + Send + Sync>>;

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ports that were free a moment ago; all held until the last is known, so that they differ.
pub(crate) fn ports<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let listeners: Vec<_> =
        (0..COUNT).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    std::array::from_fn(|at| listeners[at].local_addr().expect("an address"))
}

/// Asks until the answer is yes.
pub(crate) async fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let asked = tokio::time::timeout(PATIENCE, async {
        while !ask() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

/// A folder that is gone when the test is over.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("crema-reference-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is in the system's folder for such things.
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

/// Three nodes of one cluster, sharded or not.
pub(crate) async fn three(multiraft: &MultiRaftCacheConfig) -> [DistributedCache; 3] {
    let members: [(NodeId, SocketAddr); 3] = {
        let [a, b, c] = ports();
        [(1, a), (2, b), (3, c)]
    };
    let start = |node: NodeId, address| {
        let others = members.into_iter().filter(|(other, _)| *other != node).collect();
        let config = CacheConfig::new(node, address).with_seed_nodes(others);
        DistributedCache::new(config.with_multiraft_config(multiraft.clone()))
    };
    let [a, b, c] = members.map(|(node, address)| start(node, address));
    let (a, b, c) = tokio::time::timeout(PATIENCE, async { tokio::try_join!(a, b, c) })
        .await
        .expect("formed in time")
        .expect("a cluster of three");
    [a, b, c]
}
