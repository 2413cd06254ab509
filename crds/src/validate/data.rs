//! The rules of what is kept: storage, cache, and the memory for it.

use std::{collections::BTreeMap, time::Duration};

use super::Findings;
use crate::{
    Amount, is_default,
    spec::{CacheSpec, Eviction, QuorumLoss, ResourcesSpec, Retain, StorageKind, StorageSpec},
    validated::{Cache, Resources, Storage, Volume},
};

/// The part of the memory limit, in percent, above which the entries leave too little for all the rest.
const MOST_OF_LIMIT: u64 = 70;

/// The least volume that holds a write-ahead log and two checkpoints of little.
const LEAST_VOLUME_BYTES: u64 = 1 << 30;

pub(super) fn storage(spec: &StorageSpec, found: &mut Findings) -> Storage {
    let StorageSpec { kind, size, storage_class, retention } = spec;
    match kind {
        StorageKind::Memory => {
            let useless = [
                ("spec.storage.size", size.is_some()),
                ("spec.storage.storageClass", storage_class.is_some()),
                ("spec.storage.retention", !is_default(retention)),
            ];
            for (field, _) in useless.into_iter().filter(|(_, given)| *given) {
                found.refuse(field, "of use with spec.storage.type rocksdb only");
            }
            Storage::Memory
        }
        StorageKind::RocksDb => {
            let read =
                size.as_ref().ok_or("needed with spec.storage.type rocksdb".to_owned()).and_then(Amount::bytes);
            let read = read.and_then(|bytes| match bytes {
                0..LEAST_VOLUME_BYTES => Err("is too little; a node needs 1Gi at least".to_owned()),
                bytes => Ok(bytes),
            });
            Storage::RocksDb(Volume {
                size_bytes: found.take("spec.storage.size", read, LEAST_VOLUME_BYTES),
                size: size.as_ref().map(ToString::to_string).unwrap_or_default(),
                storage_class: storage_class.clone(),
                when_deleted: retention.when_deleted.unwrap_or(Retain::Retain),
                when_scaled: retention.when_scaled.unwrap_or(Retain::Delete),
            })
        }
    }
}

impl Storage {
    /// What to do about a lost quorum when the user does not say: in memory there is nothing to wait for.
    pub(super) fn quorum_loss(&self) -> QuorumLoss {
        match self {
            Self::Memory => QuorumLoss::Reset,
            Self::RocksDb(_) => QuorumLoss::Wait,
        }
    }
}

pub(super) fn resources(spec: &ResourcesSpec, found: &mut Findings) -> Resources {
    let ResourcesSpec { requests, limits } = spec;
    let mut texts = |field: &str, amounts: &BTreeMap<String, Amount>| -> BTreeMap<String, String> {
        for (name, amount) in amounts {
            if let Err(message) = amount.milli() {
                found.refuse(&format!("{field}.{name}"), message);
            }
        }
        amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string())).collect()
    };
    let read = Resources {
        requests: texts("spec.resources.requests", requests),
        limits: texts("spec.resources.limits", limits),
    };
    for (name, request) in requests {
        let Some(limit) = limits.get(name) else { continue };
        if let (Ok(asked), Ok(most)) = (request.milli(), limit.milli())
            && asked > most
        {
            let field = format!("spec.resources.requests.{name}");
            found.refuse(&field, format!("is {request}, more than the limit of {limit}"));
        }
    }
    read
}

pub(super) fn cache(spec: &CacheSpec, resources: &Resources, found: &mut Findings) -> Cache {
    let CacheSpec { max_memory, max_entries, default_ttl, eviction } = spec;
    let limit = resources.limits.get("memory").and_then(|text| Amount(text.clone()).bytes().ok());
    let asked = max_memory.as_ref().map(|amount| {
        let read = amount.bytes().and_then(|bytes| match bytes {
            0 => Err("must be more than 0; leave it out for half of the memory limit".to_owned()),
            bytes => Ok(bytes),
        });
        found.take("spec.cache.maxMemory", read, 1)
    });
    warn_of_memory(asked, limit, found);
    Cache {
        max_memory_bytes: asked.or(limit.map(|bytes| bytes / 2)),
        max_entries: max_entries.map(|entries| {
            let read = u64::try_from(entries).ok().filter(|entries| *entries > 0);
            found.take("spec.cache.maxEntries", read.ok_or(format!("is {entries}; it is 1 or more")), 1)
        }),
        default_ttl: default_ttl.as_ref().map(|ttl| {
            let read = ttl.duration().and_then(|ttl| match ttl.as_millis() {
                0 => Err("must be more than 0; leave it out for ever".to_owned()),
                _ => Ok(ttl),
            });
            found.take("spec.cache.defaultTtl", read, Duration::from_secs(1))
        }),
        eviction: eviction.unwrap_or(Eviction::TinyLfu),
    }
}

fn warn_of_memory(asked: Option<u64>, limit: Option<u64>, found: &mut Findings) {
    match (asked, limit) {
        (_, None) => found.warn("spec.resources.limits.memory", "not set: nothing bounds the memory of a node"),
        (Some(asked), Some(limit)) if asked > limit / 100 * MOST_OF_LIMIT => found.warn(
            "spec.cache.maxMemory",
            "more than 70% of the memory limit: logs, checkpoints and connections may not fit beside the entries",
        ),
        (Some(_) | None, Some(_)) => {}
    }
}
