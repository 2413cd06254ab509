//! From the workers' counters to the metrics, once a second: the hot path only adds to plain integers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::view::NodeView;
use crate::{
    metrics::{NodeMetrics, ShardMetrics},
    multiraft::{
        node::Counters,
        runtime::{DiskBoard, DiskCounts, RuntimeHandle},
    },
    types::GroupId,
};

/// How often; finer than any scrape.
const INTERVAL: Duration = Duration::from_secs(1);

/// Raises the metrics by what the counters have grown, until `stop`.
pub(super) async fn run(runtime: RuntimeHandle, view: NodeView, metrics: NodeMetrics, stop: CancellationToken) {
    let mut shards: BTreeMap<GroupId, (ShardMetrics, Counters)> = BTreeMap::new();
    let mut interval = tokio::time::interval(INTERVAL);
    let (mut sent, mut received) = (0, 0);
    let mut written_to_disk = DiskCounts::default();
    let (mut looked, mut reads) = (Instant::now(), 0);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let frames = runtime.board().frames();
        metrics.peer_frames_sent.inc_by(frames.0 - sent);
        metrics.peer_frames_received.inc_by(frames.1 - received);
        (sent, received) = frames;
        if let Some(disk) = runtime.disk() {
            raise_disk(&metrics, disk, &mut written_to_disk);
        }
        let mut taken = BTreeMap::new();
        let mut written = 0;
        runtime.board().for_each(|status| {
            let Some(shard) = status.group.shard() else { return };
            let (series, last) =
                shards.entry(status.group).or_insert_with(|| (metrics.shard(shard), Counters::default()));
            if status.counters != *last {
                let writes = status.counters.commands_proposed.saturating_sub(last.commands_proposed);
                taken.insert(shard, writes + status.counters.reads.saturating_sub(last.reads));
                written += writes;
                raise(&metrics, series, &status.counters, last);
                *last = status.counters;
            }
        });
        let answered = metrics.cache_hits.get() + metrics.cache_misses.get();
        view.rates().measured(taken.into_iter(), written + answered - reads, looked.elapsed());
        (looked, reads) = (Instant::now(), answered);
    }
}

/// A replica that came back counts from 0.
fn grown(now: u64, last: u64) -> u64 {
    now.checked_sub(last).unwrap_or(now)
}

fn raise_disk(metrics: &NodeMetrics, disk: &DiskBoard, last: &mut DiskCounts) {
    let now = disk.counts();
    metrics.log_syncs.inc_by(now.syncs - last.syncs);
    metrics.log_turns.inc_by(now.turns - last.turns);
    metrics.log_sync_micros.inc_by((now.sync_time - last.sync_time).as_micros() as u64);
    metrics.checkpoints.inc_by(now.checkpoints - last.checkpoints);
    metrics.checkpoint_bytes.inc_by(now.checkpoint_bytes - last.checkpoint_bytes);
    metrics.storage_failed.set(u64::from(disk.failure().is_some()));
    *last = now;
}

fn raise(metrics: &NodeMetrics, shard: &ShardMetrics, now: &Counters, last: &Counters) {
    shard.proposed(grown(now.entries_proposed, last.entries_proposed));
    shard.read(grown(now.reads, last.reads));
    for _ in 0..grown(now.leader_changes, last.leader_changes) {
        shard.leader_changed();
    }
    metrics.evictions.inc_by(grown(now.evictions, last.evictions));
    metrics.expirations.inc_by(now.expirations.saturating_sub(last.expirations));
    metrics.snapshots_sent.inc_by(grown(now.snapshots_sent, last.snapshots_sent));
    metrics.snapshots_received.inc_by(grown(now.snapshots_installed, last.snapshots_installed));
}
