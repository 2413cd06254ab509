//! Bad flags: a clear error on standard error, an exit code, and no panic.

use std::net::TcpListener;

use crema_tests::{cluster::free_port, process::run};

/// A complete `start` with some flags replaced.
fn start(replaced: &[(&str, &str)]) -> Vec<String> {
    let peers = [1, 2, 3].map(|id| (id, format!("127.0.0.1:{}", free_port())));
    let list = peers.iter().map(|(id, addr)| format!("{id}={addr}")).collect::<Vec<_>>().join(",");
    let mut flags = vec![
        ("--node-id", "1".to_owned()),
        ("--peer-addr", peers[0].1.clone()),
        ("--resp-addr", format!("127.0.0.1:{}", free_port())),
        ("--http-addr", format!("127.0.0.1:{}", free_port())),
        ("--peers", list),
        ("--shards", "16".to_owned()),
        ("--replication", "3".to_owned()),
    ];
    for (flag, value) in replaced {
        let known = flags.iter_mut().find(|(name, _)| name == flag).unwrap_or_else(|| panic!("no flag {flag}"));
        known.1 = (*value).to_owned();
    }
    let words = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    ["start".to_owned()].into_iter().chain(words).collect()
}

fn assert_error(args: &[String], about: &str) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = run("crema-node", &args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{args:?} was taken");
    assert!(text.contains(about), "{args:?} should say something of '{about}': {text}");
    assert!(!text.contains("panicked"), "{args:?}: {text}");
}

#[test]
fn bad_flags_are_named() {
    for (flag, value, about) in [
        ("--node-id", "0", "node-id"),
        ("--node-id", "x", "node-id"),
        ("--node-id", "9", "9"),
        ("--peer-addr", "nowhere", "peer-addr"),
        ("--resp-addr", "127.0.0.1:99999", "resp-addr"),
        ("--http-addr", "", "http-addr"),
        ("--peers", "", "peers"),
        ("--peers", "1=127.0.0.1:7001,2", "peers"),
        ("--peers", "1=127.0.0.1:7001,1=127.0.0.1:7002,3=127.0.0.1:7003", "peers"),
        ("--peers", "1=127.0.0.1:7001,2=127.0.0.1:7001,3=127.0.0.1:7003", "peers"),
        ("--shards", "0", "shards"),
        ("--shards", "20000", "shards"),
        ("--replication", "0", "replication"),
        ("--replication", "5", "replication"),
    ] {
        assert_error(&start(&[(flag, value)]), about);
    }
}

#[test]
fn unknown_flags_and_verbs_are_named() {
    for (line, about) in [
        ("no-such-verb", "no-such-verb"),
        ("start --no-such-flag", "--no-such-flag"),
        ("start", "node-id"),
        ("start --node-id 1", "--peers"),
        ("start --node-id 1 --bootstrap --join 127.0.0.1:7001", "--bootstrap"),
        ("start --node-id 1 --bootstrap --discovery dns:crema.test", "--discovery"),
        ("start --node-id 1 --peers 1=127.0.0.1:7001 --discovery dns:crema.test", "exclude each other"),
        ("start --node-id 1 --discovery crema.test", "dns:NAME"),
        ("start --node-id 1 --bootstrap --dns-server 127.0.0.1:53", "--discovery"),
        ("start --node-id 1 --discovery dns:crema.test --dns-server nowhere", "--dns-server"),
        ("start --node-id 1 --join nowhere", "--join"),
        ("start --node-id 1 --bootstrap --linger 3", "--linger"),
        ("start --node-id 1 --bootstrap --linger 26s", "--shutdown-timeout"),
        ("start --node-id 1 --bootstrap --peer-addr 0.0.0.0:7000", "--advertise-addr"),
        ("dev --nodes 0", "nodes"),
        ("dev --shards 0", "shards"),
        ("dev --port 70000", "port"),
    ] {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_error(&args, about);
    }
}

#[test]
fn taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("its address").to_string();
    for flag in ["--resp-addr", "--http-addr"] {
        assert_error(&start(&[(flag, &addr)]), &addr);
    }
}

/// The file that the README shows.
fn readme_settings() -> String {
    let readme = include_str!("../../../README.md");
    let block = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("a config file in the README").to_owned()
}

#[test]
fn settings_are_checked_before_a_start() {
    let file = std::env::temp_dir().join(format!("crema-settings-{}.toml", std::process::id()));
    let path = file.to_str().expect("a path of text");
    let check = |text: &str, further: &[&str]| {
        std::fs::write(&file, text).expect("write the file");
        let output = run("crema-node", &[&["config", "check", "--config", path, "-o", "json"], further].concat());
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["ok"], output.status.success(), "{answer}");
        answer
    };
    let sound = readme_settings();
    let answer = check(&sound, &["--node-id", "2"]);
    assert_eq!(answer["ok"], true, "{answer}");
    let setting = |key: &str| {
        let settings = answer["settings"].as_array().expect("a list");
        let found = settings.iter().find(|setting| setting["key"] == key);
        found.map(|setting| (setting["value"].clone(), setting["from"].clone()))
    };
    let is = |value: &str, from: &str| Some((value.into(), from.into()));
    assert_eq!(setting("node.node_id"), is("2", "flag"), "a flag comes before the file: {answer}");
    assert_eq!(setting("storage.data_dir"), is("data", "file"), "{answer}");

    for (from, to, about) in [
        ("data_dir", "data_dri", "data_dri"),
        ("\"rocksdb\"", "\"tape\"", "tape"),
        ("data_dir = \"data\"", "", "data-dir"),
        ("\"30m\"", "30", "checkpoint_interval"),
    ] {
        let answer = check(&sound.replace(from, to), &[]);
        assert_eq!(answer["ok"], false, "{to:?} was taken");
        assert!(answer.to_string().contains(about), "{to:?} should say something of {about}: {answer}");
    }
    std::fs::remove_file(&file).expect("remove the file");
}
