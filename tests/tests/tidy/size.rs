//! Files that a person can read, on any machine.

use crate::source::{Finding, Tree};

/// Far above what we aim at (350): past this, nobody holds the file in mind.
const LONGEST_FILE_LINES: usize = 800;

/// Folders that exist on somebody's machine only. In pieces, so that this file passes its own check.
const MACHINE_PATHS: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// What the first line of a file begins with that a program wrote: nobody holds it in mind.
const GENERATED: &str = "# Written by crdgen ";

/// Every file that should have been split.
pub(crate) fn long_files(tree: &Tree) -> Vec<Finding> {
    let by_hand = tree.files.iter().filter(|file| !file.text.starts_with(GENERATED));
    let long = by_hand.map(|file| (file, file.text.lines().count()));
    long.filter(|(_, lines)| *lines > LONGEST_FILE_LINES)
        .map(|(file, lines)| {
            let say = format!("{lines} lines, over {LONGEST_FILE_LINES}: split it by concern");
            Finding { path: file.path.clone(), line: lines, say }
        })
        .collect()
}

/// Every path that is true on one machine only.
pub(crate) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for (at, text) in file.text.lines().enumerate() {
            let found = MACHINE_PATHS.iter().find(|path| text.contains(**path));
            findings.extend(found.map(|path| Finding {
                path: file.path.clone(),
                line: at + 1,
                say: format!("`{path}` is a folder of one machine: use a relative path or a variable"),
            }));
        }
    }
    findings
}
