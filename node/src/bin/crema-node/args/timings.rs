//! The flags of `start` that set the clock of consensus.

use std::time::Duration;

use clap::{Args, value_parser};
use crema::multiraft::node::Timings;

use super::parse::duration;

/// The shortest and the longest tick: below, timers say nothing; above, nobody would wait for an election.
const TICKS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);

/// The clock of consensus; the same on every member.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Raft")]
pub(crate) struct RaftFlags {
    /// The time between two ticks, from 10ms to 10s.
    #[arg(long, default_value = "50ms", value_parser = tick, env = "CREMA_TICK")]
    pub(crate) tick: Duration,
    /// A node that hears of no leader for so many ticks, or up to twice as many, stands for election.
    #[arg(long, default_value_t = defaults().election_ticks as u32, value_parser = value_parser!(u32).range(2..=1_000), env = "CREMA_ELECTION_TICKS")]
    pub(crate) election_ticks: u32,
    /// Ticks between two heartbeats of a leader; half of --election-ticks at most.
    #[arg(long, default_value_t = defaults().heartbeat_ticks as u32, value_parser = value_parser!(u32).range(1..=500), env = "CREMA_HEARTBEAT_TICKS")]
    pub(crate) heartbeat_ticks: u32,
}

impl RaftFlags {
    /// What they say.
    pub(crate) fn timings(&self) -> Timings {
        let Self { tick, election_ticks, heartbeat_ticks } = self;
        Timings {
            tick_ms: u64::try_from(tick.as_millis()).unwrap_or(u64::MAX),
            election_ticks: *election_ticks as usize,
            heartbeat_ticks: *heartbeat_ticks as usize,
            ..Timings::default()
        }
    }
}

fn defaults() -> Timings {
    Timings::default()
}

/// A time between two ticks.
fn tick(text: &str) -> Result<Duration, String> {
    let tick = duration(text)?;
    if TICKS.contains(&tick) { Ok(tick) } else { Err("a tick takes 10ms to 10s".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        flags: RaftFlags,
    }

    fn parse(line: &str) -> Option<Timings> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        <Only as clap::Parser>::try_parse_from(words).ok().map(|only| only.flags.timings())
    }

    #[test]
    fn the_defaults_are_the_librarys_and_every_flag_is_carried_on() {
        assert_eq!(parse(""), Some(Timings::default()));
        let slow = Timings { tick_ms: 1_000, election_ticks: 20, heartbeat_ticks: 3, ..Timings::default() };
        assert_eq!(parse("--tick 1s --election-ticks 20 --heartbeat-ticks 3"), Some(slow));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["--tick 9ms", "--tick 11s", "--tick 50", "--election-ticks 1", "--heartbeat-ticks 0"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
