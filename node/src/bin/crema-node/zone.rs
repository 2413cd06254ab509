//! The zone of a node that somebody else knows: in a pod the operator, once Kubernetes has chosen the machine.

use std::{fs, path::Path, time::Duration};

/// How long a start waits for it: a node without a zone is worth more than none.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What stands for no zone.
const NONE: &str = "-";

/// What the file says, as soon as it says something; nothing if it doesn't in time.
pub(crate) async fn told(path: &Path) -> String {
    let said = async {
        loop {
            // One that can't be read is not written yet.
            if let Some(zone) = fs::read_to_string(path).ok().as_deref().and_then(zone) {
                return zone;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| {
        tracing::warn!(file = %path.display(), "nobody says which zone this node is in; it starts without one");
        String::new()
    })
}

/// The zone in a text that is not empty.
fn zone(text: &str) -> Option<String> {
    match text.trim() {
        "" => None,
        NONE => Some(String::new()),
        zone => Some(zone.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_said_or_denied_or_not_known_yet() {
        assert_eq!(zone("east\n").as_deref(), Some("east"));
        assert_eq!(zone("-").as_deref(), Some(""));
        assert_eq!((zone(""), zone(" \n")), (None, None));
    }
}
