use super::*;

fn drain(net: &mut Net<u32>, until: Micros) -> Vec<(Micros, Notice<u32>)> {
    let mut notices = Vec::new();
    while let Some(at) = net.next_at().filter(|at| *at <= until) {
        notices.extend(net.pop().map(|notice| (at, notice)));
    }
    notices
}

fn arrivals(net: &mut Net<u32>, until: Micros) -> Vec<u32> {
    let message = |(_, notice)| match notice {
        Notice::Arrived { message, .. } => Some(message),
        Notice::Up { .. } | Notice::Down { .. } => None,
    };
    drain(net, until).into_iter().filter_map(message).collect()
}

fn connected() -> Net<u32> {
    let mut net = Net::new(2, Draw::new(7));
    assert_eq!(drain(&mut net, SECOND).len(), 2, "both ends are told");
    net
}

#[test]
fn a_stream_keeps_order() {
    let mut net = connected();
    (0..100).for_each(|i| net.send(SECOND + u64::from(i), 0, 1, i));
    assert_eq!(arrivals(&mut net, 2 * SECOND), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_cut_loses_what_is_under_way_and_connects_again() {
    let mut net = connected();
    net.send(SECOND, 0, 1, 1);
    net.cut(SECOND, 0, 1);
    let notices = drain(&mut net, 3 * SECOND);
    let count = |f: fn(&Notice<u32>) -> bool| notices.iter().filter(|(_, notice)| f(notice)).count();
    assert_eq!(count(|notice| matches!(notice, Notice::Arrived { .. })), 0);
    assert_eq!(count(|notice| matches!(notice, Notice::Down { .. })), 2);
    assert_eq!(count(|notice| matches!(notice, Notice::Up { .. })), 2);
}

#[test]
fn a_short_block_only_delays() {
    let mut net = connected();
    net.set_blocked(SECOND, 0, 1, true);
    (0..5).for_each(|i| net.send(SECOND + 1, 0, 1, i));
    net.send(SECOND + 1, 1, 0, 99);
    assert_eq!(arrivals(&mut net, SECOND + 400 * MS), [99], "the other direction works");
    net.set_blocked(SECOND + 400 * MS, 0, 1, false);
    assert_eq!(arrivals(&mut net, 2 * SECOND), [0, 1, 2, 3, 4]);
}

#[test]
fn a_long_block_breaks_the_session() {
    let mut net = connected();
    net.set_blocked(SECOND, 0, 1, true);
    drain(&mut net, 10 * SECOND);
    assert!(!net.is_connected(0, 1));
    net.heal(10 * SECOND);
    drain(&mut net, 11 * SECOND);
    assert!(net.is_connected(0, 1));
}

#[test]
fn loose_messages_are_lost_doubled_and_late() {
    let mut net = connected();
    net.looseness = Looseness { lost: 200, doubled: 200, late: 200 };
    (0..300).for_each(|i| net.send_loose(SECOND + u64::from(i), 0, 1, i));
    let got = arrivals(&mut net, 10 * SECOND);
    let distinct: std::collections::BTreeSet<_> = got.iter().collect();
    assert!(distinct.len() < 300, "some are lost");
    assert!(got.len() > distinct.len(), "some come twice");
    assert!(!got.is_sorted(), "some are late");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut net = Net::new(3, Draw::new(42));
        let mut log = format!("{:?}", drain(&mut net, SECOND));
        net.looseness = Looseness { lost: 100, doubled: 100, late: 300 };
        (0..50).for_each(|i| net.send_loose(SECOND, 0, 2, i));
        log.push_str(&format!("{:?}", drain(&mut net, 9 * SECOND)));
        log
    };
    assert_eq!(run(), run());
}

#[test]
fn a_session_needs_both_to_take_each_other_for_peers() {
    let mut net = connected();
    net.set_accepted(SECOND, 1, 0, false);
    assert!(!net.is_connected(0, 1), "refused, it ends");
    net.set_accepted(SECOND, 0, 1, false);
    drain(&mut net, 2 * SECOND);
    net.set_accepted(2 * SECOND, 1, 0, true);
    drain(&mut net, 3 * SECOND);
    assert!(!net.is_connected(0, 1), "one of them still refuses");
    net.set_accepted(3 * SECOND, 0, 1, true);
    drain(&mut net, 4 * SECOND);
    assert!(net.is_connected(0, 1));
}
