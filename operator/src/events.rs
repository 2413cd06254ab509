//! Events: what a person finds under `kubectl describe`.
//!
//! Called by the controller after a pass. What was said a short while ago is not said again, since a plan repeats itself
//! until the world follows. An event that can't be written fails nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::Instant;

use crate::{
    FIELD_MANAGER, chain,
    plan::{EventNote, Severity},
};

/// How long something that was said is not said again.
const QUIET: Duration = Duration::from_secs(10 * 60);
/// The longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Writes events, and remembers which.
pub struct Events {
    client: Client,
    instance: String,
    said: Mutex<Said>,
}

/// What was said, about which object (by its uid), and when.
#[derive(Default)]
struct Said(HashMap<(String, String, String), Instant>);

impl Events {
    /// `instance`: the name of this process.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, instance, said: Mutex::default() }
    }

    /// Says these of the object, but for what was said lately.
    pub async fn publish(&self, about: &ObjectReference, notes: &[EventNote]) {
        let api: Api<Event> = Api::namespaced(self.client.clone(), about.namespace.as_deref().unwrap_or("default"));
        for note in notes {
            let key = (about.uid.clone().unwrap_or_default(), note.reason.to_string(), note.message.clone());
            let is_new = self.said.lock().unwrap_or_else(PoisonError::into_inner).is_new(key, Instant::now());
            if !is_new {
                continue;
            }
            tracing::info!(cluster = about.name, reason = %note.reason, note.message, "event");
            let event = self.event(about, note, Timestamp::now());
            if let Err(error) = api.create(&PostParams::default(), &event).await {
                tracing::warn!(error = chain(&error), "write an event");
            }
        }
    }

    fn event(&self, about: &ObjectReference, note: &EventNote, now: Timestamp) -> Event {
        let name = about.name.as_deref().unwrap_or(FIELD_MANAGER);
        Event {
            metadata: ObjectMeta {
                // As others name theirs: unique by the time, with a draw for what happens at the same one.
                name: Some(format!("{name}.{:x}{:04x}", now.as_nanosecond(), rand::random::<u16>())),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            reason: Some(note.reason.to_string()),
            note: Some(shortened(&note.message)),
            type_: Some(
                match note.severity {
                    Severity::Normal => "Normal",
                    Severity::Warning => "Warning",
                }
                .to_owned(),
            ),
            regarding: Some(about.clone()),
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

impl Said {
    /// Whether it was not said lately; it is now.
    fn is_new(&mut self, key: (String, String, String), now: Instant) -> bool {
        self.0.retain(|_, at| now.duration_since(*at) < QUIET);
        self.0.insert(key, now).is_none()
    }
}

/// At most as long as the API server takes it.
fn shortened(text: &str) -> String {
    if text.len() <= MAX_NOTE {
        return text.to_owned();
    }
    let most = MAX_NOTE - "…".len();
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_said_twice_in_a_row() {
        let key = |message: &str| ("uid".to_owned(), "Rolling".to_owned(), message.to_owned());
        let (mut said, now) = (Said::default(), Instant::now());
        assert!(said.is_new(key("pod 2"), now));
        assert!(said.is_new(key("pod 1"), now));
        assert!(!said.is_new(key("pod 2"), now + Duration::from_secs(60)));
        let later = now + Duration::from_secs(60) + QUIET;
        assert!(said.is_new(key("pod 2"), later));
        assert_eq!(said.0.len(), 1, "what is old is forgotten");
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "ü".repeat(600);
        let cut = shortened(&long);
        assert!(cut.len() <= MAX_NOTE && cut.ends_with('…'), "{}", cut.len());
    }
}
