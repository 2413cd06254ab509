//! `CremaCluster`, the custom resource of Crema: its types, its rules and its definition.
//!
//! The operator reads objects through these types and plans with [`Validated`] only; `crdgen` writes the definition that
//! the API server is given. Nothing here talks to anybody: what a spec is compared with arrives as a value
//! ([`validate::Accepted`]).
//!
//! The rules are told twice, on purpose: as CEL in the definition, where the API server refuses what is wrong at once, and
//! in [`mod@validate`], for servers that know no CEL and for what CEL can't see.

mod amount;
mod definition;
pub mod names;
mod raw;
mod span;
pub mod spec;
pub mod status;
pub mod validate;
pub mod validated;
pub mod yaml;

pub use self::{
    amount::Amount,
    definition::definitions,
    raw::Raw,
    span::Span,
    spec::{CremaCluster, CremaClusterSpec},
    status::CremaClusterStatus,
    validate::{Accepted, Problem, validate},
    validated::Validated,
};

/// The group of the API.
pub const GROUP: &str = "crema.io";

/// The version of the API.
pub const VERSION: &str = "v1alpha1";

/// The kind.
pub const KIND: &str = "CremaCluster";

/// An annotation of the object whose every change rolls the pods, as `kubectl rollout restart` does.
pub const RESTARTED_AT: &str = "crema.io/restartedAt";

/// Whether a value is what is there when nobody says anything: then it is left out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
