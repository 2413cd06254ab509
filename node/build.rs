//! Compiles what `cremactl bench` says to an etcd, with a compiler written in Rust; no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FOLDER: &str = "src/bin/cremactl/bench";
    let set = protox::compile(["etcd.proto"], [FOLDER])?;
    tonic_prost_build::configure().bytes(".").build_server(false).compile_fds(set)?;
    println!("cargo:rerun-if-changed={FOLDER}/etcd.proto");
    Ok(())
}
