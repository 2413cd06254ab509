//! Points at which a test may have the operator die as by `kill -9`, to see its successor finish.
//!
//! Called by `apply`, before and after each action. Without a point on the command line it does nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::apply::STEPS;

/// Where and when the process dies.
#[derive(Debug)]
pub struct FaultPoint {
    name: String,
    /// Whose clusters are meant; none: everybody's.
    namespace: Option<String>,
    /// How often the point must still be reached.
    left: AtomicU32,
}

impl Clone for FaultPoint {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            left: AtomicU32::new(self.left.load(Ordering::Relaxed)),
        }
    }
}

impl FaultPoint {
    /// `before-STEP` or `after-STEP`, with `:N` for the N-th time, and `@NAMESPACE` for the clusters of that only.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (point, namespace) = match text.split_once('@') {
            Some((point, namespace)) => (point, Some(namespace.to_owned())),
            None => (text, None),
        };
        let (name, times) = point.split_once(':').unwrap_or((point, "1"));
        let step = name.strip_prefix("before-").or_else(|| name.strip_prefix("after-"));
        match times.parse() {
            Ok(left @ 1..) if step.is_some_and(|step| STEPS.contains(&step)) && namespace.as_deref() != Some("") => {
                Ok(Self { name: name.to_owned(), namespace, left: AtomicU32::new(left) })
            }
            Ok(_) | Err(_) => Err(format!(
                "{text:?} is no fault point; write before-STEP or after-STEP:N@NAMESPACE, with a step of {}",
                STEPS.join(", ")
            )),
        }
    }

    /// Whether this is the time to die.
    fn strikes(&self, name: &str, namespace: &str) -> bool {
        self.name == name
            && self.namespace.as_deref().is_none_or(|meant| meant == namespace)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) == Ok(1)
    }

    /// Dies if `moment-step` is the point and its time has come. Nothing is cleaned up, and no lease given back.
    pub fn reach(&self, moment: &str, step: &str, namespace: &str) {
        debug_assert!(STEPS.contains(&step), "{step} is missing in the list of steps");
        if self.strikes(&format!("{moment}-{step}"), namespace) {
            tracing::error!(moment, step, namespace, "dying as the command line asks");
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
        assert!(!point.strikes("before-init", "any"));
        assert!(!point.strikes("after-init", "any"));
        assert!(point.strikes("after-init", "any"));
        assert!(!point.strikes("after-init", "any"));
    }

    #[test]
    fn a_point_may_mean_the_clusters_of_one_namespace() {
        let point = FaultPoint::parse("before-drain@shop").expect("a point");
        assert!(!point.strikes("before-drain", "other"));
        assert!(point.strikes("before-drain", "shop"));
    }

    #[test]
    fn what_is_no_point_is_refused() {
        for wrong in ["", "init", "before-init:0", "before-init:x", "after-init:", "after-initt", "before-init@"] {
            assert!(FaultPoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
