//! Names that the chart shares with programs: flags, kinds and versions.

use std::collections::BTreeSet;

use crate::tools::{read, template};

/// Every text between two others, in order.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    let tails = text.split(before).skip(1);
    tails.filter_map(|tail| tail.split_once(after).map(|(found, _)| found)).collect()
}

#[test]
fn the_operator_is_told_every_setting() {
    let args = read("operator/src/args.rs");
    let mut known: BTreeSet<&str> = between(&args, "env = \"", "\"").into_iter().collect();
    assert!(known.remove("CREMA_OPERATOR_FAULTS"), "this one is for tests");
    let deployment = template(&["--show-only", "templates/deployment.yaml"]).expect("a deployment");
    let told: BTreeSet<&str> =
        between(&deployment, "- name: ", "\n").into_iter().filter(|name| is_variable(name)).collect();
    assert_eq!(told, known);
}

fn is_variable(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

#[test]
fn every_kind_that_is_rendered_may_be_written() {
    let source = read("operator/src/objects/rendered.rs");
    let plurals = between(&source, "pub fn plural", "pub fn ").concat();
    let plurals: Vec<&str> = between(&plurals, "=> \"", "\"");
    assert!(plurals.len() >= 6, "{plurals:?}");
    let rights = template(&["--show-only", "templates/rbac-clusters.yaml"]).expect("roles");
    for plural in plurals {
        let rule = between(&rights, &format!("resources: [{plural}]"), "- apiGroups").concat();
        for verb in ["get", "list", "create", "patch"] {
            assert!(rule.contains(verb), "no {verb} of {plural}: {rule}");
        }
    }
}

#[test]
fn nothing_may_be_done_to_everything() {
    let values = "tests/tests/chart/golden/everything.values.yaml";
    let rendered = template(&["--values", values]).expect("a chart");
    assert!(!rendered.contains("\"*\"") && !rendered.contains("'*'") && !rendered.contains("[*]"), "{rendered}");
}

#[test]
fn the_chart_is_as_old_as_the_programs() {
    let (version, chart) = (env!("CARGO_PKG_VERSION"), read("charts/crema/Chart.yaml"));
    assert!(chart.contains(&format!("\nversion: {version}\n")), "{chart}");
    assert!(chart.contains(&format!("\nappVersion: {version}\n")), "{chart}");
    assert!(
        read("README.md").contains(&format!("/crema-node:{version}")),
        "README's quick start has another version"
    );
}

#[test]
fn images_run_as_nobody_in_particular() {
    for name in ["node/Dockerfile", "operator/Dockerfile"] {
        let file = read(name);
        assert!(file.contains("\nUSER 65532:65532\n"), "{name}");
        // Every base image can be another: where there is no registry, too.
        for base in between(&file, "\nFROM ", " ") {
            assert!(base.trim_end().starts_with("${"), "{name}: FROM {base}");
        }
    }
}
