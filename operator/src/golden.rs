//! Data-driven tests: a folder of scripts, each with blocks of lines, `----`, and what came of them.
//!
//! A block ends with an empty line; lines that begin with `#` are comments. `REWRITE=1 cargo test` writes the answers
//! anew; review them like code. What a line means is for the module that the scripts are about.

use std::{fs, path::Path};

/// Runs every script of a folder below this crate, each with something new to drive; what comes of its lines must be what
/// it says.
pub(crate) fn check<L: FnMut(&str) -> String>(folder: &str, begin: impl Fn() -> L) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> = fs::read_dir(&folder).expect("testdata").map(|f| f.expect("entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {folder:?}");
    for path in paths {
        let text = fs::read_to_string(&path).expect("a script");
        let answered = answered(&text, begin());
        if std::env::var_os("REWRITE").is_some() {
            fs::write(&path, answered).expect("rewrite a script");
        } else {
            assert_eq!(answered, text, "{path:?}; REWRITE=1 accepts what came");
        }
    }
}

/// A script with what comes of its lines.
pub(crate) fn answered(text: &str, mut line: impl FnMut(&str) -> String) -> String {
    let (mut out, mut answers, mut expecting) = (String::new(), String::new(), false);
    for text in text.lines() {
        if text == "----" {
            expecting = true;
            out += "----\n";
            out += &std::mem::take(&mut answers);
        } else if text.is_empty() {
            expecting = false;
            out += "\n";
        } else if !expecting {
            out += text;
            out += "\n";
            if !text.starts_with('#') {
                answers += &line(text);
            }
        }
    }
    out
}
