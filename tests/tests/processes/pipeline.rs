//! Deep pipelines keep their order, whatever shards they touch.

use std::thread;

use crema_tests::{
    cluster::Cluster,
    wire::{Raw, command},
};

const COMMANDS: usize = 10_000;

/// Sends everything from one thread and reads in another, as `redis-cli --pipe` does.
fn exchange(cluster: &Cluster, commands: Vec<u8>) -> Vec<u8> {
    let mut raw = Raw::open(cluster.resp()[0]);
    let mut sender = raw.another();
    let sending = thread::spawn(move || {
        sender.send(&commands)?;
        sender.send(&command(&[b"ECHO", b"end of pipe"]))
    });
    let answer = raw.read_until(b"end of pipe\r\n");
    sending.join().expect("the sender panicked").expect("send");
    answer
}

#[test]
fn ten_thousand_commands_on_one_key() {
    let cluster = Cluster::start("pipe-one", 3, &[]);
    let answer = exchange(&cluster, command(&[b"INCR", b"n"]).repeat(COMMANDS));
    let want: String = (1..=COMMANDS).map(|sum| format!(":{sum}\r\n")).collect();
    let got = String::from_utf8(answer).expect("text");
    assert!(got.starts_with(&want), "the sums are out of order");
}

#[test]
fn ten_thousand_commands_over_all_shards() {
    let cluster = Cluster::start("pipe-all", 3, &[]);
    let mut commands = Vec::new();
    let mut want = String::new();
    for number in 0..COMMANDS / 2 {
        let (key, value) = (format!("key:{}", number % 500), number.to_string());
        commands.extend(command(&[b"SET", key.as_bytes(), value.as_bytes()]));
        commands.extend(command(&[b"GET", key.as_bytes()]));
        want += &format!("+OK\r\n${}\r\n{value}\r\n", value.len());
    }
    let got = String::from_utf8(exchange(&cluster, commands)).expect("text");
    assert!(got.starts_with(&want), "the replies are out of order");
}
