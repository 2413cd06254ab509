//! The examples of the library, as the README tells people to run them.

use std::path::PathBuf;

use crema_tests::{
    process::{Process, Signal},
    wait_for,
};

fn start(name: &str, args: &[String]) -> Process {
    let file = format!("crema-example-{name}{}-{}.log", args.concat(), std::process::id());
    let output: PathBuf = std::env::temp_dir().join(file);
    Process::start_example(name, args, &output)
}

fn says(node: &mut Process, words: &str) {
    wait_for(&format!("{words:?}"), || {
        assert!(node.is_running(), "it ended: {}", node.output());
        node.output().contains(words).then_some(())
    });
}

#[test]
fn nodes_find_each_other_by_gossip() {
    let mut nodes: Vec<(u64, Process)> = (1..=3).map(|id| (id, start("auto-discovery", &[id.to_string()]))).collect();
    for (id, node) in &mut nodes {
        for other in 1..=3 {
            says(node, &format!("node {id} reads hello:{other}"));
        }
    }
    // It knows nobody's address but one for gossip.
    nodes.push((4, start("auto-discovery", &["4".to_owned()])));
    for (id, node) in &mut nodes {
        says(node, &format!("node {id} has a replica of"));
    }
    for (id, node) in nodes.iter_mut().rev() {
        node.signal(Signal::Int);
        let status = node.wait_exit();
        assert!(status.success(), "node {id}: {status}: {}", node.output());
    }
}

#[test]
fn many_shards_in_one_process() {
    let mut example = start("multiraft-cluster", &[]);
    let status = example.wait_exit();
    let output = example.output();
    assert!(status.success(), "{status}: {output}");
    for name in ["Alice", "Bob", "Carol"] {
        assert!(output.contains(&format!("user:{name} is in shard")), "{output}");
    }
    assert!(output.contains("16 of 16 shards are active"), "{output}");
}

#[test]
fn checkpoints_of_a_state_machine() {
    let mut example = start("checkpointing", &[]);
    let status = example.wait_exit();
    let output = example.output();
    assert!(status.success(), "{status}: {output}");
    for line in ["has the same state hash: true", "is damaged", "recovery takes the older one, up to 20000;"] {
        assert!(output.contains(line), "{line:?} is not in {output}");
    }
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
