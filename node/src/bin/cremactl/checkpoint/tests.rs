//! The verbs on real files: those that the format's first release wrote.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/storage/checkpoints/golden")
}

/// A folder of this test's own, with the golden files and some that are not sound.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("cremactl-checkpoint-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let good = |name: &str| fs::read(golden().join(name)).expect("a golden file");
    let mut flipped = good("g3-r17-i1000.mcrs");
    *flipped.last_mut().expect("bytes") ^= 1;
    for (name, bytes) in [
        ("g3-r17-i1000.mcrs", good("g3-r17-i1000.mcrs")),
        ("g3-r17-i2000.mcrs", good("g3-r17-i2000.mcrs")),
        ("g4-r1-i5.mcrs", good("g3-r17-i1000.mcrs")),
        ("g5-r1-i5.mcrs", b"MCRS".to_vec()),
        ("flipped", flipped),
    ] {
        fs::write(folder.join(name), bytes).expect("written");
    }
    folder
}

/// What a verb prints, with the folder's own path taken out, and whether its exit code is 0.
fn run(folder: &Path, args: &[&str]) -> (String, bool) {
    let path = |arg: &&str| match arg.strip_prefix("./") {
        Some(name) => folder.join(name).display().to_string(),
        None => (*arg).to_owned(),
    };
    let verb = Line::try_parse_from([String::new()].into_iter().chain(args.iter().map(path))).expect("flags").verb;
    match (Checkpoint { verb }).run() {
        Ok(Answer { text, found }) => {
            let text = String::from_utf8(text).expect("text");
            (text.replace(&format!("{}/", folder.display()), ""), found)
        }
        Err(error) => (in_a_line(error).replace(&format!("{}/", folder.display()), ""), false),
    }
}

#[test]
fn a_directory_is_listed() {
    let folder = folder("list");
    let (text, sound) = run(&folder, &["list", "./"]);
    let size = |name: &str| format!("{} B", fs::metadata(folder.join(name)).expect("the file").len());
    let want = "\
group    replica  index  term  entries  content  size   file
shard 2       17   1000     7        3  411 B    SIZE1  g3-r17-i1000.mcrs
shard 2       17   2000     7        3  411 B    SIZE2  g3-r17-i2000.mcrs
shard 3        1      5     7        3  411 B    SIZE1  g4-r1-i5.mcrs
shard 4        1      5     -        -  -        4 B    g5-r1-i5.mcrs is damaged: the checkpoint ends too early
";
    let want = want.replace("SIZE1", &size("g3-r17-i1000.mcrs")).replace("SIZE2", &size("g3-r17-i2000.mcrs"));
    assert_eq!((text, sound), (want, true));
    let json: serde_json::Value = serde_json::from_str(&run(&folder, &["list", "./", "-o", "json"]).0).expect("JSON");
    assert_eq!(
        (&json[0]["index"], &json[0]["head"]["term"], &json[3]["head"]),
        (&1000.into(), &7.into(), &().into())
    );
    fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn sound_files_are_told_from_others() {
    let folder = folder("verify");
    let (text, sound) = run(&folder, &["verify", "./", "./flipped"]);
    let want = "\
sound  entries  file
yes          3  g3-r17-i1000.mcrs
yes          3  g3-r17-i2000.mcrs
no           -  g4-r1-i5.mcrs is damaged: its group or index is not that of its name and owner
no           -  g5-r1-i5.mcrs is damaged: the checkpoint ends too early
no           -  flipped is damaged: the checkpoint is damaged: wrong checksum of its footer
";
    assert_eq!((text.as_str(), sound), (want, false));
    assert!(run(&folder, &["verify", "./g3-r17-i1000.mcrs"]).1);
    let (text, sound) = run(&folder, &["verify", "./absent"]);
    assert!(text.contains("open absent") && !sound, "{text}");
    fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn one_file_is_dumped() {
    let folder = folder("dump");
    let (text, sound) = run(&folder, &["dump", "./g3-r17-i1000.mcrs", "--limit", "2"]);
    assert!(sound && text.starts_with("cluster        00000000000000000000000000000102\n"), "{text}");
    assert!(text.contains("group          shard 2, generation 2\nindex          1000, term 7\n"), "{text}");
    assert!(text.contains("voters         17,18\nlearners       19\nleaving        -\n"), "{text}");
    assert!(text.contains("replicas       17 on node 1 (node-0:7000)\n"), "{text}");
    let want = "
version  expires  key    value
      0        -  key 0   1000
      1     9000  key 1   1000
and 1 more
";
    assert!(text.ends_with(want), "{text}");
    let (json, _) = run(&folder, &["dump", "./g3-r17-i2000.mcrs", "--limit", "0", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["entries"][2]["key"], &json["more_entries"]), (&"key 2".into(), &0.into()));
    let (text, sound) = run(&folder, &["dump", "./flipped"]);
    assert_eq!(
        (text.as_str(), sound),
        ("flipped is damaged: the checkpoint is damaged: wrong checksum of its footer", false)
    );
    fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn cells_stay_in_their_line() {
    assert_eq!(dump::cell(&"a\nb".into()), "a\\nb");
    assert_eq!(dump::cell(&serde_json::json!({ "hex": "ff00" })), "0xff00");
    assert_eq!(dump::cell(&"é".repeat(61).into()), format!("{}...", "é".repeat(60)));
}
