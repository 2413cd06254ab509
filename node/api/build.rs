//! Compiles the protobuf files with a compiler written in Rust; no `protoc` is needed.

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["peer", "log", "cache", "admin"].map(|name| format!("proto/crema/v1/{name}.proto"));
    let set = protox::compile(files.iter().filter(|f| std::path::Path::new(f).exists()), ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("crema_descriptor.bin"), set.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(set)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
