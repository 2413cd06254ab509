//! Who gets a vote has a state: it has caught up as a learner (PROTOCOL 13).

use super::{Verdict, hashes::Hashes};
use crate::{checkpoint::ConfState, consensus::FIRST_INDEX, testing::host::Host, types::GroupId};

/// Checks a configuration when it comes into force.
///
/// Who has lost its state since stands in configurations that come late.
pub(super) fn check(group: GroupId, conf: &ConfState, hosts: &[Host], hashes: &Hashes) -> Verdict {
    for host in hosts {
        let Some(status) = host.node.as_ref().and_then(|node| node.group_status(group)) else { continue };
        if hashes.is_lost(host.place, group, status.replica) {
            continue;
        }
        if conf.voters.contains(&status.replica) && status.applied < FIRST_INDEX {
            let reason = format!("{group} at place {}: replica {} votes and has nothing", host.place, status.replica);
            return Err(("voters have a state", reason));
        }
    }
    Ok(())
}
