//! The examples of the library, as the README tells people to run them.

use std::path::PathBuf;

use crema_tests::process::Process;

fn start(name: &str, args: &[String]) -> Process {
    let file = format!("crema-example-{name}{}-{}.log", args.concat(), std::process::id());
    let output: PathBuf = std::env::temp_dir().join(file);
    Process::start_example(name, args, &output)
}

// Both use the port that the examples name, so they run one after the other.
#[test]
fn examples_run_to_their_end() {
    let mut basic = start("basic", &[]);
    let status = basic.wait_exit();
    let output = basic.output();
    assert!(status.success(), "{status}: {output}");
    assert!(output.contains("linearizable read: Some"), "{output}");
    assert!(output.contains("afterwards:        None"), "{output}");

    let mut nodes: Vec<(u64, Process)> = (1..=3).map(|id| (id, start("cluster", &[id.to_string()]))).collect();
    for (id, node) in &mut nodes {
        let status = node.wait_exit();
        let output = node.output();
        assert!(status.success(), "node {id}: {status}: {output}");
        for other in 1..=3 {
            assert!(output.contains(&format!("node {id} reads hello:{other}")), "node {id}: {output}");
        }
    }
}
