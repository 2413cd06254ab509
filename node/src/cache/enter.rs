//! How a node that starts gets the map that names it: it forms a cluster with others, or joins the one that there is.

use std::sync::Arc;

use futures::future::join_all;

use crate::{
    cluster::{
        ClusterMap, ClusterSpec, FormConfig, FormError, FormMode, FormOutcome, Former,
        map::{Member, MemberState, SUPPORTED_LEVELS},
    },
    error::Error,
    faults::Faults,
    network::{
        self, PeerDoor,
        find::{Seeker, ask_map, find, gone},
        join::{Joiner, join},
    },
    types::{ClusterUid, Incarnation, NodeId},
};

use super::{discover::Finder, node::NodeOptions};

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
    /// As [`Self::Join`], by the addresses that [`NodeOptions::discovery`] finds.
    Discover,
}

impl Entry {
    /// The addresses known from the start, this node's own included where it is listed.
    pub(super) fn listed(&self, own: (NodeId, &str)) -> Vec<(NodeId, String)> {
        match self {
            Self::Listed(members) => members.clone(),
            Self::Bootstrap | Self::Join(_) | Self::Discover => vec![(own.0, own.1.to_owned())],
        }
    }

    /// For a node that has been in a cluster and comes back without its data: it joins that cluster, and never forms an empty
    /// one in its place.
    pub(super) fn of_reborn(&self, own: NodeId) -> Result<Self, Error> {
        let alone = || {
            Err(Error::Fatal(
                "an earlier life of this node is set aside in its data directory, so it forms no new, empty cluster: start \
                 it with the addresses of its cluster (--join), or move what is set aside away first"
                    .to_owned(),
            ))
        };
        match self {
            Self::Bootstrap => alone(),
            Self::Listed(members) => {
                let others = members.iter().filter(|(node, _)| *node != own);
                let others: Vec<String> = others.map(|(_, address)| address.clone()).collect();
                if others.is_empty() { alone() } else { Ok(Self::Join(others)) }
            }
            Self::Join(_) | Self::Discover => Ok(self.clone()),
        }
    }

    fn mode(&self, own: &str) -> FormMode {
        let address = own.to_owned();
        match self {
            Self::Listed(members) => FormMode::Static(members.clone()),
            Self::Bootstrap => FormMode::Bootstrap { address },
            Self::Join(_) | Self::Discover => FormMode::Await { address },
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
    /// Refuses what can't be right, whoever answers. `known` is the map of the cluster that this life is in already.
    pub(super) fn new(
        options: &NodeOptions,
        incarnation: Incarnation,
        known: Option<&ClusterMap>,
    ) -> Result<(Self, Former), Error> {
        let NodeOptions { node, advertise, entry, spec, client_address, host, zone, .. } = options;
        let spec = match entry {
            Entry::Listed(_) | Entry::Bootstrap => spec.clone(),
            // The cluster has its own; nothing is formed here.
            Entry::Join(_) | Entry::Discover => ClusterSpec { replication_factor: 1, ..spec.clone() },
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
        let former = match known {
            Some(map) => Former::formed(config.clone(), map.clone()),
            None => Former::new(config.clone()),
        };
        let former = former.map_err(|error| {
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
    pub(super) async fn enter(&self, door: &PeerDoor, finder: Option<&Finder>) -> Result<ClusterMap, Error> {
        let fatal = |error: &dyn std::error::Error| Error::Fatal(error.to_string());
        loop {
            let found = match self.form_or_find(door, finder).await? {
                FormOutcome::Formed(map) => return Ok(map),
                FormOutcome::Join { map } => map,
            };
            if let Some(map) = self.join(found, door, finder).await? {
                let former = Former::formed(self.config.clone(), map.clone()).map_err(|error| fatal(&error))?;
                door.set_former(former);
                return Ok(map);
            }
        }
    }

    async fn form_or_find(&self, door: &PeerDoor, finder: Option<&Finder>) -> Result<FormOutcome, Error> {
        let fatal = |error: &dyn std::error::Error| Error::Fatal(error.to_string());
        let outcome = match (&self.entry, finder) {
            (Entry::Bootstrap, _) | (Entry::Listed(_), None) => network::form::form(door).await,
            // Init may come from outside, the list may vote, or the others have been in a cluster for long.
            (Entry::Join(_) | Entry::Discover | Entry::Listed(_), _) => tokio::select! {
                formed = network::form::form(door) => formed,
                found = find(self.seeker(), async || self.contacts(finder)) => {
                    let map = found.map_err(|error| fatal(&error))?;
                    let mut former = door.former().lock();
                    // From here on it promises itself to nobody.
                    former.on_found("an address that was found", map.clone());
                    former.outcome().unwrap_or(Ok(FormOutcome::Join { map }))
                }
            },
        };
        outcome.map_err(|error| fatal(&error))
    }

    /// The map of the cluster that has taken this node in; `None` when that cluster is gone and another can be formed.
    async fn join(
        &self,
        found: ClusterMap,
        door: &PeerDoor,
        finder: Option<&Finder>,
    ) -> Result<Option<ClusterMap>, Error> {
        let uid = found.uid;
        tracing::info!(%uid, version = found.version, "found a cluster to join");
        let others = self.contacts(finder);
        let members = found.members.iter().filter(|(node, _)| **node != self.config.node);
        let everyone: Vec<String> = members.map(|(_, member)| member.address.clone()).chain(others.clone()).collect();
        let joiner = Joiner { node: self.config.node, member: self.about.clone(), seeds: others };
        let is_listed = matches!(self.entry, Entry::Listed(_));
        tokio::select! {
            joined = join(&joiner, found) => joined.map(Some).map_err(|error| Error::Fatal(error.to_string())),
            () = network::form::until_gone(door), if is_listed => {
                tracing::warn!(%uid, "all listed nodes have come back empty: the cluster that was to be joined is gone");
                Ok(None)
            }
            () = network::form::until_promised(door), if !is_listed => {
                tracing::warn!(%uid, "the cluster that was to be joined is gone: an Init forms another with this node");
                Ok(None)
            }
            // This life may have promised itself to a cluster that was to be; only a new one is free to form another. One
            // that is bound to an Init by now stays: its end could cost the new cluster its majority.
            () = gone(self.seeker(), &everyone, uid), if !is_listed => {
                door.former().lock().on_gone();
                Ok(None)
            }
        }
    }

    /// For a node that comes back with its data: whoever answers where it looks for others must be of its cluster.
    /// Those that don't answer now are told apart when they do. Says why this life is over, if someone knows that it is.
    pub(super) async fn check_others(
        &self,
        map: &ClusterMap,
        finder: Option<&Finder>,
    ) -> Result<Option<String>, Error> {
        let contacts = self.contacts(finder);
        let members = map.members.iter().filter(|(node, _)| **node != self.config.node);
        // Their addresses may be another cluster's by now; those that were given may not.
        let old = members.map(|(_, member)| member.address.clone()).filter(|address| !contacts.contains(address));
        let old: Vec<String> = old.collect();
        let everyone = contacts.iter().chain(&old);
        let answers = join_all(everyone.map(|address| ask_map(self.seeker(), address))).await;
        let other = contacts.iter().zip(&answers).find_map(|(address, answer)| {
            let found = answer.as_ref().ok()?.uid;
            (found != map.uid).then_some((address, found))
        });
        if let Some((address, found)) = other {
            return Err(Error::Fatal(format!(
                "the data directory of this node is of cluster {}, and {address} belongs to cluster {found}: give it \
                 the addresses of its own cluster, or an empty data directory to join the other",
                map.uid
            )));
        }
        let known = answers.into_iter().flatten().filter(|answer| answer.uid == map.uid);
        let newest = known.max_by_key(|answer| answer.version).filter(|newest| newest.version > map.version);
        Ok(newest.and_then(|newest| self.over(&newest)))
    }

    /// Why this life of the node is over by a map.
    fn over(&self, map: &ClusterMap) -> Option<String> {
        let what = match map.members.get(&self.config.node) {
            None => "is no member any more",
            Some(member) if member.incarnation != self.config.incarnation => "has come back in another life",
            Some(member) => match member.state {
                MemberState::Down => "was declared down",
                MemberState::Removed => "was removed",
                MemberState::Joining | MemberState::Up | MemberState::Draining => return None,
            },
        };
        Some(format!("by version {} of the map of cluster {} this node {what}", map.version, map.uid))
    }

    /// Tells the cluster what has changed about this node since it was told last, its address perhaps; for as long as it
    /// takes.
    pub(super) fn tell_changes(
        &self,
        map: Arc<ClusterMap>,
        finder: Option<&Finder>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let joiner = Joiner { node: self.config.node, member: self.about.clone(), seeds: self.contacts(finder) };
        async move {
            if joiner.is_known_to(&map) {
                return;
            }
            if let Err(error) = join(&joiner, ClusterMap::clone(&map)).await {
                // The peers refuse it, and the process ends by that.
                tracing::warn!(%error, "the cluster could not be told about this node");
            }
        }
    }

    fn seeker(&self) -> Seeker {
        Seeker { node: self.config.node, incarnation: self.config.incarnation }
    }

    /// Where others may be now.
    fn contacts(&self, finder: Option<&Finder>) -> Vec<String> {
        let listed: &[(NodeId, String)] = match &self.entry {
            Entry::Join(seeds) => return seeds.clone(),
            Entry::Listed(members) => members,
            Entry::Bootstrap | Entry::Discover => &[],
        };
        let others = listed.iter().filter(|(node, _)| *node != self.config.node);
        match finder {
            // Those given by hand are among them.
            Some(finder) => finder.contacts(),
            None => others.map(|(_, address)| address.clone()).collect(),
        }
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
