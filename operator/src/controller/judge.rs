//! Which spec is in force: the one that is written if it is valid, else the last one that was. Pure.
//!
//! A spec that is refused changes nothing: repair, budget and status go on under the last accepted one.

use crema_crds::{
    CremaClusterSpec, CremaClusterStatus, Validated,
    spec::RespMode,
    validate::{self, Accepted, Problem, validate},
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::model::Observed;

/// The condition that says whether the operator could do what it wanted.
const RECONCILED: &str = "ReconcileSucceeded";

/// What is in force, and what is wrong with what is written.
#[derive(Debug)]
pub(super) struct Verdict {
    /// `None`: nothing was ever accepted, or it can't be any more.
    pub(super) spec: Option<Validated>,
    /// Empty when the written spec is in force.
    pub(super) problems: Vec<String>,
}

/// What holds for clusters that don't say.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClusterDefaults {
    /// `spec.respMode`; `None` leaves it to the definition.
    pub resp_mode: Option<RespMode>,
}

impl ClusterDefaults {
    /// A spec as if its writer had said these. They count as written: another default rolls the pods as an edit does.
    fn fill_in(self, spec: &CremaClusterSpec) -> CremaClusterSpec {
        let Self { resp_mode } = self;
        CremaClusterSpec { resp_mode: spec.resp_mode.or(resp_mode), ..spec.clone() }
    }
}

/// Judges the spec of an object of this name by what there is.
pub(super) fn judge(
    name: &str,
    spec: &Result<CremaClusterSpec, String>,
    defaults: ClusterDefaults,
    accepted: Option<&Accepted>,
) -> Verdict {
    if let Err(problem) = validate::name(name) {
        // Its name never changes, so nothing of it was ever made.
        return Verdict { spec: None, problems: vec![problem.to_string()] };
    }
    let problems = match spec {
        Ok(spec) => match validate(&defaults.fill_in(spec), accepted) {
            Ok(spec) => return Verdict { spec: Some(spec), problems: Vec::new() },
            Err(problems) => told(&problems),
        },
        Err(why) => vec![why.clone()],
    };
    Verdict { spec: accepted.and_then(in_force), problems }
}

/// The last accepted spec, by what there is now.
fn in_force(accepted: &Accepted) -> Option<Validated> {
    let spec = accepted.spec.as_ref()?;
    let there = Accepted { spec: None, ..accepted.clone() };
    match validate(spec, Some(&there)) {
        Ok(spec) => Some(spec),
        Err(problems) => {
            tracing::warn!(problems = told(&problems).join("; "), "the last accepted spec is not valid any more");
            None
        }
    }
}

fn told(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

/// The status of an object that has no spec in force: all as it was, but for why.
pub(super) fn refused(seen: &Observed, problems: &[String]) -> CremaClusterStatus {
    let mut status = seen.status.clone();
    status.observed_generation = Some(seen.object.generation);
    let before = status.conditions.iter().find(|condition| condition.type_ == RECONCILED);
    let since = before.filter(|before| before.status == "False").map(|before| before.last_transition_time.clone());
    let now = || {
        let seconds = i64::try_from(seen.now_ms / 1000).unwrap_or(0);
        Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH))
    };
    let condition = Condition {
        last_transition_time: since.unwrap_or_else(now),
        message: problems.join("; "),
        observed_generation: Some(seen.object.generation),
        reason: "InvalidSpec".to_owned(),
        status: "False".to_owned(),
        type_: RECONCILED.to_owned(),
    };
    status.conditions.retain(|condition| condition.type_ != RECONCILED);
    status.conditions.push(condition);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(image: &str, shards: i32) -> CremaClusterSpec {
        CremaClusterSpec { shards, ..CremaClusterSpec::new(image) }
    }

    fn judge(name: &str, spec: &Result<CremaClusterSpec, String>, accepted: Option<&Accepted>) -> Verdict {
        super::judge(name, spec, ClusterDefaults::default(), accepted)
    }

    #[test]
    fn defaults_hold_for_clusters_that_say_nothing() {
        let cluster = ClusterDefaults { resp_mode: Some(RespMode::Cluster) };
        let mode = |written: Option<RespMode>, defaults| {
            let spec = CremaClusterSpec { resp_mode: written, ..spec("crema:1", 16) };
            let spec = super::judge("cart", &Ok(spec), defaults, None).spec.expect("a sound spec");
            (spec.resp_mode, spec.written.resp_mode)
        };
        assert_eq!(mode(None, cluster), (RespMode::Cluster, Some(RespMode::Cluster)));
        assert_eq!(mode(Some(RespMode::Proxy), cluster), (RespMode::Proxy, Some(RespMode::Proxy)));
        assert_eq!(mode(None, ClusterDefaults::default()), (RespMode::Proxy, None));
    }

    fn image(verdict: &Verdict) -> Option<&str> {
        verdict.spec.as_ref().map(|spec| spec.image.name.as_str())
    }

    #[test]
    fn an_impossible_edit_leaves_the_last_accepted_spec_in_force() {
        let accepted = Accepted { shards: Some(16), ..Accepted::of(spec("crema:1", 16)) };
        let fine = judge("cart", &Ok(spec("crema:2", 16)), Some(&accepted));
        assert_eq!((image(&fine), fine.problems.len()), (Some("crema:2"), 0));
        let edit = judge("cart", &Ok(spec("crema:2", 32)), Some(&accepted));
        assert_eq!(image(&edit), Some("crema:1"));
        assert!(edit.problems[0].starts_with("spec.shards: "), "{:?}", edit.problems);
        let unreadable = judge("cart", &Err("spec: no number".to_owned()), Some(&accepted));
        assert_eq!((image(&unreadable), unreadable.problems[0].as_str()), (Some("crema:1"), "spec: no number"));
    }

    #[test]
    fn without_an_accepted_spec_nothing_is_in_force() {
        let wrong = judge("cart", &Ok(spec("", 16)), None);
        assert!(wrong.spec.is_none() && wrong.problems[0].starts_with("spec.image: "), "{:?}", wrong.problems);
        // What was accepted is of another cluster than the one that is there.
        let there = Accepted { shards: Some(32), ..Accepted::of(spec("crema:1", 16)) };
        assert!(judge("cart", &Ok(spec("", 16)), Some(&there)).spec.is_none());
        let named = judge("Cart", &Ok(spec("crema:1", 16)), None);
        assert!(named.spec.is_none() && named.problems[0].starts_with("metadata.name: "), "{:?}", named.problems);
    }
}
