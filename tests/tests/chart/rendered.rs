//! What the chart renders, and what it refuses.

use std::fs;

use crate::tools::{helm, list, notes, passes, path, read, template};

/// Where the cases are: `NAME.values.yaml`, and what comes of them.
const CASES: &str = "tests/tests/chart/golden";

/// Where the chart has the definitions, for Helm reads nothing outside of a chart.
const CHARTS_CRDS: &str = "charts/crema/files/crds";

fn cases() -> Vec<String> {
    let values = list(CASES).into_iter().filter(|name| name.ends_with(".values.yaml"));
    let cases: Vec<String> = values.map(|name| name.trim_end_matches(".values.yaml").to_owned()).collect();
    assert!(cases.len() >= 3, "cases: {cases:?}");
    cases
}

fn expect(name: &str, found: &str) {
    if std::env::var_os("REWRITE").is_some() {
        fs::write(path(name), found).unwrap_or_else(|error| panic!("write {name}: {error}"));
        return;
    }
    let wanted = fs::read_to_string(path(name)).unwrap_or_default();
    assert!(found == wanted, "{name} differs; REWRITE=1 accepts what came:\n{found}");
}

#[test]
fn helm_finds_nothing_wrong() {
    for case in cases() {
        let values = format!("{case}.values.yaml");
        passes(&case, helm(&["lint", "--strict", "charts/crema", "--values", &values]));
    }
}

#[test]
fn what_is_rendered_is_as_it_was() {
    for case in cases() {
        let values = format!("{case}.values.yaml");
        // The definitions and other files are as they are: they would only make this long.
        let found = template(&["--values", &values, "--set", "crds.install=false"]);
        let found = found.unwrap_or_else(|said| panic!("{case}: {said}"));
        expect(&format!("{case}.yaml"), &without_files(&found));
        expect(&format!("{case}.notes.txt"), &notes(&["--values", &values]));
    }
}

/// Names in place of the files that are put in whole, and no empty lines, of which each Helm writes others.
fn without_files(text: &str) -> String {
    let mut text = text.to_owned();
    for name in list("charts/crema/files").into_iter().chain(list("charts/crema/files/dashboards")) {
        if path(&name).is_dir() {
            continue;
        }
        for indent in [2, 4] {
            let pad = " ".repeat(indent);
            let lines: String = read(&name).lines().map(|line| format!("{pad}{line}\n")).collect();
            text = text.replace(&lines, &format!("{pad}({name})\n"));
        }
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn wrong_values_are_refused() {
    for (set, says) in [
        ("replicaz=3", "replicaz"),
        ("replicas=-1", "/replicas"),
        ("watchNamespaces={Shop}", "/watchNamespaces/0"),
        ("watchNamespaces=shop", "/watchNamespaces"),
        ("watchNamespaces=null", "watchNamespaces"),
        ("resync=1h", "/resync"),
        ("lease.duration=1500ms", "/lease/duration"),
        ("lease.retry=0s", "/lease/retry"),
        ("image.digest=sha256:abc", "/image/digest"),
        ("image.tag=a/b", "/image/tag"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("log.format=xml", "/log/format"),
        ("concurrency=0", "/concurrency"),
        ("clusterDefaults.respMode=cluster", "/clusterDefaults/respMode"),
        ("crds.keep=false", "keep"),
        ("serviceAccount.create=false", "serviceAccount.name: needed"),
    ] {
        let said = template(&["--set", set]).expect_err(set);
        assert!(said.contains(says), "{set}: {said}");
    }
}

#[test]
fn the_chart_has_the_definitions_that_crdgen_wrote() {
    let written: Vec<String> = list("crds").into_iter().filter(|name| name.ends_with(".yaml")).collect();
    assert!(!written.is_empty(), "no definition in crds: cargo run -p crema-crds --bin crdgen writes them");
    let base = |name: &String| name.rsplit('/').next().unwrap_or_default().to_owned();
    let packed = list(CHARTS_CRDS);
    assert_eq!(packed.iter().map(base).collect::<Vec<_>>(), written.iter().map(base).collect::<Vec<_>>());
    for (packed, written) in packed.iter().zip(&written) {
        assert!(read(packed) == read(written), "{packed} is stale; cargo run -p crema-crds --bin crdgen writes it");
    }
}

#[test]
fn the_definitions_outlive_the_release() {
    let rendered = template(&["--show-only", "templates/crds.yaml"]).expect("definitions");
    let all = rendered.matches("\nkind: CustomResourceDefinition\n").count();
    assert_eq!(all, list(CHARTS_CRDS).len(), "{rendered}");
    assert_eq!(rendered.matches("\n    helm.sh/resource-policy: keep\n").count(), all, "{rendered}");
    let rendered = template(&["--set", "crds.install=false"]).expect("a chart");
    assert!(!rendered.contains("CustomResourceDefinition"), "{rendered}");
}
