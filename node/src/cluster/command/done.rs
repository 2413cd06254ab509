//! What each kind of change answers: that it was one, that all is so already, or why it can't be.

use super::Refused;

/// Whether a change found something to change; repeated, it succeeds and finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Changed,
    Already,
}

impl Done {
    pub(super) fn changed_if(changed: bool) -> Self {
        if changed { Self::Changed } else { Self::Already }
    }
}

pub(super) fn refuse<T>(reason: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Reason(reason.into()))
}
