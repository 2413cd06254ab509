//! Which crate may be named where, and which of our modules may use which (DESIGN, "Crates and modules").

use crate::source::{File, Finding, Tree, mentions};

/// Outside crates with a fixed home: `(crate, folders or files that may name it, what others do instead)`.
const HOMES: &[(&str, &[&str], &str)] = &[
    ("raft", &["node/src/consensus", "node/src/storage"], "use the types of `consensus`"),
    ("tonic", &["node/src/network", "node/src/grpc", "node/api"], "use `crema_api` or a door in `grpc`"),
    ("tonic_health", &["node/src/grpc"], "health is served by `grpc`"),
    ("tonic_reflection", &["node/src/grpc"], "reflection is served by `grpc`"),
    ("moka", &["node/src/cache"], "go through `machine::store::EntryStore`"),
    ("papaya", &["node/src/cache"], "go through `machine::store::EntryStore`"),
    ("rocksdb", &["node/src/storage"], "go through `storage::LogStore`"),
    ("redis_protocol", &["node/src/resp", "node/src/bin/cremactl"], "use the frames of `resp`"),
    ("axum", &["node/src/http"], "HTTP is served by `http`"),
];

/// Our modules from the top to the bottom; each may use those of its own row and below.
const LAYERS: &[&[&str]] = &[
    &["bin"],
    &["cache"],
    &["resp", "grpc", "http", "metrics::scrape"],
    &["multiraft"],
    &["storage", "network", "cluster"],
    &["multiraft::node"],
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

/// The modules that a file names with `crate::`, with the line of each; braces are followed one level.
fn uses(file: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open_group = false;
    for (line, code) in file.code() {
        if open_group {
            // rustfmt writes one member of a long group per line, four spaces in.
            let member = code.strip_prefix("    ").filter(|rest| !rest.starts_with(' '));
            found.extend(member.and_then(path_head).map(|head| (line, head)));
            open_group = !code.starts_with("};");
        }
        // `pub(in crate::cluster)` says who may look in, not what is used.
        for (at, _) in code.match_indices("crate::").filter(|(at, _)| !code[..*at].ends_with("pub(in ")) {
            let rest = &code[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                None => found.extend(path_head(rest).map(|head| (line, head))),
                Some(group) if group.contains('}') => {
                    found.extend(group.split(", ").filter_map(path_head).map(|head| (line, head)));
                }
                Some(_) => open_group = true,
            }
        }
    }
    found
}

/// `multiraft::node::{…}` gives `multiraft::node`; `types::Key` gives `types::Key`, whose row is that of `types`.
fn path_head(path: &str) -> Option<String> {
    let name = |part: &str| part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut parts = path.split("::").map(name);
    let first = parts.next().filter(|first| !first.is_empty())?;
    Some(match parts.next().filter(|second| !second.is_empty()) {
        Some(second) => format!("{first}::{second}"),
        None => first,
    })
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
    let text = "use crate::{\n    cache::Router,\n    types::{Key, Value},\n};\nuse crate::{error::Error, resp};\n";
    let file = File { path: "node/src/machine/x.rs".to_owned(), text: text.to_owned() };
    let names: Vec<String> = uses(&file).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["cache::Router", "types", "error::Error", "resp"]);
    let tree = Tree { files: vec![file] };
    assert_eq!(direction(&tree).len(), 2);
}
