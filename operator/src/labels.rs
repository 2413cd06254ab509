//! The labels by which objects are found again. What is rendered carries them: `objects` writes them.
//!
//! The labels that [`CLUSTER`] and [`SELECTOR`] name never change, since a StatefulSet selects by them for life: volume
//! claims have them too, which carry no label of an operator.

/// Whose object it is: the name of its CremaCluster.
pub const CLUSTER: &str = "app.kubernetes.io/instance";
/// Everything that belongs to any CremaCluster, claims included.
pub const SELECTOR: &str = "app.kubernetes.io/component=cache,app.kubernetes.io/name=crema";

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::objects::Identity;

    #[test]
    fn what_is_rendered_is_found() {
        let identity = Identity {
            name: "cart".to_owned(),
            namespace: "shop".to_owned(),
            uid: "u".to_owned(),
            revision: "r".to_owned(),
        };
        for labels in [identity.labels(), identity.selector()] {
            assert_eq!(labels.get(CLUSTER), Some(&Value::from("cart")));
            for pair in SELECTOR.split(',') {
                let (key, value) = pair.split_once('=').expect("a pair");
                assert_eq!(labels.get(key), Some(&Value::from(value)), "{pair}");
            }
        }
    }
}
