use std::collections::BTreeMap;

use crema::cache::{Entry, Storage};

use super::*;

/// Resolves a command line of `config check` in a world of these variables and this one file, `f`.
pub(super) fn resolve_in(line: &str, variables: &[(&str, &str)], source: &str) -> Result<Settings, Vec<Problem>> {
    let words = ["crema-node", "config", "check"].into_iter().chain(line.split_whitespace());
    let matches = command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    let matches = matches.subcommand_matches("config").and_then(|config| config.subcommand_matches("check"));
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let outside = Outside {
        variable: &|name| variables.get(name).map(OsString::from),
        file: &|path| match path.to_str() {
            Some("f") => Ok(source.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        },
    };
    resolve(matches.expect("the verb"), outside)
}

fn told(line: &str, variables: &[(&str, &str)], source: &str) -> String {
    match resolve_in(line, variables, source) {
        Ok(_) => "ok".to_owned(),
        Err(problems) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
    }
}

/// A node that needs nothing more.
const SOUND: &str = "--node-id 1 --bootstrap";

#[test]
fn the_command_line_is_sound() {
    command().debug_assert();
}

#[test]
fn the_help_shows_what_is_possible() {
    let mut command = command();
    let help = command.find_subcommand_mut("start").expect("start").render_long_help().to_string();
    for part in ["Storage:\n", "Storage: checkpoints:\n", "- rocksdb: On disk", "[env: CREMA_DATA_DIR"] {
        assert!(help.contains(part), "{part}\n{help}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default() {
    let file = "[node]\nlinger = \"3s\"";
    for (line, variables, source, seconds, place) in [
        ("--linger 1s --config f", &[("CREMA_LINGER", "2s")][..], file, 1, "flag"),
        ("--config f", &[("CREMA_LINGER", "2s")], file, 2, "environment"),
        ("--config f", &[], file, 3, "file"),
        ("", &[("CREMA_CONFIG", "f")], "[node]\nlinger = \"4s\"", 4, "file"),
        ("--linger 3s", &[], "", 3, "flag"),
        ("", &[], "", 3, "default"),
    ] {
        let settings = resolve_in(&format!("{SOUND} {line}"), variables, source).expect(line);
        assert_eq!(settings.start.node.linger.as_secs(), seconds, "{line}");
        let linger = settings.list.iter().find(|setting| setting.key.id() == "linger").expect("linger");
        assert_eq!(linger.place.word(), place, "{line}");
    }
}

#[test]
fn a_file_alone_is_enough() {
    let source = "[node]\nnode_id = 2\n[cluster]\npeers = [\"1=a:1\", \"2=b:2\"]\nshards = 8\n";
    let options = resolve_in("--config f", &[], source).expect("sound").options;
    let Entry::Listed(members) = options.entry else { panic!("{:?}", options.entry) };
    assert_eq!((members.len(), options.advertise.as_str(), options.spec.num_shards), (2, "b:2", 8));
    assert_eq!(options.storage, Storage::Memory);
    let listed =
        resolve_in("--peers 1=a:1,2=b:2 --peers 3=c:3", &[("CREMA_NODE_ID", "3")], "").expect("sound").options;
    assert_eq!(listed.first_members(), 3);
}

#[test]
fn clients_are_sent_where_others_reach_the_node() {
    let address = |line: &str| resolve_in(line, &[], "").expect(line).options.client_address;
    for (line, wanted) in [
        ("--node-id 1 --bootstrap", "127.0.0.1:6379"),
        (
            "--node-id 1 --bootstrap --peer-addr 0.0.0.0:7000 --advertise-addr db-1:7000 --resp-addr 0.0.0.0:1",
            "db-1:1",
        ),
        ("--node-id 2 --peers 1=a:1,2=[::1]:2 --resp-addr [::]:3 --resp-mode cluster", "[::1]:3"),
        ("--node-id 1 --bootstrap --resp-advertise-addr door:4", "door:4"),
        // Nobody is sent there.
        ("--node-id 1 --peers 1=0.0.0.0:1", ""),
    ] {
        assert_eq!(address(line), wanted, "{line}");
    }
    let told = told("--node-id 1 --peers 1=0.0.0.0:1 --resp-mode cluster", &[], "");
    let can_not = "clients can't reach this node at 0.0.0.0:6379; give a name or address and a port\n";
    assert_eq!(told, format!("--resp-advertise-addr: missing: {can_not}"));
    let told = self::told(&format!("{SOUND} --resp-advertise-addr 0.0.0.0:6379"), &[], "");
    assert_eq!(told, format!("--resp-advertise-addr: {can_not}"));
}

#[test]
fn a_pod_knows_its_number() {
    let options = resolve_in("--bootstrap", &[("CREMA_NODE_ID", "cache-2")], "").expect("sound").options;
    assert_eq!(options.node.0, 3);
}

#[test]
fn the_clock_is_as_it_is_set() {
    let source = "[raft]\ntick = \"100ms\"\nheartbeat_ticks = 5";
    let timings = resolve_in(&format!("{SOUND} --config f"), &[], source).expect("sound").options.timings;
    assert_eq!((timings.tick_ms, timings.election_ticks, timings.heartbeat_ticks), (100, 10, 5));
    let told = told(&format!("{SOUND} --heartbeat-ticks 6"), &[], "");
    assert_eq!(told, "--election-ticks: is 10; it must be at least twice --heartbeat-ticks (6)\n");
}

#[test]
fn a_switch_may_be_off() {
    let source = "[cluster]\nbootstrap = false\njoin = [\"a:1\"]";
    let options =
        resolve_in("--node-id 1 --config f", &[("CREMA_BOOTSTRAP", "false")], source).expect("sound").options;
    assert!(matches!(options.entry, Entry::Join(_)));
}

#[test]
fn what_does_not_fit_together_is_told_by_the_names_that_were_given() {
    for (line, variables, source, say) in [
        ("--bootstrap", &[][..], "", "--node-id: missing; a node can't be started without it\n"),
        (
            "--node-id 1 --bootstrap --config f",
            &[],
            "[cluster]\njoin = [\"a:1\"]",
            "f:2: cluster.join, --bootstrap: --peers, --join, --discovery and --bootstrap exclude each other; give one of \
             them\n",
        ),
        (
            "--node-id 9 --config f",
            &[],
            "[cluster]\npeers = [\"1=a:1\"]",
            "f:2: cluster.peers: it does not hold this node; add 9=host:port, or use --join\n",
        ),
        (
            SOUND,
            &[("CREMA_DNS_SERVER", "127.0.0.1:53")],
            "",
            "CREMA_DNS_SERVER: only --discovery asks it, and that is not given\n",
        ),
        (
            "--node-id 1 --bootstrap --linger 26s",
            &[],
            "",
            "--shutdown-timeout: is 30s; beyond --linger (26s) a stop takes up to 5s\n",
        ),
        (
            "--node-id 1 --bootstrap --peer-addr 0.0.0.0:7000",
            &[],
            "",
            "--advertise-addr: missing: others can't reach this node at 0.0.0.0:7000; give a name or address and a port\n",
        ),
        (
            "--node-id 1 --bootstrap --config f --data-dir d",
            &[("CREMA_WAL_BYTES", "1048576")],
            "[storage.checkpoints]\ncheckpoint_rate = 0",
            "--data-dir, CREMA_WAL_BYTES, f:2: storage.checkpoints.checkpoint_rate: of no use with the storage memory; give \
             --storage rocksdb, too\n",
        ),
        ("--node-id 1 --bootstrap --replication 2", &[], "", "--replication: REFUSED replication\n"),
        ("--node-id 1 --peers 1=a:1,1=b:2", &[], "", "--peers: REFUSED peers\n"),
    ] {
        let told = told(line, variables, source);
        match say.split_once("REFUSED ") {
            // The library's own words.
            Some((start, about)) => {
                assert!(told.starts_with(start) && told.contains(about.trim_end()), "{line}: {told}")
            }
            None => assert_eq!(told, say, "{line}"),
        }
    }
    let told = told("--node-id 1", &[], "");
    assert!(told.starts_with("how to find the cluster is not said: give --peers"), "{told}");
}

#[cfg(not(feature = "rocksdb"))]
#[test]
fn a_disk_in_a_build_without_one_is_refused() {
    let told = told("--node-id 1 --bootstrap --storage rocksdb --data-dir d", &[], "");
    assert_eq!(told, "--storage: this build has no RocksDB; build crema-node with --features rocksdb\n");
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_disk_has_its_settings_and_needs_a_directory() {
    let source = "[storage]\nstorage = \"rocksdb\"\nsync_writes = false";
    let options = resolve_in(&format!("{SOUND} --config f --data-dir d"), &[], source).expect("sound").options;
    let wanted = crema::cache::DiskOptions { sync_writes: false, ..crema::cache::DiskOptions::new("d") };
    assert_eq!(options.storage, Storage::Disk(wanted));
    let told = told(&format!("{SOUND} --config f"), &[], source);
    assert_eq!(told, "--data-dir: missing; with the storage rocksdb it says where the logs go\n");
}

#[test]
fn values_that_are_wrong_alone_are_told_wherever_they_are() {
    for (line, variables, say) in [
        (
            "--linger 3",
            &[][..],
            "--linger 3: \"3\" is no time; write a whole number with ms, s, m or h, as in 200ms, 3s or 1h\n",
        ),
        (
            "--resp-addr=",
            &[],
            "--resp-addr: \"\" is no address and port; write it as in 127.0.0.1:7000 or [::1]:7000\n",
        ),
        ("", &[("CREMA_EVICTION", "fifo")], "CREMA_EVICTION=fifo: write tiny-lfu or lru\n"),
        ("", &[("CREMA_WORKERS", "0")], "CREMA_WORKERS=0: 0 is not in 1..=64\n"),
        ("", &[("CREMA_BOOTSTRAP", "yes")], ""),
        ("--storage=rocksdb --data-dir=", &[], "--data-dir: it needs a value\n"),
    ] {
        let told = told(&format!("{SOUND} {line}"), variables, "");
        assert_eq!(told, if say.is_empty() { "ok" } else { say }, "{line}");
    }
    let told = told("--node-id 1", &[("CREMA_BOOTSTRAP", "yes")], "");
    assert_eq!(told, "CREMA_BOOTSTRAP=yes: write true or false\n");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let source = "[node]\nliner = \"1s\"\n[cluster]\nshards = 0\ndns_server = \"127.0.0.1:53\"\n";
    let told = told("--bootstrap --join a:1 --workers 0 --config f", &[("CREMA_RESP_ADDR", "x")], source);
    let lines: Vec<&str> = told.lines().collect();
    for (line, start) in lines.iter().zip([
        "f:2: node.liner",
        "f:4: cluster.shards = 0",
        "--node-id: missing",
        "--workers 0",
        "CREMA_RESP_ADDR=x",
        "--join, --bootstrap: --peers, --join",
        "f:5: cluster.dns_server",
    ]) {
        assert!(line.starts_with(start), "{start}\n{told}");
    }
    assert_eq!(lines.len(), 7, "{told}");
    // Whether this node is in a list is not asked while its number is wrong.
    let told = self::told("--node-id 0 --peers 7=a:1", &[], "");
    assert_eq!(told, "--node-id 0: a member has a whole number from 1 on\n");
}

#[test]
fn a_file_that_is_not_there_is_told_alone() {
    let told = told("--node-id x --config nowhere", &[], "");
    assert!(told.starts_with("nowhere: can't be read: ") && told.lines().count() == 1, "{told}");
}
