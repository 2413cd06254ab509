//! The files of the workspace as the checks see them.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// What a check has to say about one line.
pub(crate) struct Finding {
    /// The file, from the root of the workspace.
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is wrong and what to do instead.
    pub(crate) say: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.say)
    }
}

/// One text file.
pub(crate) struct File {
    /// From the root of the workspace, with `/`.
    pub(crate) path: String,
    /// As it is on disk.
    pub(crate) text: String,
}

impl File {
    /// The lines of production code, numbered from 1, without comments; none of them when the file is a test.
    pub(crate) fn code(&self) -> Vec<(usize, &str)> {
        if !self.path.ends_with(".rs") || self.is_test() {
            return Vec::new();
        }
        let production = self.text.lines().take_while(|line| !opens_test_module(line));
        let numbered = production.enumerate().map(|(at, line)| (at + 1, strip_comment(line)));
        numbered.filter(|(_, line)| !line.trim().is_empty()).collect()
    }

    /// Whether a comment on this line or the one above lets it break the rule.
    pub(crate) fn excused(&self, line: usize, rule: &str) -> bool {
        let mark = format!("tidy: {rule} because ");
        let mut near = self.text.lines().skip(line.saturating_sub(2)).take(if line > 1 { 2 } else { 1 });
        near.any(|text| text.contains(&mark))
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.path.starts_with("tests/")
    }
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]`: by convention the last item of a file.
fn opens_test_module(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test")
}

fn strip_comment(line: &str) -> &str {
    // A `//` inside a string cuts the line short, which can only hide the rest of that line.
    line.find("//").map_or(line, |at| &line[..at])
}

/// Every text file that we wrote.
pub(crate) struct Tree {
    /// In the order of their paths.
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Reads the workspace that this crate belongs to.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut paths = Vec::new();
        walk(&root, &mut paths);
        let mut files: Vec<File> = paths.iter().filter_map(|path| read(&root, path)).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let skip = matches!(name, "target" | ".git" | "Cargo.lock" | "LICENSE-APACHE" | "__pycache__");
        match path.is_dir() {
            _ if skip => {}
            true => walk(&path, into),
            false => into.push(path),
        }
    }
}

/// `None` for what is not text.
fn read(root: &Path, path: &Path) -> Option<File> {
    let text = fs::read_to_string(path).ok()?;
    let path = path.strip_prefix(root).expect("a path under the root");
    Some(File { path: path.to_string_lossy().replace('\\', "/"), text })
}

/// Where `word` stands in `line` as a path root: not the tail of a longer name or path.
pub(crate) fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}
