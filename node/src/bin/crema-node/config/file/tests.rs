use super::{
    super::{catalogue::catalogue, command::PRECEDENCE},
    *,
};

fn parse(source: &str) -> Result<(ConfigFile, Vec<Problem>), Vec<Problem>> {
    ConfigFile::parse(Path::new("f"), source, &catalogue())
}

fn problems(source: &str) -> String {
    let problems = parse(source).map_or_else(|problems| problems, |(_, problems)| problems);
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// Every key with a value, and the flag's text of it.
const WHOLE: &str = r#"
[node]
node_id = 7                     # 7
zone = "z1"                     # z1
zone_file = "zones"             # zones
host_name = "db-1"              # db-1
max_memory = 0x10               # 16
linger = "200ms"                # 200ms
shutdown_timeout = "1h"         # 1h
workers = 2                     # 2
[cluster]
peers = ["7=a:1", "8=b:2"]      # 7=a:1,8=b:2
join = ["a:1"]                  # a:1
discovery = "dns:crema"         # dns:crema
bootstrap = true                # true
dns_server = "127.0.0.1:53"     # 127.0.0.1:53
shards = 1_6                    # 16
replication = 3                 # 3
shard_max_entries = 18446744073709551615 # 18446744073709551615
shard_max_bytes = 0             # 0
eviction = "lru"                # lru
default_ttl_ms = 5              # 5
[doors]
peer_addr = "127.0.0.1:1"       # 127.0.0.1:1
advertise_addr = "a:1"          # a:1
resp_addr = "[::1]:2"           # [::1]:2
resp_advertise_addr = "b:2"     # b:2
resp_mode = "cluster"           # cluster
http_addr = "127.0.0.1:3"       # 127.0.0.1:3
cluster_token = "secret"        # secret
max_clients = 9                 # 9
write_timeout_s = 4             # 4
read_level = "local"            # local
[raft]
tick = "1s"                     # 1s
election_ticks = 20             # 20
heartbeat_ticks = 4             # 4
[storage]
storage = "rocksdb"             # rocksdb
data_dir = "some where"         # some where
sync_writes = false             # false
wal_bytes = 1048576             # 1048576
memtable_bytes = 65536          # 65536
[storage.checkpoints]
checkpoint_entries = 1          # 1
checkpoint_bytes = 2            # 2
checkpoint_interval = "off"     # off
checkpoint_compression = "off"  # off
checkpoint_rate = 0             # 0
[log]
log = "info,crema=debug"        # info,crema=debug
log_format = "json"             # json
"#;

#[test]
fn every_key_takes_a_value() {
    let (file, problems) = parse(WHOLE).expect("TOML");
    assert_eq!(problems, []);
    for key in catalogue() {
        let given = file.get(key.id()).unwrap_or_else(|| panic!("{} is not in the test's file", key.path()));
        let line = WHOLE.lines().nth(given.line - 1).expect("a line");
        assert!(line.starts_with(&format!("{} = ", key.name)), "{} at line {}", key.path(), given.line);
        assert_eq!(line.split("# ").nth(1), Some(given.text.as_str()), "{}", key.path());
    }
}

#[test]
fn what_people_are_shown_is_right() {
    let readme = include_str!("../../../../../../README.md");
    let of_readme = readme.split_once("```toml").and_then(|(_, rest)| rest.split_once("```")).expect("a sample").0;
    let of_help: String =
        PRECEDENCE.lines().filter(|line| line.starts_with("  ")).map(|line| format!("{line}\n")).collect();
    for sample in [of_readme, &of_help] {
        let (file, problems) = parse(sample).expect("TOML");
        assert_eq!(problems, []);
        assert!(file.values.len() >= 5, "{sample}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_what_would_be_right() {
    for (source, say) in [
        ("", ""),
        ("[node]\nliner = \"3s\"", "f:2: node.liner: there is no such key; is node.linger meant?\n"),
        ("[cluster]\nlinger = \"3s\"", "f:2: cluster.linger: there is no such key; linger belongs in [node]\n"),
        ("[sotrage]\nx = 1", "f:1: sotrage: there is no such key; is storage meant?\n"),
        ("storage = \"memory\"", "f:1: storage: there is no such key; storage belongs in [storage]\n"),
        ("[node]\nlinger = 3", "f:2: node.linger: is a whole number; write a text in quotes\n"),
        ("[node]\nnode_id = \"3\"", "f:2: node.node_id: is a text; write a whole number without quotes\n"),
        (
            "[node]\nnode_id = 1.5",
            "f:2: node.node_id: is a number with a fraction; write a whole number without quotes\n",
        ),
        ("[node.linger]\nx = 1", "f:1: node.linger: is a table; write a text in quotes\n"),
        (
            "[storage]\nsync_writes = \"yes\"",
            "f:2: storage.sync_writes: is a text; write true or false without quotes\n",
        ),
        ("[cluster]\njoin = \"a:1\"", "f:2: cluster.join: is a text; write a list of texts, as in [\"a\", \"b\"]\n"),
        (
            "[cluster]\njoin = [\"a:1,b:2\"]",
            "f:2: cluster.join: is a list; write a list of texts, as in [\"a\", \"b\"]\n",
        ),
        ("[node]\nworkers = 65", "f:2: node.workers = 65: 65 is not in 1..=64\n"),
        ("[node]\nmax_memory = -1", "f:2: node.max_memory = -1: write a whole number, 0 or more\n"),
        ("[cluster]\nshards = 20000", "f:2: cluster.shards = 20000: 20000 is not in 1..=16384\n"),
        ("[storage]\nstorage = \"disk\"", "f:2: storage.storage = \"disk\": write memory or rocksdb\n"),
        (
            "[doors]\nresp_addr = \"here\"",
            "f:2: doors.resp_addr = \"here\": \"here\" is no address and port; write it as in 127.0.0.1:7000 or [::1]:7000\n",
        ),
        (
            "[cluster]\njoin = [\"a:1\", \"b\"]",
            "f:2: cluster.join = [a:1,b]: \"b\" has no port; an address is written host:port\n",
        ),
    ] {
        assert_eq!(problems(source), say, "{source}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let told = problems("[node]\nlinger = 3\nworkers = 0\n[x]\n[cluster]\nshards = 0\n");
    assert_eq!(told.lines().count(), 4, "{told}");
    let told = problems("[node]\nlinger = \n[cluster]\nshards = \n");
    assert!(told.contains("f:2: ") && told.contains("f:4: "), "{told}");
}

#[test]
fn no_secret_gets_into_a_message() {
    for source in [
        "[doors]\ncluster_token = \"hush",
        "[doors]\ncluster_token = hush",
        "[doors]\ncluster_token = [\"hush\"]",
        "[doors]\ncluster_token = 'hush' x",
        "[doors]\ncluster_token = {hush = 'hush'}",
    ] {
        let told = problems(source);
        assert!(told.starts_with("f:2: ") && !told.contains("hush"), "{told}");
    }
}
