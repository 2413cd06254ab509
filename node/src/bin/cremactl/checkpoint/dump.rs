//! `checkpoint dump`: the head and the entries of one file.

use std::path::PathBuf;

use clap::Args;
use crema::{
    checkpoint::{Head, Part, Peer},
    machine::store::Entry,
    storage::checkpoints::{CheckpointReader, DiskFiles},
    types::{GroupId, ReplicaId},
};
use serde::Serialize;

use super::OutputArgs;
use crate::{
    Answer,
    format::{bytes, list, or_dash},
    keys::readable,
    table::table,
};

/// Characters of a key or a value in the table.
const CELL_CHARS: usize = 60;

/// Dumps a file.
#[derive(Args)]
pub(super) struct Dump {
    /// The checkpoint file
    file: PathBuf,
    /// Show so many entries; 0 shows all
    #[arg(long, default_value_t = 100, value_name = "ENTRIES")]
    limit: u64,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Dumped {
    head: HeadShown,
    entries: Vec<EntryShown>,
    /// Behind the limit.
    more_entries: u64,
}

#[derive(Default, Serialize)]
struct HeadShown {
    cluster: String,
    group: u32,
    shard: Option<u32>,
    generation: u64,
    index: u64,
    term: u64,
    feature_level: u8,
    conf_version: u64,
    voters: Vec<u64>,
    learners: Vec<u64>,
    voters_outgoing: Vec<u64>,
    learners_next: Vec<u64>,
    peers: Vec<PeerShown>,
    log_time_ms: u64,
    last_version: u64,
    entries: u64,
    weight_bytes: u64,
    state_hash: String,
    /// The version of the cluster map, in a checkpoint of the meta group.
    map_version: Option<u64>,
}

#[derive(Serialize)]
struct PeerShown {
    replica: u64,
    node: u64,
    incarnation: String,
    address: String,
}

#[derive(Serialize)]
struct EntryShown {
    key: serde_json::Value,
    value: serde_json::Value,
    version: u64,
    expires_at_ms: Option<u64>,
}

impl Dump {
    /// The whole file is read and checked, whatever the limit: half-true output would not be worth having.
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let mut reader = CheckpointReader::open(&DiskFiles, &self.file)?;
        let mut dumped = Dumped { head: HeadShown::default(), entries: Vec::new(), more_entries: 0 };
        while let Some(part) = reader.part()? {
            match part {
                Part::Head(head) => dumped.head = HeadShown::from(*head),
                Part::Entries(entries) => {
                    for entry in entries {
                        match self.limit == 0 || (dumped.entries.len() as u64) < self.limit {
                            true => dumped.entries.push(EntryShown::from(&entry)),
                            false => dumped.more_entries += 1,
                        }
                    }
                }
                Part::End => {}
            }
        }
        self.output.print(true, &dumped, dump_text)
    }
}

impl From<Head> for HeadShown {
    fn from(head: Head) -> Self {
        let ids = |replicas: &[ReplicaId]| replicas.iter().map(|id| id.0).collect();
        Self {
            cluster: head.cluster.to_string(),
            group: head.group.0,
            shard: head.group.shard(),
            generation: head.generation,
            index: head.index().0,
            term: head.term.0,
            feature_level: head.feature_level,
            conf_version: head.conf_version,
            voters: ids(&head.conf.voters),
            learners: ids(&head.conf.learners),
            voters_outgoing: ids(&head.conf.voters_outgoing),
            learners_next: ids(&head.conf.learners_next),
            peers: head.peers.into_iter().map(PeerShown::from).collect(),
            log_time_ms: head.machine.log_time.0,
            last_version: head.machine.last_version.0,
            entries: head.machine.entries,
            weight_bytes: head.machine.weight_bytes,
            state_hash: format!("{:032x}", head.machine.hash),
            map_version: head.map.map(|map| map.version),
        }
    }
}

impl From<Peer> for PeerShown {
    fn from(peer: Peer) -> Self {
        let Peer { replica, node, incarnation, address } = peer;
        Self { replica: replica.0, node: node.0, incarnation: incarnation.to_string(), address }
    }
}

impl From<&Entry> for EntryShown {
    fn from(entry: &Entry) -> Self {
        Self {
            key: readable(entry.key()),
            value: readable(entry.value()),
            version: entry.version().0,
            expires_at_ms: entry.expires_at().map(|at| at.0),
        }
    }
}

fn dump_text(dumped: &Dumped) -> String {
    let head = &dumped.head;
    let peer = |peer: &PeerShown| format!("{} on node {} ({})", peer.replica, peer.node, peer.address);
    let peers = head.peers.iter().map(peer).collect::<Vec<_>>().join(", ");
    let lines = [
        ("cluster", head.cluster.clone()),
        ("group", format!("{}, generation {}", GroupId(head.group), head.generation)),
        ("index", format!("{}, term {}", head.index, head.term)),
        ("feature level", head.feature_level.to_string()),
        ("configuration", head.conf_version.to_string()),
        ("voters", list(&head.voters)),
        ("learners", list(&head.learners)),
        ("leaving", list(&head.voters_outgoing)),
        ("learners next", list(&head.learners_next)),
        ("replicas", or_dash(Some(peers).filter(|peers| !peers.is_empty()), |peers| peers)),
        ("log time", head.log_time_ms.to_string()),
        ("last version", head.last_version.to_string()),
        ("entries", format!("{}, {}", head.entries, bytes(head.weight_bytes))),
        ("state hash", head.state_hash.clone()),
        ("map version", or_dash(head.map_version, |version| version.to_string())),
    ];
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect();
    if !dumped.entries.is_empty() {
        text.push('\n');
        text.push_str(&entry_table(&dumped.entries));
    }
    if dumped.more_entries > 0 {
        text.push_str(&format!("and {} more\n", dumped.more_entries));
    }
    text
}

fn entry_table(entries: &[EntryShown]) -> String {
    let cells = |entry: &EntryShown| {
        let expires = or_dash(entry.expires_at_ms, |at| at.to_string());
        vec![entry.version.to_string(), expires, cell(&entry.key), cell(&entry.value)]
    };
    let header = ["version", "expires", "key", "value"].map(str::to_owned);
    table(&header, &entries.iter().map(cells).collect::<Vec<_>>())
}

/// Text as it is but for what would break the line; other bytes in hexadecimal; the beginning of what is long.
pub(super) fn cell(shown: &serde_json::Value) -> String {
    let text = match (shown.as_str(), shown["hex"].as_str()) {
        (Some(text), _) => text.escape_debug().to_string(),
        (None, hex) => format!("0x{}", hex.unwrap_or_default()),
    };
    match text.char_indices().nth(CELL_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
