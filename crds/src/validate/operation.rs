//! The rules of how a cluster is run.

use std::time::Duration;

use super::{Findings, syntax};
use crate::{
    Span, names,
    spec::{MigrationSpec, MonitoringSpec, RaftSpec, RepairSpec, StorageKind, UpdateKind, UpdateSpec},
    validated::{Migration, Monitoring, Raft, Repair, Update},
};

const DEFAULT_TICK: Duration = Duration::from_millis(50);
const DEFAULT_ELECTION_TICKS: u32 = 10;
const DEFAULT_HEARTBEAT_TICKS: u32 = 2;
const DEFAULT_MOVES: u32 = 4;
const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);
const DEFAULT_REPAIR: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn raft(spec: &RaftSpec, found: &mut Findings) -> Raft {
    let RaftSpec { tick, election_ticks, heartbeat_ticks } = spec;
    let bounds = Duration::from_millis(10)..=Duration::from_secs(10);
    let raft = Raft {
        tick: span("spec.raft.tick", tick.as_ref(), &bounds, DEFAULT_TICK, found),
        election_ticks: election_ticks
            .map_or(DEFAULT_ELECTION_TICKS, |ticks| found.whole("spec.raft.electionTicks", ticks, 2, 1_000)),
        heartbeat_ticks: heartbeat_ticks
            .map_or(DEFAULT_HEARTBEAT_TICKS, |ticks| found.whole("spec.raft.heartbeatTicks", ticks, 1, 500)),
    };
    let Raft { tick: _, election_ticks, heartbeat_ticks } = raft;
    if heartbeat_ticks * 2 > election_ticks {
        found.refuse(
            "spec.raft.electionTicks",
            format!("is {election_ticks}; it must be at least twice spec.raft.heartbeatTicks ({heartbeat_ticks})"),
        );
    }
    raft
}

pub(super) fn migration(spec: &MigrationSpec, found: &mut Findings) -> Migration {
    let MigrationSpec { bandwidth, concurrency, paused } = spec;
    let bytes_per_s = bandwidth.as_ref().map(|bandwidth| {
        let read = bandwidth.bytes().and_then(|bytes| match bytes {
            0 => Err("must be more than 0; to stop moves set spec.migration.paused".to_owned()),
            bytes => Ok(bytes),
        });
        found.take("spec.migration.bandwidth", read, 1)
    });
    let concurrency =
        concurrency.map_or(DEFAULT_MOVES, |moves| found.whole("spec.migration.concurrency", moves, 1, 64));
    Migration { bytes_per_s, concurrency, paused: *paused }
}

pub(super) fn update(spec: &UpdateSpec, found: &mut Findings) -> Update {
    let UpdateSpec { kind, progress_deadline, paused } = spec;
    let bounds = Duration::from_secs(10)..=DAY;
    let field = "spec.update.progressDeadline";
    Update {
        kind: kind.unwrap_or(UpdateKind::Rolling),
        progress_deadline: span(field, progress_deadline.as_ref(), &bounds, DEFAULT_DEADLINE, found),
        paused: *paused,
    }
}

pub(super) fn repair(spec: &RepairSpec, storage: StorageKind, found: &mut Findings) -> Repair {
    let RepairSpec { after, replace_volumes } = spec;
    if *replace_volumes && storage == StorageKind::Memory {
        found.refuse("spec.repair.replaceVolumes", "there are volumes only with spec.storage.type rocksdb");
    }
    let never = after.as_ref().is_some_and(|after| after.duration() == Ok(Duration::ZERO));
    let bounds = Duration::from_secs(10)..=DAY;
    let after = (!never).then(|| span("spec.repair.after", after.as_ref(), &bounds, DEFAULT_REPAIR, found));
    Repair { after, replace_volumes: *replace_volumes }
}

pub(super) fn monitoring(spec: &MonitoringSpec, found: &mut Findings) -> Option<Monitoring> {
    let MonitoringSpec { enabled, interval, labels } = spec;
    let bounds = Duration::from_secs(1)..=DAY;
    let interval = interval
        .as_ref()
        .map(|interval| span("spec.monitoring.interval", Some(interval), &bounds, DEFAULT_TICK, found));
    for (key, value) in labels {
        if !syntax::is_key(key) || !syntax::is_label_value(value) {
            found.refuse("spec.monitoring.labels", format!("{key:?}: {value:?} is no label"));
        }
        if names::is_label_of_ours(key) {
            found.refuse("spec.monitoring.labels", format!("{key:?} is the operator's own label"));
        }
    }
    enabled.then(|| Monitoring { interval, labels: labels.clone() })
}

pub(super) fn log_level(text: Option<&str>, found: &mut Findings) -> String {
    let text = text.unwrap_or("info");
    let is_level = |level: &str| {
        ["off", "error", "warn", "info", "debug", "trace"].contains(&level.to_ascii_lowercase().as_str())
    };
    let is_target = |target: &str| {
        !target.is_empty() && target.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    let sound = text.split(',').all(|part| match part.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(part),
    });
    if !sound {
        let levels = "off, error, warn, info, debug or trace";
        found.refuse("spec.logLevel", format!("{text:?} is none; write level or target=level,… with {levels}"));
    }
    text.to_owned()
}

/// A time within bounds, or the default.
fn span(
    field: &str,
    span: Option<&Span>,
    bounds: &std::ops::RangeInclusive<Duration>,
    default: Duration,
    found: &mut Findings,
) -> Duration {
    let Some(span) = span else { return default };
    let read = span.duration().and_then(|read| {
        if bounds.contains(&read) {
            return Ok(read);
        }
        Err(format!("is {}; it goes from {:?} to {:?}", span.0, bounds.start(), bounds.end()))
    });
    found.take(field, read, default)
}
