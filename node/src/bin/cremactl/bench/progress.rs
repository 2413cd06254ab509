//! A bar on the terminal while a phase runs; nothing where standard error is none.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

/// How often it is drawn anew: often enough to be seen moving, seldom enough not to be load.
const REDRAW: Duration = Duration::from_millis(250);

/// When a phase is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    /// After this time.
    Time(Duration),
    /// After so many commands.
    Commands(u64),
}

/// The bar; it goes when this is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    redraw: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows how far it is to the goal, and how fast it goes.
    pub(super) fn show(goal: Goal, warm_up: Duration, done: Arc<AtomicU64>) -> Self {
        let total = match goal {
            Goal::Time(time) => ms(warm_up + time),
            Goal::Commands(count) => count,
        };
        let bar = ProgressBar::new(total);
        if bar.is_hidden() {
            return Self { bar, redraw: None };
        }
        let style = ProgressStyle::with_template("[{bar:40}] {percent:>3}% {msg}").expect("a template that is fixed");
        bar.set_style(style.progress_chars("#--"));
        let redraw = tokio::spawn(redraw(bar.clone(), goal, warm_up, done));
        Self { bar, redraw: Some(redraw) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(redraw) = &self.redraw {
            redraw.abort();
        }
        self.bar.finish_and_clear();
    }
}

async fn redraw(bar: ProgressBar, goal: Goal, warm_up: Duration, done: Arc<AtomicU64>) {
    let started = Instant::now();
    let (mut last, mut before) = (started, 0);
    loop {
        tokio::time::sleep(REDRAW).await;
        let (now, all) = (Instant::now(), done.load(Ordering::Relaxed));
        let rate = (all - before) as f64 / (now - last).as_secs_f64();
        (last, before) = (now, all);
        let what = if started.elapsed() < warm_up { " (warm-up)" } else { "" };
        bar.set_message(format!("{rate:.0} ops/s{what}"));
        bar.set_position(match goal {
            Goal::Time(_) => ms(started.elapsed()),
            Goal::Commands(_) => all,
        });
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
