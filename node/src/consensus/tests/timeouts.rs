//! Election timeouts come from the seed alone (PROTOCOL 16), and stay within `[n, 2n)` ticks.

use super::*;

/// The ticks of a replica that hears nobody at which it asks for pre-votes.
fn asks(seed: u64, replica: u64, ticks: usize) -> Vec<usize> {
    let mut replica = Replica::<u64>::new(config(replica, 3, 0, seed));
    let mut asks = Vec::new();
    for tick in 1..=ticks {
        replica.tick();
        while let Some(output) = replica.poll(Some(Timestamp(1))) {
            if !output.messages.is_empty() {
                asks.push(tick);
            }
        }
    }
    asks
}

#[test]
fn timeouts_stay_within_n_and_twice_n() {
    let mut drawn = BTreeSet::new();
    for seed in 0..300 {
        let asks = asks(seed, seed % 3 + 1, 100);
        assert!(asks.len() >= 5, "seed {seed}: {asks:?}");
        for (before, at) in std::iter::once(&0).chain(&asks).zip(&asks) {
            let timeout = at - before;
            assert!((ELECTION_TICKS..2 * ELECTION_TICKS).contains(&timeout), "seed {seed}: {asks:?}");
            drawn.insert(timeout);
        }
    }
    assert_eq!(drawn, (ELECTION_TICKS..2 * ELECTION_TICKS).collect(), "every timeout is drawn by some seed");
}

#[test]
fn the_same_seed_gives_the_same_timeouts() {
    for seed in 0..50 {
        assert_eq!(asks(seed, 1, 200), asks(seed, 1, 200), "seed {seed}");
    }
    let different: BTreeSet<_> = (0..50).map(|seed| asks(seed, 1, 200)).collect();
    assert!(different.len() > 5, "the seed decides");
}

#[test]
fn the_seed_decides_who_leads() {
    let election = |seed| golden::answered(&format!("new 5 seed={seed}\nrun 60\nstatus\n----\n"), driver());
    let mut leaders = BTreeSet::new();
    for seed in 0..40 {
        let trace = election(seed);
        assert_eq!(trace, election(seed), "seed {seed} replays");
        let leads: Vec<_> = trace.lines().filter(|line| line.contains(" Leader of ")).collect();
        assert_eq!(leads.len(), 1, "seed {seed}: {trace}");
        leaders.insert(leads[0].to_owned());
    }
    assert!(leaders.len() >= 5, "every replica leads for some seed: {leaders:?}");
}
