//! The commands of README's section on Kubernetes, each as it stands there.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    kubectl::{list, wait_for},
    operator,
};

/// The heading of the section; the next of its rank ends it.
const SECTION: &str = "## Kubernetes";

/// The indented lines of the section, one command each; a line that ends in `\` goes on, and so does a here-document.
fn commands() -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let section =
        readme.lines().skip_while(|line| *line != SECTION).skip(1).take_while(|line| !line.starts_with("## "));
    let mut commands: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in section.filter_map(|line| line.strip_prefix("    ")) {
        match commands.last_mut().filter(|_| is_open) {
            Some(last) => *last += &format!("\n{line}"),
            None => commands.push(line.to_owned()),
        }
        let last = commands.last().map_or("", String::as_str);
        is_open = last.ends_with('\\') || (last.contains("<<'EOF'") && !last.ends_with("\nEOF"));
    }
    commands
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A command that goes on until it is ended, such as a port-forward.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The API server of these tests is older than the rules in the definition, and is not to judge them.
const HELM: &str = r#"helm() {
  case $1 in
    install | upgrade) command helm "$@" --disable-openapi-validation --server-side=false ;;
    *) command helm "$@" ;;
  esac
}
"#;

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-ec", &format!("{HELM}{command}")]).current_dir(root()).stdin(Stdio::null());
    shell
}

#[test]
fn every_command_works() {
    let _absent = operator::remove();
    let commands = commands();
    assert!(commands.len() >= 6, "{SECTION} of README has too few commands: {commands:?}");
    let mut background = Vec::new();
    for command in commands {
        println!("$ {command}");
        // "Let this run in another terminal."
        if command.starts_with("kubectl port-forward ") {
            // Without `exec`, and with `&`, the shell would be killed, and what it started go on.
            let command = format!("exec {}", command.trim_end_matches('&'));
            background.push(Background(shell(&command).spawn().expect("a shell")));
            continue;
        }
        // What a person would try again: a port that is about to be forwarded, an object that is about to be there.
        wait_for(&command, || {
            let output = shell(&command).output().expect("a shell");
            print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            output.status.success().then_some(())
        });
    }
    drop(background);
    wait_for("everything to be gone", || {
        list(&["pods,services", "-l", "app.kubernetes.io/instance=cart"]).is_empty().then_some(())
    });
}
