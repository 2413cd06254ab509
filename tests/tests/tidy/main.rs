//! Reads the sources of the workspace and refuses what the compiler cannot: imports that point up, clocks and
//! chance in the pure modules, files that grew too long, paths of one machine.
//!
//! Each finding names the replacement. A line that must break a rule says so with a comment
//! `tidy: NAME-OF-RULE because …`, on it or on the line above.

mod imports;
mod purity;
mod size;
mod source;

use source::{Finding, Tree};

/// Runs one check over the tree and fails with all its findings at once.
fn check(name: &str, findings: impl Fn(&Tree) -> Vec<Finding>) {
    let tree = Tree::read();
    assert!(tree.files.len() > 10, "found only {} files: is the tree read from the right folder?", tree.files.len());
    let found = findings(&tree);
    let list: String = found.iter().map(|finding| format!("  {finding}\n")).collect();
    assert!(found.is_empty(), "{name}: {} findings\n{list}", found.len());
}

#[test]
fn outside_crates_stay_where_they_belong() {
    check("crates", imports::foreign_crates);
}

#[test]
fn imports_point_down() {
    check("imports", imports::direction);
}

#[test]
fn pure_modules_have_no_clock_chance_or_io() {
    check("purity", purity::pure_modules);
}

#[test]
fn files_are_short_enough_to_read() {
    check("size", size::long_files);
}

#[test]
fn nothing_names_a_machine() {
    check("machine paths", size::machine_paths);
}
