//! What can't be changed any more, judged against what there is.

use super::{Accepted, Findings};
use crate::{
    spec::StorageKind,
    validated::{Storage, Validated, Volume},
};

/// Refuses what the running cluster can't become.
pub(super) fn judge(wanted: &Validated, accepted: &Accepted, found: &mut Findings) {
    let before = accepted.spec.as_ref();
    let shards = accepted.shards.or_else(|| u32::try_from(before?.shards).ok());
    if let Some(shards) = shards.filter(|shards| *shards != wanted.shards) {
        found.refuse("spec.shards", immutable(&shards, &wanted.shards));
    }
    let kind = accepted.storage.or(before.map(|spec| spec.storage.kind));
    if let Some(kind) = kind.filter(|kind| *kind != wanted.storage_kind()) {
        found.refuse("spec.storage.type", immutable(&word(kind), &word(wanted.storage_kind())));
        return;
    }
    match &wanted.storage {
        Storage::Memory => {}
        Storage::RocksDb(volume) => judge_volume(volume, accepted, found),
    }
}

fn judge_volume(wanted: &Volume, accepted: &Accepted, found: &mut Findings) {
    let before = accepted.spec.as_ref().map(|spec| &spec.storage);
    let class = accepted.storage_class.clone().or(before.map(|storage| storage.storage_class.clone()));
    if let Some(class) = class.filter(|class| *class != wanted.storage_class) {
        let named = |class: &Option<String>| class.clone().unwrap_or_else(|| "the default class".to_owned());
        found.refuse("spec.storage.storageClass", immutable(&named(&class), &named(&wanted.storage_class)));
    }
    let bytes = accepted.volume_bytes.or_else(|| before?.size.as_ref()?.bytes().ok());
    if let Some(bytes) = bytes.filter(|bytes| *bytes > wanted.size_bytes) {
        let Volume { size, size_bytes, .. } = wanted;
        found.refuse(
            "spec.storage.size",
            format!("is {size} ({size_bytes} bytes); the volumes have {bytes} bytes, and they never shrink"),
        );
    }
}

fn word(kind: StorageKind) -> &'static str {
    match kind {
        StorageKind::Memory => "memory",
        StorageKind::RocksDb => "rocksdb",
    }
}

fn immutable(there: &impl std::fmt::Display, wanted: &impl std::fmt::Display) -> String {
    format!("is {wanted}, and the cluster has {there}; it is immutable: make a new cluster and copy the data")
}
