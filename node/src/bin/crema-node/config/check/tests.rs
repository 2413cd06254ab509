use super::{super::tests::resolve_in, *};

const LINE: &str = "--node-id 1 --config f --linger 1s --cluster-token hush";
const FILE: &str = "[cluster]\njoin = [\"a:1\", \"b:2\"]";

fn settings() -> Settings {
    resolve_in(LINE, &[("CREMA_ZONE", "z")], FILE).expect("sound")
}

#[test]
fn the_table_says_what_holds_and_where_it_comes_from() {
    let table = table(&settings());
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("ok"));
    let rows: Vec<Vec<&str>> =
        lines.map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    for wanted in [
        ["setting", "value", "from"],
        ["node.linger", "1s", "flag"],
        ["node.zone", "z", "environment"],
        ["node.host_name", "\"\"", "default"],
        ["node.workers", "(half the cores)", "default"],
        ["cluster.join", "a:1,b:2", "file"],
        ["cluster.discovery", "-", "default"],
        ["cluster.bootstrap", "false", "default"],
        ["doors.cluster_token", "***", "flag"],
        ["storage.storage", "memory", "default"],
    ] {
        assert!(rows.iter().any(|row| *row == wanted), "{wanted:?}\n{table}");
    }
    assert_eq!(
        rows.len(),
        2 + super::super::catalogue::catalogue().len(),
        "a blank line, the header and all settings"
    );
}

#[test]
fn programs_read_the_same() {
    let answer = json(Ok(&settings()));
    assert_eq!((&answer["ok"], &answer["file"]), (&json!(true), &json!("f")));
    let list = answer["settings"].as_array().expect("a list");
    let find = |key: &str| list.iter().find(|setting| setting["key"] == key).expect("a setting").clone();
    let linger = json!({ "key": "node.linger", "flag": "--linger", "variable": "CREMA_LINGER", "value": "1s", "from": "flag" });
    assert_eq!(find("node.linger"), linger);
    assert_eq!(find("node.workers")["value"], Value::Null);

    let problems = resolve_in("--bootstrap", &[], "").expect_err("no number");
    let error = json!({ "where": "--node-id", "error": "missing; a node can't be started without it" });
    assert_eq!(json(Err(&problems)), json!({ "ok": false, "errors": [error] }));
}

#[test]
fn no_secret_is_printed() {
    let settings = settings();
    assert!(!table(&settings).contains("hush") && !json(Ok(&settings)).to_string().contains("hush"));
}
