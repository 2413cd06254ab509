//! `settings get` and `settings set`: what all replicas agree on.

use clap::{Args, Subcommand, ValueEnum};
use crema_api::v1;
use serde::Serialize;

use crate::{
    Answer,
    admin::{AdminArgs, failed},
    format::{bytes, duration},
};

/// Shows or changes the cluster's settings.
#[derive(Args)]
pub(crate) struct Settings {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show them
    Get(Get),
    /// Change some; the others stay
    Set(Set),
}

#[derive(Args)]
struct Get {
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Args)]
struct Set {
    /// Entries that one shard holds at most; 0 is no limit
    #[arg(long, value_name = "ENTRIES")]
    shard_max_entries: Option<u64>,
    /// Bytes that one shard holds at most; 0 is no limit
    #[arg(long, value_name = "BYTES")]
    shard_max_bytes: Option<u64>,
    /// The life of keys that are set without one; 0 is for ever
    #[arg(long, value_name = "MS")]
    default_ttl_ms: Option<u64>,
    /// How a full shard chooses what goes
    #[arg(long, value_enum)]
    eviction: Option<Eviction>,
    /// How far a leader's clock may run ahead of the others
    #[arg(long, value_name = "MS")]
    max_clock_skew_ms: Option<u64>,
    /// Migrations under way at once
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    migration_concurrency: Option<u32>,
    /// Bytes of snapshots that each node sends per second; 0 is no limit
    #[arg(long, value_name = "BYTES")]
    migration_bytes_per_s: Option<u64>,
    /// A node that is silent for so long is declared down; 0 is never
    #[arg(long, value_name = "MS")]
    repair_after_ms: Option<u64>,
    /// Voters of each shard
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    replication: Option<u32>,
    /// Refuse unless the map has this version
    #[arg(long, default_value_t = 0, value_name = "VERSION", hide_default_value = true)]
    expect_version: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Eviction {
    /// By frequency of use
    TinyLfu,
    /// By the last use
    Lru,
}

impl Eviction {
    fn name(self) -> &'static str {
        match self {
            Self::TinyLfu => "tiny-lfu",
            Self::Lru => "lru",
        }
    }
}

#[derive(Serialize)]
struct Shown {
    map_version: u64,
    replication_factor: u32,
    max_entries_per_shard: u64,
    max_bytes_per_shard: u64,
    default_ttl_ms: u64,
    eviction: &'static str,
    max_clock_skew_ms: u64,
    migration_concurrency: u32,
    migration_bytes_per_s: u64,
    migrations_paused: bool,
    repair_after_ms: u64,
}

impl Settings {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        match self.verb {
            Verb::Get(Get { admin }) => {
                let answer = admin.connect().await?.settings(v1::SettingsRequest {}).await.map_err(failed)?;
                admin.print(&Shown::from(answer), settings_text)
            }
            Verb::Set(set) => {
                let ask = set.request();
                let answer = set.admin.connect().await?.update_settings(ask).await.map_err(failed)?;
                set.admin.print(&Shown::from(answer), settings_text)
            }
        }
    }
}

impl Set {
    fn request(&self) -> v1::UpdateSettingsRequest {
        v1::UpdateSettingsRequest {
            expected_version: self.expect_version,
            max_entries_per_shard: self.shard_max_entries,
            max_bytes_per_shard: self.shard_max_bytes,
            default_ttl_ms: self.default_ttl_ms,
            eviction: self.eviction.map(|eviction| eviction.name().to_owned()),
            max_clock_skew_ms: self.max_clock_skew_ms,
            migration_concurrency: self.migration_concurrency,
            migration_bytes_per_s: self.migration_bytes_per_s,
            repair_after_ms: self.repair_after_ms,
            replication_factor: self.replication,
        }
    }
}

impl From<v1::SettingsResponse> for Shown {
    fn from(answer: v1::SettingsResponse) -> Self {
        let v1::SettingsResponse { map_version, settings, replication_factor } = answer;
        let settings = settings.unwrap_or_default();
        let eviction = match settings.eviction {
            0 => Eviction::TinyLfu.name(),
            1 => Eviction::Lru.name(),
            _ => "unknown",
        };
        Self {
            map_version,
            replication_factor,
            max_entries_per_shard: settings.max_entries_per_shard,
            max_bytes_per_shard: settings.max_bytes_per_shard,
            default_ttl_ms: settings.default_ttl_ms,
            eviction,
            max_clock_skew_ms: settings.max_clock_skew_ms,
            migration_concurrency: settings.migration_concurrency,
            migration_bytes_per_s: settings.migration_bytes_per_s,
            migrations_paused: settings.migrations_paused,
            repair_after_ms: settings.repair_after_ms,
        }
    }
}

fn settings_text(shown: &Shown) -> String {
    let or =
        |value: u64, none: &str, show: &dyn Fn(u64) -> String| if value == 0 { none.to_owned() } else { show(value) };
    let lines = [
        ("replication", shown.replication_factor.to_string()),
        ("shard-max-entries", or(shown.max_entries_per_shard, "no limit", &|count| count.to_string())),
        ("shard-max-bytes", or(shown.max_bytes_per_shard, "no limit", &bytes)),
        ("default-ttl", or(shown.default_ttl_ms, "for ever", &duration)),
        ("eviction", shown.eviction.to_owned()),
        ("max-clock-skew", duration(shown.max_clock_skew_ms)),
        ("migration-concurrency", shown.migration_concurrency.to_string()),
        ("migration-bytes", or(shown.migration_bytes_per_s, "no limit", &|rate| format!("{}/s", bytes(rate)))),
        ("migrations", if shown.migrations_paused { "paused" } else { "allowed" }.to_owned()),
        ("repair-after", or(shown.repair_after_ms, "never", &duration)),
        ("map version", shown.map_version.to_string()),
    ];
    lines.iter().map(|(name, value)| format!("{name:<22} {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_printed() {
        let settings = v1::SharedSettings {
            max_bytes_per_shard: 1 << 30,
            default_ttl_ms: 60_000,
            eviction: 1,
            max_clock_skew_ms: 500,
            migration_concurrency: 4,
            migration_bytes_per_s: 50 << 20,
            migrations_paused: true,
            ..v1::SharedSettings::default()
        };
        let answer = v1::SettingsResponse { map_version: 17, settings: Some(settings), replication_factor: 3 };
        let want = "\
replication            3
shard-max-entries      no limit
shard-max-bytes        1.0 GiB
default-ttl            60.0 s
eviction               lru
max-clock-skew         500 ms
migration-concurrency  4
migration-bytes        50.0 MiB/s
migrations             paused
repair-after           never
map version            17
";
        let shown = Shown::from(answer);
        assert_eq!(settings_text(&shown), want);
        assert_eq!(serde_json::to_value(&shown).unwrap()["eviction"], "lru");
    }
}
