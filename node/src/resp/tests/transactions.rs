//! Transactions of several connections, their bounds, and connections that end others.

use super::*;
use crate::resp::transaction::{MAX_QUEUED_BYTES, MAX_QUEUED_COMMANDS, MAX_WATCHED_KEYS};

/// The replies to commands that are sent at once.
async fn pipeline(stream: &mut TcpStream, commands: &[&str]) -> String {
    let input: Vec<u8> = commands.iter().flat_map(|command| array(command)).collect();
    let answered = tokio::time::timeout(PATIENCE, exchange(stream, &input)).await;
    String::from_utf8(answered.expect("an answer in time").0).unwrap()
}

#[tokio::test]
async fn a_change_by_another_connection_is_noticed() {
    let door = Door::open().await;
    let (mut one, mut other) = (door.connect().await, door.connect().await);
    assert_eq!(ask(&mut one, "WATCH {t}a {t}b").await, "+OK\r\n");
    assert_eq!(ask(&mut other, "SET {t}b theirs").await, "+OK\r\n");
    let answer = pipeline(&mut one, &["MULTI", "SET {t}a mine", "EXEC"]).await;
    assert_eq!(answer, "+OK\r\n+QUEUED\r\n*-1\r\n");
    assert_eq!(ask(&mut one, "MGET {t}a {t}b").await, "*2\r\n$-1\r\n$6\r\ntheirs\r\n");
    // What was watched is forgotten with the transaction.
    assert_eq!(ask(&mut other, "SET {t}b again").await, "+OK\r\n");
    assert_eq!(pipeline(&mut one, &["MULTI", "EXEC"]).await, "+OK\r\n*0\r\n");
}

#[tokio::test]
async fn watched_keys_are_read_at_the_leader_whatever_the_connection_reads() {
    let door = Door::open().await;
    let mut stream = door.connect().await;
    assert_eq!(ask(&mut stream, "READONLY").await, "+OK\r\n");
    assert_eq!(ask(&mut stream, "WATCH {t}a").await, "+OK\r\n");
    assert_eq!(ask(&mut stream, "GET {t}a").await, "$-1\r\n");
    assert_eq!(door.executor.local_reads(), 0);
    assert_eq!(ask(&mut stream, "UNWATCH").await, "+OK\r\n");
    assert_eq!(ask(&mut stream, "GET {t}a").await, "$-1\r\n");
    assert_eq!(door.executor.local_reads(), 1);
}

#[tokio::test]
async fn a_transaction_without_an_answer_says_so() {
    let door = Door::open().await;
    let mut stream = door.connect().await;
    door.executor.fail(door.executor.shard_of("{t}a"), Error::OutcomeUnknown { reason: "lost".into(), index: None });
    let answer = pipeline(&mut stream, &["MULTI", "SET {t}a 1", "EXEC"]).await;
    assert!(answer.starts_with("+OK\r\n+QUEUED\r\n-OUTCOMEUNKNOWN "), "{answer}");
}

#[tokio::test]
async fn what_is_queued_and_watched_is_bounded() {
    let door = Door::open().await;
    let mut stream = door.connect().await;
    let mut input = array("MULTI");
    for _ in 0..=MAX_QUEUED_COMMANDS {
        input.extend_from_slice(&array("INCR {t}n"));
    }
    input.extend_from_slice(&array("EXEC"));
    let answer = String::from_utf8(exchange(&mut stream, &input).await.0).unwrap();
    assert_eq!(answer.matches("+QUEUED\r\n").count(), MAX_QUEUED_COMMANDS);
    assert!(
        answer.contains("-ERR too many commands in a transaction: the limit is 10000\r\n-EXECABORT "),
        "{answer}"
    );
    assert_eq!(ask(&mut stream, "GET {t}n").await, "$-1\r\n");

    let large = format!("SET {{t}}a {}", "x".repeat(MAX_QUEUED_BYTES / 2));
    let answer = pipeline(&mut stream, &["MULTI", &large, &large, "EXEC"]).await;
    assert!(answer.starts_with("+OK\r\n+QUEUED\r\n-ERR transaction is too large: "), "{answer}");
    assert!(answer.contains("\r\n-EXECABORT "), "{answer}");
    assert_eq!(ask(&mut stream, "GET {t}a").await, "$-1\r\n");

    let keys: Vec<String> = (0..=MAX_WATCHED_KEYS).map(|number| format!("{{t}}{number}")).collect();
    let answer = ask(&mut stream, &format!("WATCH {}", keys.join(" "))).await;
    assert!(answer.starts_with("-ERR too many watched keys: "), "{answer}");
}

#[tokio::test]
async fn a_killed_connection_ends_and_a_silent_one_is_silent() {
    let door = Door::open().await;
    let (mut one, mut other) = (door.connect().await, door.connect().await);
    assert_eq!(ask(&mut one, "CLIENT ID").await, ":1\r\n");
    assert_eq!(ask(&mut other, "CLIENT KILL ID 1").await, ":1\r\n");
    assert_eq!(tokio::time::timeout(PATIENCE, one.read(&mut [0; 8])).await.expect("an end in time").unwrap(), 0);
    let pipeline =
        ["CLIENT REPLY OFF", "SET a 1", "NOSUCH", "CLIENT REPLY ON", "CLIENT REPLY SKIP", "GET a", "GET a"];
    let input: Vec<u8> = pipeline.iter().flat_map(|command| array(command)).collect();
    let answer = exchange(&mut other, &input).await.0;
    assert_eq!(String::from_utf8(answer).unwrap(), "+OK\r\n$1\r\n1\r\n");
}

#[tokio::test]
async fn a_search_in_a_pipeline_sees_nothing_of_what_is_behind_it() {
    let door = Door::open().await;
    let mut stream = door.connect().await;
    let pipeline = ["MSET a 1 b 2 c 3 d 4 e 5", "KEYS [a-e]", "FLUSHALL", "KEYS *"];
    let input: Vec<u8> = pipeline.iter().flat_map(|command| array(command)).collect();
    let answer = String::from_utf8(exchange(&mut stream, &input).await.0).unwrap();
    assert!(answer.starts_with("+OK\r\n*5\r\n") && answer.ends_with("+OK\r\n*0\r\n"), "{answer}");
}

#[tokio::test]
async fn a_slow_request_is_logged() {
    let door = Door::open().await;
    let (mut one, mut other) = (door.connect().await, door.connect().await);
    ask(&mut other, "SLOWLOG RESET").await;
    let held = door.executor.gate.forget_permits(usize::MAX >> 3);
    assert!(held > 0);
    let slow = tokio::spawn(async move { ask(&mut one, "SET k v").await });
    tokio::time::sleep(25 * crate::resp::slowlog::SLOWER_THAN).await;
    door.executor.gate.add_permits(held);
    assert_eq!(slow.await.unwrap(), "+OK\r\n");
    let log = ask(&mut other, "SLOWLOG GET").await;
    assert!(log.contains("$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"), "{log}");
}
