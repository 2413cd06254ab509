//! Each step of publishing fails, or is the last before a crash.

use super::{
    faulty::{Fault, SURVIVALS},
    *,
};

/// How many steps the third checkpoint takes, and how many there were before it.
fn steps() -> (usize, usize) {
    let files = Arc::<FaultyFiles>::default();
    let manager = managed(&files, &[100, 200]);
    let before = files.steps();
    publish(&manager, 300).expect("no fault is set");
    (before, files.steps() - before)
}

#[test]
fn a_failed_step_leaves_what_was_published_and_says_whether_to_go_on() {
    let (before, count) = steps();
    let mut fatal = Vec::new();
    for step in before..before + count {
        let files = Arc::<FaultyFiles>::default();
        let manager = managed(&files, &[100, 200]);
        files.plan(step, Fault::Fails);
        let result = publish(&manager, 300);
        let CheckpointError::Io { step, .. } = (match result {
            Err(error) => error,
            // The last step is the removal of the oldest.
            Ok(published) => {
                assert_eq!((published.log_until, indexes(&manager)), (Some(LogIndex(200)), vec![100, 200, 300]));
                assert_eq!(publish(&manager, 400).expect("published").log_until, Some(LogIndex(300)));
                assert_eq!(indexes(&manager), [300, 400], "what was not removed is removed now");
                continue;
            }
        }) else {
            panic!("a failed step is an I/O error")
        };
        if fatal.last() != Some(&step) && matches!(step, Step::Sync | Step::Rename | Step::SyncDirectory) {
            fatal.push(step);
            let again = publish(&manager, 400).expect_err("nothing is written after a failed sync");
            assert!(matches!(again, CheckpointError::Poisoned) && again.is_fatal(), "{again}");
        } else {
            assert_eq!(newest(&manager), Some(200), "after a failed {step}");
            assert_eq!(files.names().len(), 2, "the draft is removed: {:?}", files.names());
            assert_eq!(publish(&manager, 400).expect("another try").log_until, Some(LogIndex(200)));
        }
        assert!(newest(&manager) >= Some(200));
    }
    assert_eq!(fatal, [Step::Sync, Step::Rename, Step::SyncDirectory]);
}

#[test]
fn after_a_crash_at_any_step_the_newest_published_is_whole() {
    let (before, count) = steps();
    for step in before..=before + count {
        for survives in SURVIVALS {
            let files = Arc::<FaultyFiles>::default();
            let manager = managed(&files, &[100, 200]);
            files.plan(step, Fault::Crash);
            let durable = publish(&manager, 300).is_ok();
            let after = files.after_crash(survives);
            let manager = open(&after);
            let recovered = manager.newest(&OWNER).expect("a search");
            assert!(recovered.damaged.is_empty(), "a name was given too early: {step}, {survives:?}");
            let newest = found(&recovered);
            assert!(newest == Some(300) || (newest == Some(200) && !durable), "{newest:?}: {step}, {survives:?}");
            assert!(indexes(&manager).len() >= KEPT, "one to fall back to: {step}, {survives:?}");
            assert!(after.names().iter().all(|name| name.ends_with(".mcrs")), "{:?}", after.names());
            // Life goes on, whatever was left.
            publish(&manager, 400).expect("no fault is set");
            assert_eq!(indexes(&manager).last(), Some(&400));
        }
    }
}

#[test]
fn what_a_killed_process_has_left_is_durable_before_it_is_used() {
    let (before, count) = steps();
    for step in before..=before + count {
        let files = Arc::<FaultyFiles>::default();
        let manager = managed(&files, &[100, 200]);
        files.plan(step, Fault::Crash);
        let durable = publish(&manager, 300).is_ok();
        drop(manager);
        files.restart_process();
        let seen = newest(&open(&files));
        assert!(seen == Some(300) || !durable);
        // Now the machine dies, too.
        for survives in SURVIVALS {
            assert_eq!(newest(&open(&files.after_crash(survives))), seen, "{step}, {survives:?}");
        }
    }
}

#[test]
fn a_full_disk_costs_only_the_new_one() {
    let files = Arc::<FaultyFiles>::default();
    let manager = managed(&files, &[100, 200]);
    let needed: usize = pieces(300).iter().map(Bytes::len).sum();
    for free in 0..needed {
        files.set_free(Some(free));
        let error = publish(&manager, 300).expect_err("it does not fit");
        assert!(matches!(error, CheckpointError::Io { step: Step::Write, .. }) && !error.is_fatal(), "{error}");
        assert_eq!((indexes(&manager), newest(&manager)), (vec![100, 200], Some(200)));
        assert_eq!(files.names().len(), 2, "its bytes are given back");
    }
    files.set_free(Some(needed));
    assert_eq!(publish(&manager, 300).expect("it fits").log_until, Some(LogIndex(200)));
}
