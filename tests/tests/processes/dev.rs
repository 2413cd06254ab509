//! `crema-node dev`: the demo cluster in one process.

use crema_tests::{dev::Dev, load::connect, process::Signal, wait_for};

#[test]
fn demo_cluster_says_how_to_connect_and_stops_on_ctrl_c() {
    let mut dev = Dev::start("dev", &[]);
    for addr in dev.resp() {
        let key = format!("key:{addr}");
        wait_for("the demo cluster to take writes", || {
            assert!(dev.process.is_running(), "it ended: {}", dev.process.output());
            let mut connection = connect(addr).ok()?;
            redis::cmd("SET").arg(&key).arg(1).query::<String>(&mut connection).ok()
        });
        let mut connection = connect(addr).expect("connect");
        let sum: u64 = redis::cmd("INCR").arg(&key).query(&mut connection).expect("a counter");
        assert_eq!(sum, 2);
    }
    let output = dev.process.output();
    assert!(output.contains(&format!("redis-cli -p {}", dev.resp_port)), "it should say how to connect: {output}");
    dev.process.signal(Signal::Int);
    let status = dev.process.wait_exit();
    assert!(status.success(), "{status}: {}", dev.process.output());
}
