//! The pure modules take time and chance as values and do no I/O: the simulator runs the very same code.

use crate::{
    imports::within,
    source::{Finding, Tree, mentions},
};

const PURE: &[&str] = &[
    "node/src/machine",
    "node/src/placement",
    "node/src/partitioning",
    "node/src/checkpoint",
    "node/src/consensus",
    "node/src/multiraft/node",
    "node/src/cluster/map",
    "node/src/cluster/command",
    "node/src/cluster/progress",
    "node/src/cluster/discovery/hints",
    "node/src/cluster/discovery/manage",
    "node/src/cluster/discovery/swim",
    "node/src/cluster/formation",
    "node/src/cluster/initial",
    "node/src/testing",
    "node/src/types",
];

/// What a pure module must not name, and what it does instead.
const BANNED: &[(&str, &str)] = &[
    ("Instant::now", "take `types::Now` as an argument"),
    ("SystemTime", "take `types::Now` as an argument"),
    ("std::time::Instant", "take `types::Now` as an argument"),
    ("tokio::", "return an effect; `multiraft::runtime` performs it"),
    ("futures::", "return an effect; `multiraft::runtime` performs it"),
    ("rand::", "draw from a seeded `types::Draw`"),
    ("thread_rng", "draw from a seeded `types::Draw`"),
    ("RandomState", "use a map with a fixed order or hash"),
    ("HashMap", "use BTreeMap: nothing may depend on a random order"),
    ("HashSet", "use BTreeSet: nothing may depend on a random order"),
    ("std::net", "return an effect; `network` performs it"),
    ("std::fs", "return an effect; `storage` performs it"),
    ("std::thread", "threads belong to `multiraft::runtime`"),
    ("std::env", "settings arrive as values from `config`"),
    ("std::process", "return an error; the edge decides"),
    ("println!", "return it as a value, or use `tracing`"),
    ("eprintln!", "return it as a value, or use `tracing`"),
];

/// Every clock, draw, thread, socket or file in a pure module.
pub(crate) fn pure_modules(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| PURE.iter().any(|module| within(&file.path, module))) {
        for (line, code) in file.code() {
            for (name, instead) in BANNED {
                if mentions_name(code, name) && !file.excused(line, "purity") {
                    let say = format!("`{name}` in a pure module; {instead}");
                    findings.push(Finding { path: file.path.clone(), line, say });
                }
            }
        }
    }
    findings
}

/// A path like `rand::` counts as a root only; a bare name counts wherever it stands as a whole word.
fn mentions_name(code: &str, name: &str) -> bool {
    if name.contains("::") || name.ends_with('!') {
        return mentions(code, name);
    }
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(word);
        let after = code[at + name.len()..].chars().next().is_some_and(word);
        !before && !after
    })
}

#[test]
fn whole_words_only() {
    assert!(mentions_name("use std::collections::HashMap;", "HashMap"));
    assert!(!mentions_name("let x = MyHashMapLike;", "HashMap"));
    assert!(mentions_name("let t = Instant::now();", "Instant::now"));
    assert!(!mentions_name("operand::x()", "rand::"));
}
