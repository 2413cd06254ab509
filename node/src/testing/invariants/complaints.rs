//! The core logs no error where nothing was damaged: it then met something that its own rules exclude.

use std::{cell::RefCell, fmt};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};

use super::Verdict;

thread_local! {
    static COMPLAINT: RefCell<Option<String>> = const { RefCell::new(None) };
    /// What else was logged, for the trace.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Every node says this of a shard that begins anew, for its log's reader to know.
const RESET: &str = "ENTRIES ARE LOST";

/// Listens to the core's log on this thread while `f` runs; `all` keeps more than errors.
pub fn listen<T>(all: bool, f: impl FnOnce() -> T) -> T {
    COMPLAINT.take();
    LINES.take();
    let least = if all { Level::INFO } else { Level::ERROR };
    tracing::subscriber::with_default(Listener { least }, f)
}

/// What was logged since the last look.
pub(crate) fn take_lines() -> Vec<String> {
    LINES.take()
}

/// Checks that nothing was complained of since the last look.
pub(crate) fn check(is_damaged: bool) -> Verdict {
    match COMPLAINT.take() {
        Some(text) if !is_damaged => Err(("no complaint", text)),
        Some(_) | None => Ok(()),
    }
}

struct Listener {
    least: Level,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.least
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.least))
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        if self.least > Level::ERROR {
            LINES.with_borrow_mut(|lines| lines.push(text.0.clone()));
        }
        if *event.metadata().level() != Level::ERROR || text.0.contains(RESET) {
            return;
        }
        COMPLAINT.with_borrow_mut(|complaint| {
            complaint.get_or_insert(text.0);
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}
