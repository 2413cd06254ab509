//! The rules of a spec, and what it means once they hold.
//!
//! The API server has judged most of them already, by the definition's schema and its CEL; servers that are older, or
//! objects that are, leave it to this. A pure function: what exists arrives as [`Accepted`].

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

mod change;
mod data;
mod operation;
mod pods;
mod syntax;

use crate::{
    Raw,
    spec::{CremaClusterSpec, ReadLevel, RespMode, StorageKind},
    validated::{Image, Validated},
};

/// What an edit is judged against: what there is, and only where nothing is, what was last accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accepted {
    /// The last spec that was found valid; `None` when nobody has kept one.
    pub spec: Option<CremaClusterSpec>,
    /// Raft groups, by the cluster map.
    pub shards: Option<u32>,
    /// Where the data is, by the StatefulSet.
    pub storage: Option<StorageKind>,
    /// The storage class, by the StatefulSet's claim template; `Some(None)` is the default class.
    pub storage_class: Option<Option<String>>,
    /// The size of a volume, by the largest claim.
    pub volume_bytes: Option<u64>,
}

impl Accepted {
    /// Knows of nothing but a spec.
    #[must_use]
    pub fn of(spec: CremaClusterSpec) -> Self {
        Self { spec: Some(spec), ..Self::default() }
    }
}

/// One thing that is wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, as `spec.storage.size`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Looks at a spec, beside what there is already.
///
/// # Errors
/// Everything that is wrong with it.
pub fn validate(spec: &CremaClusterSpec, accepted: Option<&Accepted>) -> Result<Validated, Vec<Problem>> {
    let mut findings = Findings::default();
    let found = &mut findings;
    let resources = data::resources(&spec.resources, found);
    let cache = data::cache(&spec.cache, &resources, found);
    let storage = data::storage(&spec.storage, found);
    let mut validated = Validated {
        written: spec.clone(),
        warnings: Vec::new(),
        replicas: found.whole("spec.replicas", spec.replicas, 1, 1_000),
        shards: found.whole("spec.shards", spec.shards, 1, 16_384),
        replication_factor: replication_factor(spec, found),
        image: image(spec, found),
        quorum_loss: spec.quorum_loss.unwrap_or(storage.quorum_loss()),
        storage,
        cache,
        resources,
        read_level: spec.read_level.unwrap_or(ReadLevel::Linearizable),
        resp_mode: spec.resp_mode.unwrap_or(RespMode::Proxy),
        raft: operation::raft(&spec.raft, found),
        migration: operation::migration(&spec.migration, found),
        update: operation::update(&spec.update, found),
        repair: operation::repair(&spec.repair, spec.storage.kind, found),
        scheduling: pods::scheduling(spec, found),
        pod: pods::pod(&spec.pod, found),
        service: pods::service(&spec.service, found),
        pod_disruption_budget: spec.pod_disruption_budget.unwrap_or(true),
        log_level: operation::log_level(spec.log_level.as_deref(), found),
        monitoring: operation::monitoring(&spec.monitoring, found),
        paused: spec.paused,
    };
    if let Some(accepted) = accepted {
        change::judge(&validated, accepted, found);
    }
    let Findings { problems, warnings } = findings;
    validated.warnings = warnings;
    if problems.is_empty() { Ok(validated) } else { Err(problems) }
}

/// Whether an object may have this name: pods and services are named after it.
///
/// # Errors
/// What would be right.
pub fn name(name: &str) -> Result<(), Problem> {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if begins && name.len() <= 40 && syntax::is_dns_label(name) {
        return Ok(());
    }
    Err(Problem {
        field: "metadata.name".to_owned(),
        message:
            "pods and services are named after it, so it has up to 40 letters, digits and hyphens, and begins with a \
                  letter"
                .to_owned(),
    })
}

fn replication_factor(spec: &CremaClusterSpec, found: &mut Findings) -> u32 {
    const FIELD: &str = "spec.replicationFactor";
    let factor = match u32::try_from(spec.replication_factor) {
        Ok(factor @ (1 | 3 | 5)) => factor,
        Ok(_) | Err(_) => {
            found.refuse(FIELD, "must be 1, 3 or 5; an even number bears no more losses");
            return 1;
        }
    };
    if spec.replication_factor > spec.replicas {
        let replicas = spec.replicas;
        found.refuse(
            FIELD,
            format!("is {factor}, with spec.replicas {replicas}; two replicas of a shard are never on one node"),
        );
    }
    factor
}

fn image(spec: &CremaClusterSpec, found: &mut Findings) -> Image {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    if spec.image.is_empty() || !spec.image.chars().all(legal) {
        found.refuse("spec.image", format!("{:?} is no name of an image", spec.image));
    }
    let pull_secrets: Vec<_> = spec.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect();
    for (index, name) in pull_secrets.iter().enumerate() {
        if !syntax::is_dns_name(name) {
            found.refuse(&format!("spec.imagePullSecrets[{index}].name"), format!("{name:?} is no name of a secret"));
        }
    }
    Image { name: spec.image.clone(), pull_policy: spec.image_pull_policy, pull_secrets }
}

/// What was found while looking.
#[derive(Debug, Default)]
struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Findings {
    fn refuse(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(Problem { field: field.to_owned(), message: message.into() });
    }

    fn warn(&mut self, field: &str, message: &str) {
        self.warnings.push(format!("{field}: {message}"));
    }

    /// What was read, or this instead: with a problem nobody will see it.
    fn take<T>(&mut self, field: &str, read: Result<T, String>, instead: T) -> T {
        read.unwrap_or_else(|message| {
            self.refuse(field, message);
            instead
        })
    }

    /// A whole number within bounds.
    fn whole(&mut self, field: &str, number: i32, least: u32, most: u32) -> u32 {
        let read = u32::try_from(number)
            .ok()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("is {number}; it goes from {least} to {most}"));
        self.take(field, read, least)
    }

    /// Pieces that are handed on, each of a shape that Kubernetes knows.
    fn shaped<T: DeserializeOwned>(&mut self, field: &str, pieces: &[Raw]) -> Vec<Map<String, Value>> {
        let each = pieces.iter().enumerate();
        each.map(|(index, piece)| self.shape::<T>(&format!("{field}[{index}]"), piece)).collect()
    }

    /// A piece that is handed on, of a shape that Kubernetes knows.
    fn shape<T: DeserializeOwned>(&mut self, field: &str, piece: &Raw) -> Map<String, Value> {
        if let Err(error) = serde_json::from_value::<T>(piece.value()) {
            self.refuse(field, format!("is not what Kubernetes expects: {error}"));
        }
        piece.0.clone()
    }
}

#[cfg(test)]
mod tests;
