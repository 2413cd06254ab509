//! The programs that are asked, and the files that they are asked about.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where the chart is released in these tests.
const RELEASE: [&str; 4] = ["crema", "charts/crema", "--namespace", "crema-system"];

/// A file or folder of the workspace.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// The text of a file of the workspace.
pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("read {name}: {error}"))
}

/// The files of a folder of the workspace, by their names from its root, in order.
pub(crate) fn list(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path(folder)) else { return Vec::new() };
    let name = |entry: fs::DirEntry| format!("{folder}/{}", entry.file_name().to_string_lossy());
    let mut names: Vec<_> = entries.map(|entry| name(entry.expect("a readable folder"))).collect();
    names.sort();
    names
}

/// What a program printed: `Err` when it failed.
pub(crate) type Said = Result<String, String>;

/// Runs a program in the root of the workspace.
fn run(program: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(program);
    // No cluster and no settings of whoever runs this: only what is in the tree counts.
    command.args(arguments).current_dir(path("")).env("KUBECONFIG", path("no-such-file"));
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("run {program}: {error}; `tests/run chart` brings it"));
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    // What it warned of is no part of what it rendered.
    if output.status.success() { Ok(text.into_iter().next().unwrap_or_default()) } else { Err(text.concat()) }
}

/// Fails with what a program printed, if it failed.
pub(crate) fn passes(what: &str, said: Said) {
    if let Err(said) = said {
        panic!("{what}:\n{said}");
    }
}

/// Asks Helm.
pub(crate) fn helm(arguments: &[&str]) -> Said {
    run("helm", arguments)
}

/// Asks promtool.
pub(crate) fn promtool(arguments: &[&str]) -> Said {
    run("promtool", arguments)
}

/// All that the chart would give to a recent Kubernetes.
pub(crate) fn template(arguments: &[&str]) -> Said {
    let fixed = [["template"].as_slice(), &RELEASE, &["--kube-version", "1.31.0"]].concat();
    helm(&[fixed.as_slice(), arguments].concat())
}

/// What a person reads after an install.
pub(crate) fn notes(arguments: &[&str]) -> String {
    let fixed = [["install"].as_slice(), &RELEASE, &["--dry-run=client"]].concat();
    let said = helm(&[fixed.as_slice(), arguments].concat()).expect("a dry run");
    let (_, notes) = said.split_once("NOTES:\n").unwrap_or_else(|| panic!("no notes in {said}"));
    notes.to_owned()
}

/// A file of this run's own; it goes when this is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// With this text in it. No other test uses the same name.
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let path = env::temp_dir().join(format!("crema-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap_or_else(|error| panic!("write {path:?}: {error}"));
        Self(path)
    }

    /// For a command line.
    pub(crate) fn name(&self) -> &str {
        self.0.to_str().expect("a name in UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is in the folder for what may be lost.
        fs::remove_file(&self.0).ok();
    }
}
