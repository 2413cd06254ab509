//! The whole door over loopback connections, in front of plain machines.

mod cluster;
mod executor;
mod script;
mod transactions;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use self::{
    executor::{MachineExecutor, SHARDS},
    script::{array, exchange},
};
use super::*;
use crate::{error::Error, types::MAX_VALUE_BYTES};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Door {
    address: SocketAddr,
    executor: MachineExecutor,
    stats: Arc<RespStats>,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Door {
    async fn open() -> Self {
        Self::with(RespConfig::default()).await
    }

    async fn with(config: RespConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (executor, stats, stop) = (MachineExecutor::new(), Arc::default(), CancellationToken::new());
        let served = serve(listener, executor.clone(), config, Arc::clone(&stats), stop.clone());
        Self { address, executor, stats, stop, task: tokio::spawn(served) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The reply to one command on a connection of its own.
    async fn ask(&self, command: &str) -> String {
        ask(&mut self.connect().await, command).await
    }

    async fn wait_until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let met = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, met).await.expect("the condition is met in time");
    }
}

async fn ask(stream: &mut TcpStream, command: &str) -> String {
    let answered = tokio::time::timeout(PATIENCE, exchange(stream, &array(command))).await;
    String::from_utf8(answered.expect("an answer in time").0).unwrap()
}

#[tokio::test]
async fn golden_scripts() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/resp/golden");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut wrong = String::new();
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        let door = Door::open().await;
        let transcript = script::run(&expected, door.address, &door.executor).await;
        if std::env::var_os("CREMA_REWRITE").is_some() {
            std::fs::write(&path, &transcript).unwrap();
        }
        for (line, (expected, came)) in expected.lines().zip(transcript.lines()).enumerate() {
            if expected != came {
                wrong.push_str(&format!(
                    "{}:{}\n  expected {expected}\n  came     {came}\n",
                    path.display(),
                    line + 1
                ));
                break;
            }
        }
        assert!(!wrong.is_empty() || expected.lines().count() == transcript.lines().count(), "{}", path.display());
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Prints where a real Redis answers otherwise: `CREMA_REDIS=host:port cargo test -p crema --lib redis -- --ignored
/// --nocapture`. Some differences are meant; a person judges.
#[tokio::test]
#[ignore = "needs a Redis server, which it flushes"]
async fn compare_with_a_real_redis() {
    let redis: SocketAddr = std::env::var("CREMA_REDIS").unwrap().parse().unwrap();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/resp/golden");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        exchange(&mut TcpStream::connect(redis).await.unwrap(), &array("FLUSHALL")).await;
        let expected = std::fs::read_to_string(&path).unwrap();
        let transcript = script::run(&expected, redis, &MachineExecutor::new()).await;
        let mut directive = "";
        for (ours, redis) in expected.lines().zip(transcript.lines()) {
            if ours.starts_with(['>', 'r']) {
                directive = ours;
            }
            if ours != redis {
                println!("{}: {directive}\n  ours  {ours}\n  redis {redis}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn a_deep_pipeline_keeps_its_order() {
    const COMMANDS: usize = 10_000;
    let door = Door::open().await;
    let mut stream = door.connect().await;
    let mut input = Vec::new();
    let mut expected = String::new();
    for number in 0..COMMANDS {
        input.extend_from_slice(&array(&format!("SET key:{} {number}", number % 97)));
        input.extend_from_slice(&array(&format!("GET key:{}", number % 97)));
        let text = number.to_string();
        expected.push_str(&format!("+OK\r\n${}\r\n{text}\r\n", text.len()));
    }
    let (reader, mut writer) = stream.split();
    let mut reply = Vec::new();
    let mut reader = reader.take(expected.len() as u64);
    let (written, read) = tokio::join!(writer.write_all(&input), reader.read_to_end(&mut reply));
    written.unwrap();
    read.unwrap();
    assert_eq!(String::from_utf8(reply).unwrap(), expected);
    assert!(door.executor.calls() < COMMANDS, "commands share calls");
    let calls = door.stats.commands();
    assert_eq!(
        calls.iter().map(|stats| (stats.name, stats.calls)).collect::<Vec<_>>(),
        [("get", COMMANDS as u64), ("set", COMMANDS as u64)]
    );
}

#[tokio::test]
async fn large_values_and_what_is_too_large() {
    let door = Door::open().await;
    let mut stream = door.connect().await;
    let set = |bytes: usize| {
        let mut input = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${bytes}\r\n").into_bytes();
        input.resize(input.len() + bytes, b'x');
        input.extend_from_slice(b"\r\n");
        input
    };
    assert_eq!(exchange(&mut stream, &set(MAX_VALUE_BYTES)).await.0, b"+OK\r\n");
    assert_eq!(ask(&mut stream, "STRLEN k").await, format!(":{MAX_VALUE_BYTES}\r\n"));
    let refused = exchange(&mut stream, &set(MAX_VALUE_BYTES + 1)).await;
    assert_eq!(refused, (b"-ERR value is too long: 8388609 bytes, the limit is 8388608\r\n".to_vec(), true));
    let key = "k".repeat(65_537);
    assert_eq!(
        ask(&mut stream, &format!("SET {key} v")).await,
        "-ERR key is too long: 65537 bytes, the limit is 65536\r\n"
    );
    assert_eq!(ask(&mut stream, &format!("SET {} v", &key[1..])).await, "+OK\r\n");
    let many = format!("MGET{}", " k".repeat(9));
    assert!(ask(&mut stream, &many).await.starts_with("-ERR reply is too large: "));
    assert_eq!(ask(&mut stream, "DBSIZE").await, ":2\r\n");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let door = Door::with(RespConfig { write_timeout: Duration::from_millis(100), ..RespConfig::default() }).await;
    let value = "x".repeat(1024 * 1024);
    assert_eq!(door.ask(&format!("SET k {value}")).await, "+OK\r\n");
    let mut stream = door.connect().await;
    // 256 MiB of replies: more than the buffers of any socket.
    stream.write_all(&array("GET k").repeat(256)).await.unwrap();
    door.wait_until(|door| door.stats.connections_cut_off() == 1).await;
    assert_eq!(door.ask("PING").await, "+PONG\r\n");
}

#[tokio::test]
async fn too_many_connections_are_refused() {
    let door = Door::with(RespConfig { max_clients: 2, ..RespConfig::default() }).await;
    let (mut first, mut second) = (door.connect().await, door.connect().await);
    assert_eq!(ask(&mut first, "PING").await, "+PONG\r\n");
    assert_eq!(ask(&mut second, "PING").await, "+PONG\r\n");
    let mut reply = Vec::new();
    door.connect().await.read_to_end(&mut reply).await.unwrap();
    assert_eq!(reply, b"-ERR max number of clients reached\r\n");
    drop(second);
    door.wait_until(|door| door.stats.connected() == 1).await;
    let mut answered = false;
    while !answered {
        // The place is free when the task behind it has ended.
        answered = door.ask("PING").await == "+PONG\r\n";
    }
}

#[tokio::test]
async fn a_stop_finishes_the_pipeline() {
    let door = Door::open().await;
    let mut stream = door.connect().await;
    assert_eq!(ask(&mut stream, "PING").await, "+PONG\r\n");
    let held = door.executor.gate.forget_permits(usize::MAX);
    stream.write_all(&array("INCR n").repeat(3000)).await.unwrap();
    stream.write_all(&array("GET n")[..10]).await.unwrap();
    door.wait_until(|door| door.stats.bytes_in() > 1000).await;
    door.stop.cancel();
    door.executor.gate.add_permits(held);
    stream.write_all(&array("GET n")[10..]).await.unwrap();
    let mut reply = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await.unwrap().unwrap();
    assert!(reply.ends_with(b":3000\r\n$4\r\n3000\r\n"), "every reply, then the end");
    drop(stream);
    tokio::time::timeout(PATIENCE, door.task).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(door.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn readonly_reads_locally_and_not_ahead_of_writes() {
    let door = Door::open().await;
    let mut stream = door.connect().await;
    assert_eq!(ask(&mut stream, "SET k 1").await, "+OK\r\n");
    let calls = door.executor.calls();
    assert_eq!(ask(&mut stream, "READONLY").await, "+OK\r\n");
    assert_eq!(ask(&mut stream, "GET k").await, "$1\r\n1\r\n");
    assert_eq!(ask(&mut stream, "MGET k l").await, "*2\r\n$1\r\n1\r\n$-1\r\n");
    assert_eq!(ask(&mut stream, "SCAN 0").await, "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n");
    assert_eq!(door.executor.calls(), calls, "no read left this node");
    let pipeline = [array("SET k 2"), array("GET k")].concat();
    assert_eq!(exchange(&mut stream, &pipeline).await.0, b"+OK\r\n$1\r\n2\r\n");
    door.executor.move_away(door.executor.shard_of("k"));
    let (calls, reads) = (door.executor.calls(), door.executor.local_reads());
    assert_eq!(ask(&mut stream, "GET k").await, "$1\r\n2\r\n");
    assert_eq!((door.executor.calls(), door.executor.local_reads()), (calls + 1, reads));
    assert_eq!(ask(&mut stream, "READWRITE").await, "+OK\r\n");
    assert_eq!(ask(&mut stream, "GET k").await, "$1\r\n2\r\n");
    assert_eq!(door.executor.calls(), calls + 2);
}

#[tokio::test]
async fn a_door_may_begin_with_local_reads() {
    let door = Door::with(RespConfig { local_reads: true, ..RespConfig::default() }).await;
    let mut stream = door.connect().await;
    assert_eq!(ask(&mut stream, "SET k 1").await, "+OK\r\n");
    let reads = door.executor.local_reads();
    assert_eq!(ask(&mut stream, "GET k").await, "$1\r\n1\r\n");
    assert_eq!(door.executor.local_reads(), reads + 1);
    assert_eq!(ask(&mut stream, "READWRITE").await, "+OK\r\n");
    assert_eq!(ask(&mut stream, "GET k").await, "$1\r\n1\r\n");
    assert_eq!(door.executor.local_reads(), reads + 1);
    assert_eq!(ask(&mut stream, "RESET").await, "+RESET\r\n");
    assert_eq!(ask(&mut stream, "GET k").await, "$1\r\n1\r\n");
    assert_eq!(door.executor.local_reads(), reads + 2);
}

#[tokio::test]
async fn scan_finds_every_key_while_others_come_and_go() {
    let door = Door::open().await;
    let mut stream = door.connect().await;
    let mut expected: Vec<String> = (0..500).map(|number| format!("stays:{number}")).collect();
    for key in &expected {
        ask(&mut stream, &format!("SET {key} v")).await;
    }
    let (mut cursor, mut seen, mut steps) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let reply = ask(&mut stream, &format!("SCAN {cursor} COUNT 7 MATCH stays:*")).await;
        let mut words = reply.split("\r\n").filter(|word| !word.starts_with(['*', '$']) && !word.is_empty());
        cursor = words.next().unwrap().to_owned();
        seen.extend(words.map(str::to_owned));
        steps += 1;
        ask(&mut stream, &format!("SET goes:{steps} v")).await;
        ask(&mut stream, &format!("DEL goes:{}", steps / 2)).await;
        if cursor == "0" {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    expected.sort();
    assert_eq!(seen, expected);
    assert!(steps > 500 / 20, "in steps of about COUNT: {steps}");
}

#[tokio::test]
async fn errors_say_what_a_client_may_do() {
    let door = Door::open().await;
    let cases = [
        (Error::Unavailable { reason: "no leader".into() }, "-CLUSTERDOWN unavailable: no leader\r\n"),
        (Error::Busy { what: "mailbox" }, "-TRYAGAIN busy: mailbox is full\r\n"),
        (Error::ShuttingDown, "-LOADING this node is shutting down\r\n"),
        (Error::Invalid { field: "batch", reason: "too\r\nlong".into() }, "-ERR invalid batch: too  long\r\n"),
        (
            Error::OutcomeUnknown { reason: "timeout".into(), index: None },
            "-OUTCOMEUNKNOWN outcome unknown: the write may or may not have happened (timeout)\r\n",
        ),
    ];
    for (error, expected) in cases {
        (0..SHARDS).for_each(|shard| door.executor.fail(shard, error.clone()));
        assert_eq!(door.ask("SET k v").await, expected);
        assert_eq!(door.ask("DEL k").await.split(' ').next(), expected.split(' ').next());
        assert_eq!(door.ask("DBSIZE").await, expected);
    }
    assert!(door.ask("INFO").await.contains("# Keyspace\r\n"), "INFO answers whatever the shards do");
}

#[tokio::test]
async fn a_write_that_half_happened_is_not_to_be_tried_again() {
    let door = Door::open().await;
    let other = (0..).map(|number| format!("k{number}")).find(|key| door.executor.shard_of(key) != 0).unwrap();
    let lost = (0..).map(|number| format!("k{number}")).find(|key| door.executor.shard_of(key) == 0).unwrap();
    door.executor.fail(0, Error::Busy { what: "mailbox" });
    let reply = door.ask(&format!("MSET {other} 1 {lost} 2")).await;
    assert!(reply.starts_with("-OUTCOMEUNKNOWN a part of the keys"), "{reply}");
    assert_eq!(door.ask(&format!("GET {other}")).await, "$1\r\n1\r\n");
    assert!(door.ask(&format!("MSET {lost} 2")).await.starts_with("-TRYAGAIN"));
}

#[tokio::test]
async fn info_and_client_list_tell_the_truth() {
    let door = Door::open().await;
    let mut stream = door.connect().await;
    for command in ["SET a 1", "SET b 1", "CLIENT SETNAME me", "CLIENT SETINFO lib-name lib", "GET a b", "nonsense"] {
        ask(&mut stream, command).await;
    }
    let info = ask(&mut stream, "INFO").await;
    for line in
        ["connected_clients:1", "db0:keys=2,expires=0,avg_ttl=0", "cluster_enabled:0", "crema_shards:4", "loading:0"]
    {
        assert!(info.lines().any(|found| found == line), "{line} in {info}");
    }
    assert!(!ask(&mut stream, "INFO server").await.contains("connected_clients"));
    let list = ask(&mut stream, "CLIENT LIST").await;
    assert!(list.contains(" name=me ") && list.contains(" lib-name=lib ") && list.contains(" resp=2"), "{list}");
    let get = door.stats.commands().into_iter().find(|stats| stats.name == "get").unwrap();
    assert_eq!((get.calls, get.errors), (1, 1));
    assert_eq!(door.stats.unknown_commands(), 1);
    ask(&mut stream, "QUIT").await;
    door.wait_until(|door| door.stats.connected() == 0).await;
}

/// Words that reach deep into the handlers.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static str> = commands::all().iter().map(|spec| spec.name).collect();
    let options = vec![
        "EX",
        "PX",
        "EXAT",
        "PXAT",
        "NX",
        "XX",
        "GT",
        "LT",
        "GET",
        "KEEPTTL",
        "PERSIST",
        "MATCH",
        "COUNT",
        "TYPE",
        "AUTH",
        "SETNAME",
        "list",
        "info",
        "docs",
        "getkeys",
        "0",
        "-1",
        "1",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "a*[",
        "k",
        "1e308",
        "inf",
    ];
    prop_oneof![
        proptest::sample::select(known).prop_map(|word| word.as_bytes().to_vec()),
        proptest::sample::select(options).prop_map(|word| word.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..5),
    ]
}

proptest! {
    #[test]
    fn every_command_has_exactly_one_reply(
        lines in proptest::collection::vec(proptest::collection::vec(word(), 1..7), 1..20)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let executor = MachineExecutor::new();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let server = Arc::new(session::Server::new(RespConfig::default(), Arc::default(), address));
        let mut session = server.open(address, address);
        let map = multiraft_map(&executor);
        let mut batch = batch::Batch::default();
        for words in &lines {
            let mut text = bytes::BytesMut::new();
            text.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for word in words {
                text.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                text.extend_from_slice(word);
                text.extend_from_slice(b"\r\n");
            }
            let limits = framing::Limits { bulk_bytes: 1000, request_bytes: 10_000, words: 100 };
            match framing::Decoder::new(limits).next(&mut text) {
                Ok(Some(framing::Frame::Command(args))) => batch.plan(args, &mut session, &map, &executor),
                other => panic!("{other:?}"),
            }
        }
        let answers = runtime.block_on(batch.run(&executor, PATIENCE));
        prop_assert_eq!(answers.len(), lines.len());
        for answer in answers {
            let mut out = bytes::BytesMut::new();
            answer.reply.encode(answer.proto, &mut out);
            prop_assert!(out.ends_with(b"\r\n"));
            let internal = answer.reply == errors::unexpected_outcome();
            prop_assert!(!internal, "{:?}", lines);
        }
    }
}

fn multiraft_map(executor: &MachineExecutor) -> Arc<crate::partitioning::ShardMap> {
    crate::multiraft::execute::Executor::shard_map(executor)
}
