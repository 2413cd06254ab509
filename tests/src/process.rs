//! One child process of a test: its output kept in a file, its end certain.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::wait_for;

/// What a process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End at once, without a chance to do anything.
    Kill,
    /// End cleanly.
    Term,
    /// As Ctrl-C.
    Int,
    /// Read your files again, to those that do.
    Hup,
    /// Stand still.
    Stop,
    /// Go on.
    Cont,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Hup => "HUP",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
        }
    }
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts a binary of this workspace. Its output, of both kinds, goes to `output`.
    ///
    /// # Panics
    /// It can't be started.
    #[must_use]
    pub fn start(binary: &str, args: &[String], output: &Path) -> Self {
        Self::spawn(&find(binary), args, output)
    }

    /// Starts an example of the library, which `cargo build -p crema --examples` has built.
    ///
    /// # Panics
    /// It can't be started.
    #[must_use]
    pub fn start_example(name: &str, args: &[String], output: &Path) -> Self {
        Self::spawn(&beside_this_test(&format!("examples/{name}"), "--examples"), args, output)
    }

    /// Starts a program of the system, which `tests/run` installs.
    ///
    /// # Panics
    /// It can't be started.
    #[must_use]
    pub fn start_system(program: &str, args: &[String], output: &Path) -> Self {
        // Servers are where an ordinary user's shell does not look.
        let path = Path::new("/usr/sbin").join(program);
        Self::spawn(if path.exists() { &path } else { Path::new(program) }, args, output)
    }

    fn spawn(path: &Path, args: &[String], output: &Path) -> Self {
        let file = fs::File::create(output).expect("a file for the output");
        let child = Command::new(path)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", path.display()));
        Self { child, output: output.to_owned() }
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// It can't be sent; the process has ended and was waited for.
    pub fn signal(&self, signal: Signal) {
        // The shell's own `kill`: no further crate, and no unsafe code here.
        let command = format!("kill -{} {}", signal.name(), self.child.id());
        let status = Command::new("sh").args(["-c", &command]).status().expect("a shell");
        assert!(status.success(), "{command}: {status}");
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// It does not.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let output = self.output.clone();
        let child = &mut self.child;
        wait_for(&format!("the end of the process, see {}", output.display()), || {
            child.try_wait().expect("wait for the child")
        })
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait for the child").is_none()
    }

    /// The processor time it has taken since its start, of all its threads.
    ///
    /// # Panics
    /// It has ended, or this is no Linux.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process on Linux");
        // The second field is the name, in brackets, which may hold anything; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        // Linux shows them in 1/100 s, whatever its own clock does.
        Duration::from_millis(ticks * 10)
    }

    /// What it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child that has ended already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- {}\n{}", self.output.display(), tail(&self.output(), 40));
        }
    }
}

/// Runs a binary of this workspace to its end.
///
/// # Panics
/// It can't be started.
#[must_use]
pub fn run(binary: &str, args: &[&str]) -> std::process::Output {
    let path = find(binary);
    let command = Command::new(&path).args(args).stdin(Stdio::null()).output();
    command.unwrap_or_else(|error| panic!("start {}: {error}", path.display()))
}

/// `CREMA_NODE_BIN` or `CREMACTL_BIN` when set, else beside the folder of this test.
fn find(binary: &str) -> PathBuf {
    let variable = format!("{}_BIN", binary.replace('-', "_").to_uppercase());
    if let Some(path) = env::var_os(&variable) {
        return path.into();
    }
    beside_this_test(binary, &format!("--bins, or set {variable}"))
}

/// What this build has made beside the folder of this test.
fn beside_this_test(file: &str, how: &str) -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    let folder = test.parent().and_then(Path::parent).expect("a test is in the target folder's deps");
    let path = folder.join(file);
    assert!(path.exists(), "{} is missing: cargo build -p crema {how}", path.display());
    path
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
