//! `crema-node dev`: the demo cluster in one process.

use std::net::{Ipv4Addr, SocketAddr};

use crema_tests::{
    cluster::free_ports,
    load::connect,
    process::{Process, Signal},
    wait_for,
};

/// Three nodes, with free ports for all doors; RESP is from `port` on.
fn start(port: u16) -> Process {
    let (http, grpc) = (free_ports(3).to_string(), free_ports(3).to_string());
    let port = port.to_string();
    let flags = ["dev", "--nodes", "3", "--port", &port, "--http-port", &http, "--grpc-port", &grpc];
    let output = std::env::temp_dir().join(format!("crema-dev-{}.log", std::process::id()));
    Process::start("crema-node", &flags.map(str::to_owned), &output)
}

#[test]
fn demo_cluster_says_how_to_connect_and_stops_on_ctrl_c() {
    let port = free_ports(3);
    let mut process = start(port);
    for port in port..port + 3 {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let key = format!("key:{port}");
        wait_for("the demo cluster to take writes", || {
            assert!(process.is_running(), "it ended: {}", process.output());
            let mut connection = connect(addr).ok()?;
            redis::cmd("SET").arg(&key).arg(1).query::<String>(&mut connection).ok()
        });
        let mut connection = connect(addr).expect("connect");
        let sum: u64 = redis::cmd("INCR").arg(&key).query(&mut connection).expect("a counter");
        assert_eq!(sum, 2);
    }
    let output = process.output();
    assert!(output.contains(&format!("redis-cli -p {port}")), "it should say how to connect: {output}");
    process.signal(Signal::Int);
    let status = process.wait_exit();
    assert!(status.success(), "{status}: {}", process.output());
}
