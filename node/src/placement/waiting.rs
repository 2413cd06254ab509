//! Why a plan does no more: reasons in plain words, gathered so that a thousand shards with one reason take one line.

use crate::types::GroupId;

/// A person reads so many lines; the rest is counted.
const MAX_LINES: usize = 20;
/// Groups that a line names; the rest is counted.
const MAX_NAMED: usize = 4;

/// The reasons in the order in which they came up.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    reasons: Vec<(String, Vec<GroupId>)>,
}

impl Waiting {
    /// A reason that concerns no single group.
    pub(super) fn note(&mut self, reason: String) {
        self.groups_of(reason);
    }

    /// A reason why a group waits, to be read behind its name.
    pub(super) fn say(&mut self, group: GroupId, reason: impl Into<String>) {
        let groups = self.groups_of(reason.into());
        if !groups.contains(&group) {
            groups.push(group);
        }
    }

    fn groups_of(&mut self, reason: String) -> &mut Vec<GroupId> {
        let at = self.reasons.iter().position(|(known, _)| *known == reason).unwrap_or(self.reasons.len());
        if at == self.reasons.len() {
            self.reasons.push((reason, Vec::new()));
        }
        &mut self.reasons[at].1
    }

    /// One line for each reason.
    pub(super) fn lines(self) -> Vec<String> {
        let more = self.reasons.len().saturating_sub(MAX_LINES);
        let mut lines: Vec<String> = self.reasons.into_iter().take(MAX_LINES).map(line).collect();
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        lines
    }
}

fn line((reason, groups): (String, Vec<GroupId>)) -> String {
    match groups.as_slice() {
        [] => reason,
        [one] => format!("{one} {reason}"),
        many => {
            let named: Vec<String> = many.iter().take(MAX_NAMED).map(ToString::to_string).collect();
            let more = many.len().saturating_sub(MAX_NAMED);
            let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{}{tail}: each {reason}", named.join(", "))
        }
    }
}
