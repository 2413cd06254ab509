//! Clients that do what they should not: a precise error, and the node lives on.

use std::io;

use crema_tests::{
    cluster::Cluster,
    load::connect,
    wait_for,
    wire::{Raw, command},
};

/// The node still answers others, fully.
fn assert_well(cluster: &Cluster) {
    for addr in cluster.resp() {
        let mut connection = connect(addr).expect("a further client");
        let set: String = redis::cmd("SET").arg("well").arg("1").query(&mut connection).expect("a write");
        assert_eq!(set, "OK");
    }
}

#[test]
fn malformed_input_is_answered_as_redis_does() {
    let cluster = Cluster::start("malformed", 1, &[]);
    for (input, answer) in [
        ("*abc\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*2\r\n$3\r\nGET\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"),
        ("*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*1\r\n$99999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("SET \"a b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        let mut raw = Raw::open(cluster.resp()[0]);
        raw.send(input.as_bytes()).expect("send");
        assert_eq!(String::from_utf8_lossy(&raw.read_to_end()), answer, "{input:?}");
    }
    // Bytes of any kind: an answer or an end, never a stuck or dead node.
    for seed in 0..50_u64 {
        let noise: Vec<u8> = (0..2000).map(|at| (((seed + 1) * (at + 7) * 2_654_435_761) >> 13) as u8).collect();
        let mut raw = Raw::open(cluster.resp()[0]);
        if let Err(error) = raw.send(&noise) {
            assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "noise {seed} is stuck");
        }
    }
    assert_well(&cluster);
}

#[test]
fn errors_leave_the_connection_alive() {
    let cluster = Cluster::start("errors", 1, &[]);
    let mut raw = Raw::open(cluster.resp()[0]);
    for (words, answer) in [
        (&["NOSUCH", "a"][..], "-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n"),
        (&["GET"], "-ERR wrong number of arguments for 'get' command\r\n"),
        (&["SET", "a", "1", "NOSUCH"], "-ERR syntax error\r\n"),
        (&["INCRBY", "a", "x"], "-ERR value is not an integer or out of range\r\n"),
        (&["PING"], "+PONG\r\n"),
    ] {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        raw.send(&command(&words)).expect("send");
        let got = raw.read_until(b"\r\n");
        assert_eq!(String::from_utf8_lossy(&got), answer);
    }
}

#[test]
fn client_that_never_reads_is_cut_off() {
    let cluster = Cluster::start("deaf", 1, &["--write-timeout-s", "1"]);
    let value = vec![b'x'; 1024 * 1024];
    let mut writer = connect(cluster.resp()[0]).expect("connect");
    let set: String = redis::cmd("SET").arg("big").arg(&value).query(&mut writer).expect("a write");
    assert_eq!(set, "OK");

    // 256 replies of 1 MiB fit in no socket's buffer, so the node's writes to us come to a stand.
    let mut deaf = Raw::open(cluster.resp()[0]);
    deaf.send(&command(&[b"GET", b"big"]).repeat(256)).expect("send");
    let error = wait_for("the node to cut the client off", || deaf.send(b"PING\r\n").err());
    let cut = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    assert!(cut.contains(&error.kind()), "{error}");
    assert_well(&cluster);
}

#[test]
fn too_many_connections_are_refused() {
    let cluster = Cluster::start("crowd", 1, &["--max-clients", "10"]);
    let mut held: Vec<Raw> = (0..10).map(|_| Raw::open(cluster.resp()[0])).collect();
    for raw in &mut held {
        raw.send(b"PING\r\n").expect("send");
        assert_eq!(raw.read_until(b"\r\n"), b"+PONG\r\n");
    }
    let refusal = Raw::open(cluster.resp()[0]).read_to_end();
    assert_eq!(String::from_utf8_lossy(&refusal), "-ERR max number of clients reached\r\n");
    drop(held);
    wait_for("room for a client", || {
        let mut connection = connect(cluster.resp()[0]).ok()?;
        redis::cmd("PING").query::<String>(&mut connection).ok()
    });
}

#[test]
fn over_long_keys_and_values_are_refused() {
    let cluster = Cluster::start("long", 1, &[]);
    let mut connection = connect(cluster.resp()[0]).expect("connect");
    let key = vec![b'k'; 64 * 1024 + 1];
    let value = vec![b'v'; 8 * 1024 * 1024 + 1];
    let long_key = redis::cmd("SET").arg(&key).arg("1").query::<String>(&mut connection).expect_err("a long key");
    let long_value =
        redis::cmd("SET").arg("a").arg(&value).query::<String>(&mut connection).expect_err("a long value");
    for error in [long_key, long_value] {
        assert!(!error.is_io_error(), "the connection should live on: {error}");
    }
    let size: u64 = redis::cmd("DBSIZE").query(&mut connection).expect("the same connection");
    assert_eq!(size, 0, "nothing was applied");
}
