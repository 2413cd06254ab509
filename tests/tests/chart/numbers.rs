//! Alerts and dashboards: whether Prometheus understands them, and whether anybody counts what they ask for.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::tools::{Scratch, list, passes, promtool, read, template};

/// What the kubelet says of containers, and every process of itself.
const FOREIGN: [&str; 4] = [
    "container_memory_working_set_bytes",
    "container_spec_memory_limit_bytes",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
];

/// Where the names of our own series are.
const SOURCES: [&str; 3] = ["node/src/metrics/node.rs", "node/src/metrics/scrape.rs", "operator/src/metrics.rs"];

const ALERTS: &str = "charts/crema/files/alerts.yaml";

/// Numbers, and the alerts that they should give.
const PLAYS: &str = "tests/tests/chart/alerts.test.yaml";

/// The expressions of every dashboard.
fn dashboards() -> Vec<String> {
    let mut expressions = Vec::new();
    for name in list("charts/crema/files/dashboards") {
        let board: Value = serde_json::from_str(&read(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        for panel in board["panels"].as_array().expect("panels") {
            let targets = panel["targets"].as_array().unwrap_or_else(|| panic!("{name}: no targets in {panel}"));
            expressions.extend(targets.iter().map(|target| target["expr"].as_str().expect("an expr").to_owned()));
        }
    }
    assert!(expressions.len() > 30, "{expressions:?}");
    expressions
}

/// Every word of a text that could be the name of a series.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.contains('_') && word.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// Names of series that are asked for, told from functions and labels by what they begin with.
fn asked() -> BTreeSet<String> {
    let prefixes = ["cache_", "container_", "crema_", "migration_", "process_", "raft_", "shard_"];
    let mut texts = dashboards();
    texts.push(read(ALERTS));
    let all = texts.iter().flat_map(|text| words(text));
    let ours = all.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)));
    ours.map(|name| name.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn what_is_asked_for_is_counted() {
    let sources = SOURCES.map(read).concat();
    let asked = asked();
    assert!(asked.len() > 25, "{asked:?}");
    for name in asked {
        let known = FOREIGN.contains(&name.as_str()) || sources.contains(&format!("\"{name}\""));
        assert!(known, "nobody counts {name}");
    }
}

#[test]
fn alerts_say_the_right_thing() {
    passes("check", promtool(&["check", "rules", ALERTS]));
    passes("play", promtool(&["test", "rules", PLAYS]));
    let (alerts, tests) = (read(ALERTS), read(PLAYS));
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} is never played");
    }
}

#[test]
fn the_rendered_rule_has_the_alerts() {
    let arguments = ["--set", "prometheusRule.enabled=true", "--show-only", "templates/prometheusrule.yaml"];
    let rendered = template(&arguments).expect("a rule");
    let (_, spec) = rendered.split_once("\nspec:\n").expect("a spec");
    let rules: String = spec.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
    assert_eq!(rules.trim_end(), read(ALERTS).trim_end());
}

#[test]
fn prometheus_understands_the_dashboards() {
    let mut rules = Vec::new();
    for (at, expression) in dashboards().into_iter().enumerate() {
        // What Grafana puts in by itself.
        let expression = expression.replace("$__rate_interval", "5m");
        rules.push(serde_json::json!({ "record": format!("panel:{at}"), "expr": expression }));
    }
    // JSON is YAML.
    let groups = serde_json::json!({ "groups": [{ "name": "dashboards", "rules": rules }] });
    let file = Scratch::new("dashboards.yaml", &groups.to_string());
    passes("check", promtool(&["check", "rules", file.name()]));
}
