//! `crdgen [DIR]`: writes the definitions of Crema's custom resources as YAML, into the folder of this crate by default.
//!
//! A test fails while what is there is not what this would write.

use std::{fs, path::PathBuf};

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    for (name, text) in crema_crds::definitions()? {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
