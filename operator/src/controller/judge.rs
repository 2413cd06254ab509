//! Which spec is in force: the one that is written if it is valid, else the last one that was. Pure.
//!
//! A spec that is refused changes nothing: repair, budget and status go on under the last accepted one.

use crema_crds::{
    CremaClusterStatus, Validated,
    validate::{self, Accepted, Problem, validate},
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::{model::Observed, observe::Subject};

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

/// Judges an object by what there is.
pub(super) fn judge(subject: &Subject, accepted: Option<&Accepted>) -> Verdict {
    if let Err(problem) = validate::name(&subject.view.name) {
        // Its name never changes, so nothing of it was ever made.
        return Verdict { spec: None, problems: vec![problem.to_string()] };
    }
    let problems = match &subject.spec {
        Ok(spec) => match validate(spec, accepted) {
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
