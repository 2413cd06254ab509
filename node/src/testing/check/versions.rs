//! What the versions that clients were told say of the order of calls.
//!
//! Versions of one key rise with its log order. So a change that was told version v comes after all those that were
//! told a lower one, and before all others; and whoever saw version v stands between those up to v and those above.
//! Each such call thus has its place among the told changes, which the search can check by counting.

use crate::{
    machine::command::{Found, Meta, Outcome},
    types::Version,
};

use super::split::KeyCall;

/// The places of one key's calls among the changes whose versions were told.
pub(super) struct Versions {
    /// How many told changes come before each call; `None`: nothing is known.
    places: Vec<Option<usize>>,
    told: Vec<bool>,
}

/// What one outcome says of a version.
enum Said {
    /// The change itself has it.
    Changed(Version),
    /// It was there.
    Saw(Version),
}

impl Versions {
    /// Reads the outcomes.
    pub(super) fn of(calls: &[KeyCall]) -> Self {
        let mut changes: Vec<Version> = calls.iter().filter_map(first_change).collect();
        changes.sort_unstable();
        let place = |call: &KeyCall| {
            let first = said(call).next()?;
            Some(match first {
                Said::Changed(version) => changes.partition_point(|change| *change < version),
                Said::Saw(version) => changes.partition_point(|change| *change <= version),
            })
        };
        let places = calls.iter().map(place).collect();
        Self { places, told: calls.iter().map(|call| first_change(call).is_some()).collect() }
    }

    /// Whether a call may come next when so many told changes are placed.
    pub(super) fn allows(&self, call: usize, placed: usize) -> bool {
        self.places[call].is_none_or(|place| place == placed)
    }

    /// Whether a call is a told change.
    pub(super) fn is_told(&self, call: usize) -> bool {
        self.told[call]
    }
}

fn first_change(call: &KeyCall) -> Option<Version> {
    said(call).find_map(|said| match said {
        Said::Changed(version) => Some(version),
        Said::Saw(_) => None,
    })
}

fn said(call: &KeyCall) -> impl Iterator<Item = Said> + '_ {
    call.parts.iter().filter_map(|(_, outcome)| match outcome.as_ref()? {
        Outcome::Stored { version, .. } | Outcome::Integer { version, .. } | Outcome::Decimal { version, .. } => {
            Some(Said::Changed(*version))
        }
        Outcome::NotMet { current: Some(version), .. } => Some(Said::Saw(*version)),
        Outcome::Value(Some(Found { meta: Meta { version, .. }, .. }))
        | Outcome::Meta(Some(Meta { version, .. })) => Some(Said::Saw(*version)),
        Outcome::NotMet { current: None, .. }
        | Outcome::Value(None)
        | Outcome::Meta(None)
        | Outcome::Deleted(_)
        | Outcome::Expiry(_)
        | Outcome::Present(_)
        | Outcome::Length(_)
        | Outcome::Keys { .. }
        | Outcome::Count(_)
        | Outcome::RandomKey(_)
        | Outcome::Many(_)
        | Outcome::Refused(_) => None,
    })
}
