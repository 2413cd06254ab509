//! How a node that starts gets the map that names it: it forms a cluster with others, or joins the one that there is.

use crate::{
    cluster::{
        ClusterMap, ClusterSpec, FormConfig, FormError, FormMode, FormOutcome, Former,
        map::{Member, MemberState, SUPPORTED_LEVELS},
    },
    error::Error,
    faults::Faults,
    network::{
        self, PeerDoor,
        find::{Seeker, find, gone},
        join::{Joiner, join},
    },
    types::{ClusterUid, Incarnation, NodeId},
};

use super::node::NodeOptions;

/// How a node comes to be part of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// By the static list of all first members, this one included: they form the cluster together, once, and who finds
    /// it formed joins it.
    Listed(Vec<(NodeId, String)>),
    /// It forms a new cluster of its own. Only for the first start of the first node of a cluster.
    Bootstrap,
    /// It joins the cluster of the nodes at these addresses, and waits until there is one.
    Join(Vec<String>),
}

impl Entry {
    /// The addresses known from the start, this node's own included where it is listed.
    pub(super) fn listed(&self, own: (NodeId, &str)) -> Vec<(NodeId, String)> {
        match self {
            Self::Listed(members) => members.clone(),
            Self::Bootstrap | Self::Join(_) => vec![(own.0, own.1.to_owned())],
        }
    }

    fn mode(&self, own: &str) -> FormMode {
        let address = own.to_owned();
        match self {
            Self::Listed(members) => FormMode::Static(members.clone()),
            Self::Bootstrap => FormMode::Bootstrap { address },
            Self::Join(_) => FormMode::Await { address },
        }
    }
}

/// One node's way into a cluster.
pub(super) struct Entrant {
    config: FormConfig,
    entry: Entry,
    about: Member,
}

impl Entrant {
    /// Refuses what can't be right, whoever answers.
    pub(super) fn new(options: &NodeOptions, incarnation: Incarnation) -> Result<(Self, Former), Error> {
        let NodeOptions { node, advertise, entry, spec, client_address, host, zone, .. } = options;
        let spec = match entry {
            Entry::Listed(_) | Entry::Bootstrap => spec.clone(),
            // The cluster has its own; nothing is formed here.
            Entry::Join(_) => ClusterSpec { replication_factor: 1, ..spec.clone() },
        };
        let config = FormConfig {
            node: *node,
            incarnation,
            mode: entry.mode(advertise),
            uid: ClusterUid(rand::random()),
            spec,
            host: host.clone(),
            zone: zone.clone(),
            client_address: client_address.clone(),
            faults: Faults::none(),
        };
        let former = Former::new(config.clone()).map_err(|error| {
            let field = if matches!(error, FormError::BadList { .. }) { "peers" } else { "cluster settings" };
            Error::Invalid { field, reason: error.to_string() }
        })?;
        let about = Member {
            incarnation,
            address: advertise.clone(),
            host: host.clone(),
            zone: zone.clone(),
            state: MemberState::Joining,
            levels: SUPPORTED_LEVELS,
            client_address: client_address.clone(),
        };
        Ok((Self { config, entry: entry.clone(), about }, former))
    }

    /// The map that names this life of the node. Waits for as long as others are missing.
    pub(super) async fn enter(self, door: &PeerDoor) -> Result<ClusterMap, Error> {
        let fatal = |error: &dyn std::error::Error| Error::Fatal(error.to_string());
        let others: Vec<String> = match &self.entry {
            Entry::Join(seeds) => seeds.clone(),
            Entry::Listed(members) => {
                let others = members.iter().filter(|(node, _)| *node != self.config.node);
                others.map(|(_, address)| address.clone()).collect()
            }
            Entry::Bootstrap => Vec::new(),
        };
        let seeker = Seeker { node: self.config.node, incarnation: self.config.incarnation };
        let outcome = match &self.entry {
            Entry::Listed(_) | Entry::Bootstrap => network::form::form(door).await,
            // Init may come from outside, or the others have been in a cluster for long.
            Entry::Join(_) => tokio::select! {
                formed = network::form::form(door) => formed,
                found = find(seeker, async || others.clone()) => {
                    let map = found.map_err(|error| fatal(&error))?;
                    // From here on it promises itself to nobody.
                    door.former().lock().on_found("one of the addresses to join", map.clone());
                    Ok(FormOutcome::Join { map })
                }
            },
        };
        let found = match outcome.map_err(|error| fatal(&error))? {
            FormOutcome::Formed(map) => return Ok(map),
            FormOutcome::Join { map } => map,
        };
        tracing::info!(uid = %found.uid, version = found.version, "found a cluster to join");
        let uid = found.uid;
        let members = found.members.iter().filter(|(node, _)| **node != self.config.node);
        let everyone: Vec<String> = members.map(|(_, member)| member.address.clone()).chain(others.clone()).collect();
        let joiner = Joiner { node: self.config.node, member: self.about, seeds: others };
        let map = tokio::select! {
            joined = join(&joiner, found) => joined.map_err(|error| fatal(&error))?,
            // This life may have promised itself to a cluster that was to be; only a new one is free to form another.
            () = gone(seeker, &everyone, uid) => return Err(Error::Fatal(format!(
                "cluster {uid}, which this node was to join, is gone; start the process again to look for another"
            ))),
        };
        let former = Former::formed(self.config, map.clone()).map_err(|error| fatal(&error))?;
        door.set_former(former);
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::{CacheConfig, DistributedCache};

    #[test]
    fn a_node_may_be_started_on_any_task() {
        fn sendable<T: Send>(_: &T) {}
        let config = CacheConfig::new(1, "127.0.0.1:0".parse().expect("an address"));
        sendable(&DistributedCache::new(config));
    }
}
