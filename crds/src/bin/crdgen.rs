//! `crdgen [DIR...]`: writes the definitions of Crema's custom resources as YAML. By default into the folder of this crate,
//! and into the Helm chart: Helm reads nothing that is outside of a chart.
//!
//! Tests fail while what is there is not what this would write.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Where the chart has them, from the folder of this crate.
const CHART: &str = "../charts/crema/files/crds";

fn main() -> anyhow::Result<()> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        folders = vec![ours.to_owned(), ours.join(CHART)];
    }
    for folder in folders {
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        for (name, text) in crema_crds::definitions()? {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            println!("{}", path.display());
        }
    }
    Ok(())
}
