//! Judges histories of registers and counters: is there an order in which they could have happened?
//!
//! Since every write of a key has a value of its own, this needs no search. All calls of one value stand together
//! in any order that explains them; such a cluster has a zone, from its first end to its last begin. Gibbons and
//! Korach ("Testing shared memories", 1997, theorem 4.2): an order exists if and only if no value is read before
//! its write begins, no two forward zones overlap, and no backward zone lies inside a forward one. It is another
//! algorithm than the simulator's checker, on purpose.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Call, Event, Moment};

/// What is known of the calls of one value.
struct Cluster {
    /// Which value; `None` is the absence before all writes.
    value: Option<u64>,
    write_begin: Moment,
    first_end: Moment,
    last_begin: Moment,
}

impl Cluster {
    /// The calls of a value that may overlap none of another's.
    fn is_forward(&self) -> bool {
        self.first_end < self.last_begin
    }
}

/// Checks the calls of one register, which starts absent and is never deleted.
///
/// # Errors
/// What no order explains.
pub fn check_register(calls: &[&Call]) -> Result<(), String> {
    let clusters = clusters(calls)?;
    let (mut forward, backward): (Vec<&Cluster>, Vec<&Cluster>) = clusters.values().partition(|one| one.is_forward());
    forward.sort_by_key(|one| one.first_end);
    for pair in forward.windows(2) {
        if pair[1].first_end < pair[0].last_begin {
            return Err(describe("were both the current value for some time", pair[0], pair[1]));
        }
    }
    for inner in backward {
        // The zones are apart, so only the last that starts before this one can hold it.
        let before = forward.partition_point(|outer| outer.first_end < inner.last_begin);
        if let Some(outer) = before.checked_sub(1).map(|at| forward[at])
            && inner.first_end < outer.last_begin
        {
            return Err(describe("stayed the current value past an acknowledged write of", outer, inner));
        }
    }
    Ok(())
}

fn clusters(calls: &[&Call]) -> Result<BTreeMap<Option<u64>, Cluster>, String> {
    let absent = Cluster { value: None, write_begin: 0, first_end: 0, last_begin: 0 };
    let mut clusters = BTreeMap::from([(None, absent)]);
    for call in calls {
        if let Event::Write { value, acknowledged } = call.event {
            // Without an answer the write may happen at any later time: it has no end.
            let first_end = if acknowledged { call.end } else { Moment::MAX };
            let one = Cluster { value: Some(value), write_begin: call.begin, first_end, last_begin: call.begin };
            if clusters.insert(Some(value), one).is_some() {
                return Err(format!("the value {value} was written twice: the test is wrong"));
            }
        }
    }
    for call in calls {
        if let Event::Read { value } = call.event {
            let one = clusters.get_mut(&value).ok_or_else(|| format!("read {value:?}, which nobody wrote"))?;
            if call.end < one.write_begin {
                return Err(format!("read {value:?} before its write began"));
            }
            one.first_end = one.first_end.min(call.end);
            one.last_begin = one.last_begin.max(call.begin);
        }
    }
    Ok(clusters)
}

fn describe(what: &str, one: &Cluster, other: &Cluster) -> String {
    let show = |cluster: &Cluster| {
        let value =
            cluster.value.map_or_else(|| "the absence before all writes".to_owned(), |value| value.to_string());
        format!("{value} (first end {}, last begin {})", cluster.first_end, cluster.last_begin)
    };
    format!("{} {what} {}", show(one), show(other))
}

/// Checks the calls of one counter, which starts absent: answered increments have different sums that rise in
/// real time, and reads see no fewer than were acknowledged before and no more than were begun.
///
/// # Errors
/// What no order explains.
pub fn check_counter(calls: &[&Call]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    // (moment, sum) of everything that saw a sum.
    let mut sums: Vec<(Moment, Moment, u64)> = Vec::new();
    let mut begins: Vec<Moment> = Vec::new();
    for call in calls {
        match call.event {
            Event::Increment { sum } => {
                begins.push(call.begin);
                let Some(sum) = sum else { continue };
                if !seen.insert(sum) {
                    return Err(format!("two increments were told the sum {sum}: one of them is lost"));
                }
                sums.push((call.begin, call.end, sum));
            }
            Event::Read { value } => sums.push((call.begin, call.end, value.unwrap_or(0))),
            Event::Write { value, .. } => return Err(format!("{value} was written to a counter: the test is wrong")),
        }
    }
    begins.sort_unstable();
    check_rising(&mut sums)?;
    for (_, end, sum) in sums {
        let begun = begins.partition_point(|begin| *begin < end) as u64;
        if sum > begun {
            return Err(format!("saw the sum {sum} when only {begun} increments had begun"));
        }
    }
    Ok(())
}

/// Whatever began after another had ended must have seen at least as much.
fn check_rising(sums: &mut [(Moment, Moment, u64)]) -> Result<(), String> {
    let mut by_end = sums.to_vec();
    by_end.sort_unstable_by_key(|(_, end, _)| *end);
    sums.sort_unstable_by_key(|(begin, _, _)| *begin);
    let mut ended = by_end.into_iter().peekable();
    let mut highest = 0;
    for (begin, _, sum) in sums {
        while let Some((_, _, before)) = ended.next_if(|(_, end, _)| end < begin) {
            highest = highest.max(before);
        }
        if *sum < highest {
            return Err(format!("saw the sum {sum} after {highest} had been seen"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "register/tests.rs"]
mod tests;
