//! Points at which a test may have the operator die as by `kill -9`, to see its successor finish.
//!
//! Called by `apply`, before and after each action. Without a point on the command line it does nothing.

use std::sync::atomic::{AtomicU32, Ordering};

/// Where and when the process dies.
#[derive(Debug)]
pub struct FaultPoint {
    name: String,
    /// How often the point must still be reached.
    left: AtomicU32,
}

impl Clone for FaultPoint {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), left: AtomicU32::new(self.left.load(Ordering::Relaxed)) }
    }
}

impl FaultPoint {
    /// `before-ACTION` or `after-ACTION`, with `:N` for the N-th time.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, times) = text.split_once(':').unwrap_or((text, "1"));
        let known = name.starts_with("before-") || name.starts_with("after-");
        match times.parse() {
            Ok(left @ 1..) if known => Ok(Self { name: name.to_owned(), left: AtomicU32::new(left) }),
            Ok(_) | Err(_) => Err(format!("{text:?} is no fault point; write before-ACTION or after-ACTION:N")),
        }
    }

    /// Whether this is the time to die.
    fn strikes(&self, name: &str) -> bool {
        self.name == name
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) == Ok(1)
    }

    /// Dies if `moment-action` is the point and its time has come. Nothing is cleaned up, and no lease given back.
    pub fn reach(&self, moment: &str, action: &str) {
        if self.strikes(&format!("{moment}-{action}")) {
            tracing::error!(moment, action, "dying as the command line asks");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_strikes_once_at_its_time() {
        let point = FaultPoint::parse("after-init:2").expect("a point");
        assert!(!point.strikes("before-init"));
        assert!(!point.strikes("after-init"));
        assert!(point.strikes("after-init"));
        assert!(!point.strikes("after-init"));
    }

    #[test]
    fn what_is_no_point_is_refused() {
        for wrong in ["", "init", "before-init:0", "before-init:x", "after-init:"] {
            assert!(FaultPoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
