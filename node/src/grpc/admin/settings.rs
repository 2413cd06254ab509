//! `Settings`, `UpdateSettings`, and pausing migrations: what all replicas agree on.

use std::sync::Arc;

use crema_api::v1;

use super::{ATTEMPTS, AdminService, Administer, CHANGE_TIMEOUT, PAUSE, changed, check_version, expected};
use crate::{
    cluster::{
        ClusterMap,
        command::{MetaCommand, Refused},
        map::{MemberState, SharedSettings},
    },
    grpc::failure::{Failure, invalid},
    machine::store::EvictionPolicy,
    multiraft::govern::GovernError,
};

impl<N: Administer> AdminService<N> {
    pub(super) async fn set_paused(&self, paused: bool) -> Result<v1::ChangeResponse, Failure> {
        let map = self.settle(None, |settings| settings.migrations_paused = paused).await?;
        Ok(changed(&map))
    }

    pub(super) async fn change_settings(
        &self,
        ask: v1::UpdateSettingsRequest,
    ) -> Result<v1::SettingsResponse, Failure> {
        let mut map = self.map()?;
        let mut version = expected(ask.expected_version);
        check_version(&map, version)?;
        check(&ask, &map)?;
        let eviction = ask.eviction.as_deref().map(eviction).transpose()?;
        if touches_settings(&ask) {
            map = self.settle(version, |settings| update(settings, &ask, eviction)).await?;
            version = version.map(|_| map.version);
        }
        if let Some(factor) = ask.replication_factor {
            map = self.commit(MetaCommand::SetReplicationFactor(factor), version).await?;
        }
        Ok(response(&map))
    }

    /// Commits the settings with an edit. Without a version from the caller it is done again on each newer map, so
    /// that nobody's change is taken back by it.
    async fn settle(
        &self,
        version: Option<u64>,
        edit: impl Fn(&mut SharedSettings) + Send,
    ) -> Result<Arc<ClusterMap>, Failure> {
        let mut attempt = 1;
        loop {
            let map = self.map()?;
            check_version(&map, version)?;
            let mut settings = map.settings;
            edit(&mut settings);
            if settings == map.settings {
                return Ok(map);
            }
            let command = MetaCommand::SetSettings(settings);
            match self.node.govern(command, Some(map.version), CHANGE_TIMEOUT).await {
                Err(GovernError::Refused(Refused::Version { .. })) if version.is_none() && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                result => return Ok(result?),
            }
        }
    }
}

pub(super) fn response(map: &ClusterMap) -> v1::SettingsResponse {
    v1::SettingsResponse {
        map_version: map.version,
        settings: v1::ClusterMap::from(map).settings,
        replication_factor: map.replication_factor,
    }
}

fn touches_settings(ask: &v1::UpdateSettingsRequest) -> bool {
    let only = v1::UpdateSettingsRequest {
        expected_version: ask.expected_version,
        replication_factor: ask.replication_factor,
        ..v1::UpdateSettingsRequest::default()
    };
    *ask != only
}

/// Refuses what can't be right, by name.
fn check(ask: &v1::UpdateSettingsRequest, map: &ClusterMap) -> Result<(), Failure> {
    if !touches_settings(ask) && ask.replication_factor.is_none() {
        return Err(invalid("settings", "none is set; set those that are to change").into());
    }
    if ask.migration_concurrency == Some(0) {
        return Err(invalid("migration_concurrency", "0; it must be at least 1 (PauseMigrations stops them)").into());
    }
    let Some(factor) = ask.replication_factor else { return Ok(()) };
    let there = |state: MemberState| match state {
        MemberState::Joining | MemberState::Up => true,
        MemberState::Draining | MemberState::Down | MemberState::Removed => false,
    };
    let nodes = map.members.values().filter(|member| there(member.state)).count();
    if factor == 0 || factor as usize > nodes {
        let reason = format!("{factor}; with {nodes} nodes that may hold replicas it must be 1 to {nodes}");
        return Err(invalid("replication_factor", reason).into());
    }
    Ok(())
}

fn eviction(name: &str) -> Result<EvictionPolicy, Failure> {
    match name {
        "tiny-lfu" => Ok(EvictionPolicy::TinyLfu),
        "lru" => Ok(EvictionPolicy::Lru),
        other => Err(invalid("eviction", format!("{other:?}; there are tiny-lfu and lru")).into()),
    }
}

fn update(settings: &mut SharedSettings, ask: &v1::UpdateSettingsRequest, eviction: Option<EvictionPolicy>) {
    let some = |value: u64| (value != 0).then_some(value);
    if let Some(entries) = ask.max_entries_per_shard {
        settings.capacity.max_entries = entries;
    }
    if let Some(bytes) = ask.max_bytes_per_shard {
        settings.capacity.max_bytes = bytes;
    }
    if let Some(ms) = ask.default_ttl_ms {
        settings.default_ttl_ms = some(ms);
    }
    if let Some(policy) = eviction {
        settings.eviction = policy;
    }
    if let Some(ms) = ask.max_clock_skew_ms {
        settings.max_clock_skew_ms = ms;
    }
    if let Some(concurrency) = ask.migration_concurrency {
        settings.migration_concurrency = concurrency;
    }
    if let Some(rate) = ask.migration_bytes_per_s {
        settings.migration_bytes_per_s = some(rate);
    }
    if let Some(ms) = ask.repair_after_ms {
        settings.repair_after_ms = some(ms);
    }
}
