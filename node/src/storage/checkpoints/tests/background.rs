//! The thread that writes: order, reports, room, and what becomes of the rest.

use std::{
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use super::{faulty::Fault, *};

/// Longer than any of these takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn started(
    files: &Arc<FaultyFiles>,
    config: CheckpointConfig,
) -> (BackgroundWriter, CheckpointManager, Receiver<Report>) {
    let files: Arc<dyn Files> = files.clone();
    let manager = CheckpointManager::open_with(config, files).expect("the directory opens");
    let (tell, reports) = channel();
    let writer = BackgroundWriter::start(manager.clone(), move |report| {
        // Nobody listens at the end of a test.
        let _ = tell.send(report);
    });
    (writer.expect("a thread"), manager, reports)
}

fn config() -> CheckpointConfig {
    CheckpointConfig::new("data/checkpoints").with_rate_limit(None)
}

#[test]
fn two_captures_at_once_are_published_each_by_itself() {
    let files = Arc::<FaultyFiles>::default();
    let (writer, manager, reports) = started(&files, config());
    let sinks = [6, 5].map(|index| (index, writer.begin(id(index))));
    for nth in 0..pieces(5).len() {
        sinks.iter().for_each(|(index, sink)| sink.write(pieces(*index)[nth].clone()));
    }
    sinks.into_iter().for_each(|(_, sink)| sink.publish());
    let reported = [(); 2].map(|()| {
        let report = reports.recv_timeout(PATIENCE).expect("a report");
        (report.id.index.0, report.result.expect("published").log_until)
    });
    assert_eq!(reported, [(6, None), (5, Some(LogIndex(5)))]);
    assert_eq!(newest(&manager), Some(6));
}

#[test]
fn what_is_abandoned_or_forgotten_leaves_nothing() {
    let files = Arc::<FaultyFiles>::default();
    let (writer, manager, reports) = started(&files, config());
    let sinks = [5, 6].map(|index| {
        let sink = writer.begin(id(index));
        pieces(index).into_iter().for_each(|piece| sink.write(piece));
        sink
    });
    let [published, abandoned] = sinks;
    published.publish();
    drop(abandoned);
    writer.forget(OWNER.group, OWNER.replica);
    // First in, first out: when this one is reported, the rest is done.
    let other = Owner { replica: ReplicaId(18), ..OWNER };
    let last = writer.begin(CheckpointId { replica: other.replica, ..id(1) });
    pieces_of(&other, 1, 3, Compression::Lz4).into_iter().for_each(|piece| last.write(piece));
    last.publish();
    let reported = [(); 2].map(|()| reports.recv_timeout(PATIENCE).expect("a report").id.index.0);
    assert_eq!(reported, [5, 1]);
    assert_eq!(files.names(), ["g3-r18-i1.mcrs"]);
    assert_eq!(newest(&manager), None);
}

#[test]
fn a_writer_that_stops_removes_what_is_unfinished() {
    let files = Arc::<FaultyFiles>::default();
    let (writer, _, reports) = started(&files, config());
    let unfinished = writer.begin(id(7));
    unfinished.write(pieces(7)[0].clone());
    drop(writer);
    assert!(files.names().is_empty(), "{:?}", files.names());
    // Nobody waits for a writer that is gone.
    unfinished.write(pieces(7)[1].clone());
    unfinished.publish();
    assert!(reports.recv().is_err());
}

#[test]
fn a_failure_is_reported_once_and_the_room_comes_back() {
    let files = Arc::<FaultyFiles>::default();
    let (writer, manager, reports) = started(&files, config());
    // Its creation, its first and its second piece.
    for later in 0..3 {
        files.plan(files.steps() + later, Fault::Fails);
        let sink = writer.begin(id(5));
        pieces(5).into_iter().for_each(|piece| sink.write(piece));
        sink.publish();
        let report = reports.recv_timeout(PATIENCE).expect("a report");
        assert!(!report.result.expect_err("a fault is set").is_fatal());
    }
    let sink = writer.begin(id(6));
    pieces(6).into_iter().for_each(|piece| sink.write(piece));
    sink.publish();
    assert_eq!(reports.recv_timeout(PATIENCE).expect("a report").id, id(6), "no other came between");
    assert_eq!(indexes(&manager), [6]);
    assert!(writer.begin(id(7)).has_room());
}

#[test]
fn a_slow_disk_pauses_captures_and_a_stop_does_not_wait_for_it() {
    let files = Arc::<FaultyFiles>::default();
    let slow = CheckpointConfig { queue_bytes: 1_000, ..config().with_rate_limit(Some(1)) };
    let (writer, _, reports) = started(&files, slow);
    let sink = writer.begin(id(5));
    assert!(sink.has_room());
    sink.write(pieces(5)[0].clone());
    // Hours at this rate.
    (0..10).for_each(|_| sink.write(Bytes::from_static(&[0; 1_000])));
    assert!(!sink.has_room() && !writer.begin(id(6)).has_room(), "the bound is for all together");
    let begin = Instant::now();
    drop(writer);
    assert!(begin.elapsed() < PATIENCE, "it did not wait for its turn");
    assert!(reports.recv().is_err() && files.names().is_empty(), "what was unfinished is removed");
}

#[test]
fn the_rate_holds() {
    let files = Arc::<FaultyFiles>::default();
    let bytes: usize = pieces(5).iter().map(Bytes::len).sum();
    let last = pieces(5).last().map_or(0, Bytes::len);
    // All but the last piece must have had their time: a fifth of a second each for a full rate of five.
    let (writer, _, reports) = started(&files, config().with_rate_limit(Some(bytes as u64 * 5)));
    let begin = Instant::now();
    let sink = writer.begin(id(5));
    pieces(5).into_iter().for_each(|piece| sink.write(piece));
    sink.publish();
    reports.recv_timeout(PATIENCE).expect("a report").result.expect("published");
    let least = Duration::from_secs_f64(0.2 * (bytes - last) as f64 / bytes as f64);
    assert!(begin.elapsed() >= least, "{:?} for {least:?}", begin.elapsed());
}
