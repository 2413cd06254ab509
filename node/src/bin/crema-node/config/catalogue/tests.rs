use std::collections::BTreeSet;

use super::{super::command::command, *};

/// Every key, and how a file writes it.
const KEYS: &str = "\
node.node_id Number
node.zone Text
node.zone_file Text
node.host_name Text
node.max_memory Number
node.linger Text
node.shutdown_timeout Text
node.workers Number
cluster.peers List
cluster.join List
cluster.discovery Text
cluster.bootstrap Switch
cluster.dns_server Text
cluster.shards Number
cluster.replication Number
cluster.shard_max_entries Number
cluster.shard_max_bytes Number
cluster.eviction Text
cluster.default_ttl_ms Number
doors.resp_mode Text
doors.peer_addr Text
doors.advertise_addr Text
doors.resp_addr Text
doors.resp_advertise_addr Text
doors.http_addr Text
doors.cluster_token Text
doors.max_clients Number
doors.write_timeout_s Number
doors.read_level Text
raft.tick Text
raft.election_ticks Number
raft.heartbeat_ticks Number
storage.storage Text
storage.data_dir Text
storage.sync_writes Switch
storage.wal_bytes Number
storage.memtable_bytes Number
storage.checkpoints.checkpoint_entries Number
storage.checkpoints.checkpoint_bytes Number
storage.checkpoints.checkpoint_interval Text
storage.checkpoints.checkpoint_compression Text
storage.checkpoints.checkpoint_rate Number
log.log Text
log.log_format Text
";

#[test]
fn the_keys_are_those_that_users_know() {
    let keys: String = catalogue().iter().map(|key| format!("{} {:?}\n", key.path(), key.kind)).collect();
    assert_eq!(keys, KEYS);
}

/// Nothing can be said on a command line of `start` or `config check` that no file can say, and the other way round.
#[test]
fn every_flag_has_a_key_and_every_key_a_flag() {
    let keys: BTreeSet<String> = catalogue().iter().map(Key::flag).collect();
    let command = command();
    let start = command.find_subcommand("start").expect("start");
    let check = command.find_subcommand("config").and_then(|config| config.find_subcommand("check")).expect("check");
    for (verb, own) in [(start, vec!["config"]), (check, vec!["config", "output"])] {
        let longs = verb.get_arguments().map(|arg| arg.get_long().expect("every flag has a long name"));
        let flags: BTreeSet<String> =
            longs.filter(|long| !own.contains(long)).map(|long| format!("--{long}")).collect();
        assert_eq!(flags, keys, "{}", verb.get_name());
    }
}

#[test]
fn every_name_follows_from_the_flag() {
    for key in catalogue() {
        assert!(!key.table.is_empty(), "{} needs a heading: it is its table", key.flag());
        assert_eq!(key.variable().map(str::to_owned), Some(format!("CREMA_{}", key.name.to_uppercase())));
        assert_eq!(key.flag(), format!("--{}", key.name.replace('_', "-")));
    }
}

#[test]
fn only_the_token_is_a_secret() {
    let secret: Vec<String> = catalogue().iter().filter(|key| key.shown("x") != "x").map(Key::path).collect();
    assert_eq!(secret, ["doors.cluster_token"]);
}

#[test]
fn defaults_that_only_the_node_knows_are_told() {
    let hint = |path: &str| catalogue().iter().find(|key| key.path() == path).and_then(Key::hint);
    assert_eq!(hint("node.workers").as_deref(), Some("half the cores"));
    assert_eq!(hint("doors.cluster_token"), None);
}
