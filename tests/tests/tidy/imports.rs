//! Which crate may be named where, and which of our modules may use which (DESIGN, "Crates and modules").

use crate::source::{File, Finding, Tree, mentions};

/// Outside crates with a fixed home: `(crate, folders or files that may name it, what others do instead)`.
const HOMES: &[(&str, &[&str], &str)] = &[
    ("raft", &["node/src/consensus", "node/src/storage"], "use the types of `consensus`"),
    (
        "tonic",
        &["node/src/network", "node/src/grpc", "node/src/bin/cremactl/bench", "node/api"],
        "use `crema_api` or a door in `grpc`",
    ),
    ("tonic_health", &["node/src/grpc"], "health is served by `grpc`"),
    ("tonic_reflection", &["node/src/grpc"], "reflection is served by `grpc`"),
    ("moka", &["node/src/cache"], "go through `machine::store::EntryStore`"),
    ("papaya", &["node/src/cache"], "go through `machine::store::EntryStore`"),
    ("rocksdb", &["node/src/storage"], "go through `storage::LogStore`"),
    ("redis_protocol", &["node/src/resp", "node/src/bin/cremactl"], "use the frames of `resp`"),
    ("hickory_resolver", &["node/src/cluster/discovery"], "names are looked up by `cluster::discovery`"),
    ("foca", &["node/src/cluster/discovery/swim"], "gossip is spoken by `cluster::discovery::swim`"),
    ("ring", &["node/src/cluster/discovery"], "gossip is sealed by `cluster::discovery`"),
    ("axum", &["node/src/http"], "HTTP is served by `http`"),
];

/// Our modules from the top to the bottom; each may use those of its own row and below.
const LAYERS: &[&[&str]] = &[
    &["bin"],
    &["cache"],
    &["resp", "grpc", "http", "metrics::scrape", "testing"],
    &["multiraft"],
    &["storage", "network", "cluster"],
    &["multiraft::node", "multiraft::govern"],
    &["consensus", "cluster::progress"],
    &["machine", "placement", "partitioning", "checkpoint", "cluster::map", "cluster::command"],
    &["types", "clock", "config", "error", "faults", "metrics"],
];

/// Every mention of an outside crate away from its home.
pub(crate) fn foreign_crates(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let shipped = |file: &&File| file.path.starts_with("node/src/") || file.path.starts_with("node/api/");
    for file in tree.files.iter().filter(shipped) {
        for (line, code) in file.code() {
            for (name, homes, instead) in HOMES {
                let at_home = homes.iter().any(|home| within(&file.path, home));
                if !at_home && mentions(code, &format!("{name}::")) && !file.excused(line, "crates") {
                    let say = format!("`{name}` belongs in {}; {instead}", homes.join(", "));
                    findings.push(Finding { path: file.path.clone(), line, say });
                }
            }
        }
    }
    findings
}

/// Every `crate::module` that names a module of a higher row.
pub(crate) fn direction(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.starts_with("node/src/")) {
        let Some(own) = module_of(&file.path).and_then(|module| row(&module)) else { continue };
        for (line, used) in uses(file) {
            if row(&used).is_some_and(|other| other < own) && !file.excused(line, "imports") {
                let say = format!("`crate::{used}` is above this module: move what both need down, or pass it in");
                findings.push(Finding { path: file.path.clone(), line, say });
            }
        }
    }
    findings
}

/// Whether a path is `home`, inside it, or the file of that module.
pub(crate) fn within(path: &str, home: &str) -> bool {
    path.strip_prefix(home).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == ".rs")
}

fn row(module: &str) -> Option<usize> {
    let named = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    named(module).or_else(|| named(module.split("::").next().unwrap_or(module)))
}

/// `node/src/multiraft/node/tick.rs` is in `multiraft::node`, `node/src/machine/apply.rs` in `machine::apply`, which
/// has the row of `machine`; `None` for the root of the crate.
fn module_of(path: &str) -> Option<String> {
    let inside = path.strip_prefix("node/src/")?.trim_end_matches(".rs");
    let mut parts = inside.split('/');
    let top = parts.next().filter(|top| *top != "lib")?;
    Some(parts.next().map_or_else(|| top.to_owned(), |second| format!("{top}::{second}")))
}

/// The modules that a file names with `crate::`, with the line of each; the groups of a `use` are followed to any depth.
fn uses(file: &File) -> Vec<(usize, String)> {
    let lines = file.code();
    let mut found = Vec::new();
    for (index, (_, code)) in lines.iter().enumerate() {
        // `pub(in crate::cluster)` says who may look in, not what is used.
        for (at, name) in code.match_indices("crate::").filter(|(at, _)| !code[..*at].ends_with("pub(in ")) {
            paths(&lines[index..], at + name.len(), &mut found);
        }
    }
    found
}

/// Adds what is named from column `from` of the first line on: one path, or those of a group.
fn paths(lines: &[(usize, &str)], from: usize, found: &mut Vec<(usize, String)>) {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut word = String::new();
    let rest =
        lines.iter().enumerate().map(|(nth, (line, code))| (*line, if nth == 0 { &code[from..] } else { code }));
    for (line, c) in rest.flat_map(|(line, code)| code.chars().chain(['\n']).map(move |c| (line, c))) {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            path.push(std::mem::take(&mut word));
        }
        match c {
            ':' => {}
            '{' => groups.push(path.clone()),
            c if c.is_whitespace() && !groups.is_empty() => {}
            _ => {
                let named = groups.last().map_or(0, Vec::len);
                if path.len() > named {
                    // `multiraft::node::Node` is in `multiraft::node`; `types::Key` has the row of `types`.
                    found.push((line, path[..path.len().min(2)].join("::")));
                }
                if c == '}' {
                    groups.pop();
                }
                let Some(group) = groups.last() else { return };
                path.clone_from(group);
            }
        }
    }
}

#[test]
fn rows_are_found() {
    assert_eq!(module_of("node/src/multiraft/node/tick.rs").as_deref(), Some("multiraft::node"));
    assert_eq!(module_of("node/src/types.rs").as_deref(), Some("types"));
    assert_eq!(row("multiraft::node"), Some(5));
    assert_eq!(row("multiraft::execute"), Some(3));
    assert_eq!(row("types::Key"), Some(8));
    assert_eq!(row("Error"), None);
    assert!(within("node/src/cache.rs", "node/src/cache") && !within("node/src/caches.rs", "node/src/cache"));
    assert!(mentions("use raft::Config;", "raft::") && !mentions("use crate::multiraft::x;", "raft::"));
    assert!(!mentions("v1::raft::Entry", "raft::"));
}

#[test]
fn uses_are_found_in_groups() {
    let text = "use crate::{\n    cache::Router,\n    cluster::{\n        map::Member,\n        discovery,\n    },\n    types::{Key, Value},\n};\nuse crate::{error::Error, resp};\nfn f() -> crate::http::Door {}\n";
    let file = File { path: "node/src/machine/x.rs".to_owned(), text: text.to_owned() };
    let names: Vec<String> = uses(&file).into_iter().map(|(_, name)| name).collect();
    assert_eq!(
        names,
        [
            "cache::Router",
            "cluster::map",
            "cluster::discovery",
            "types::Key",
            "types::Value",
            "error::Error",
            "resp",
            "http::Door"
        ]
    );
    let tree = Tree { files: vec![file] };
    assert_eq!(direction(&tree).len(), 4);
}
