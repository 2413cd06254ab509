//! `nodes`, `drain`, `undrain` and `remove`: the members, and the way out of the cluster.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use crema_api::{client::AdminClient, v1};
use serde::Serialize;

use crate::{
    Answer,
    admin::{AdminArgs, Changed, failed},
    format::{bar, bytes, duration, or_dash},
    migrations::{Action, action_table},
    table::table,
};

/// Between two looks at a drain.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the nodes may be out of reach while a drain is watched: leaders change meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);
const BAR_WIDTH: usize = 30;

/// Shows the members.
#[derive(Args)]
pub(crate) struct Nodes {
    #[command(flatten)]
    admin: AdminArgs,
}

/// Moves every replica away from nodes that are to leave.
#[derive(Args)]
pub(crate) struct Drain {
    /// The nodes; several are drained together
    #[arg(required = true, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    nodes: Vec<u64>,
    /// Only say what would be moved, or why it can't be done
    #[arg(long)]
    dry_run: bool,
    /// Begin, and don't wait for the end
    #[arg(long, conflicts_with = "dry_run")]
    no_wait: bool,
    /// Refuse unless the map has this version
    #[arg(long, default_value_t = 0, value_name = "VERSION", hide_default_value = true)]
    expect_version: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Names one node.
#[derive(Args)]
pub(crate) struct OneNode {
    /// The node
    #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
    /// Refuse unless the map has this version
    #[arg(long, default_value_t = 0, value_name = "VERSION", hide_default_value = true)]
    expect_version: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Serialize)]
struct NodeRow {
    node: u64,
    state: String,
    address: String,
    client_address: String,
    host: String,
    zone: String,
    incarnation: String,
    voters: u32,
    learners: u32,
    leads: u32,
    preferred: u32,
    replicas: u32,
    silent_ms: Option<u64>,
    used_bytes: Option<u64>,
    limit_bytes: Option<u64>,
    map_version: Option<u64>,
}

#[derive(Serialize)]
struct Drained {
    map_version: u64,
    nodes: Vec<u64>,
    dry_run: bool,
    replicas: u32,
    bytes: u64,
    /// Replicas that are still there; 0 when the drain is over.
    left: u32,
    moves: Vec<Action>,
    notes: Vec<String>,
}

impl Nodes {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        let answer = self.admin.connect().await?.nodes(v1::NodesRequest {}).await.map_err(failed)?;
        let rows: Vec<NodeRow> = answer.nodes.into_iter().map(NodeRow::from).collect();
        self.admin.print(&rows, |rows| node_table(rows))
    }
}

impl Drain {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        let mut client = self.admin.connect().await?;
        let ask = v1::DrainRequest {
            nodes: self.nodes.clone(),
            dry_run: self.dry_run,
            expected_version: self.expect_version,
        };
        let v1::DrainResponse { map_version, replicas, bytes, notes, moves } =
            client.drain(ask).await.map_err(failed)?;
        let moves = moves.into_iter().map(Action::from).collect();
        let mut drained = Drained {
            map_version,
            nodes: self.nodes.clone(),
            dry_run: self.dry_run,
            replicas,
            bytes,
            left: replicas,
            moves,
            notes,
        };
        if !self.dry_run && !self.no_wait {
            drained.left = self.watch(client, replicas).await?;
        }
        self.admin.print(&drained, drain_text)
    }

    /// Waits until no replica is left on the nodes, and draws how far it is where somebody can see it.
    async fn watch(&self, mut client: AdminClient, total: u32) -> anyhow::Result<u32> {
        let mut line = ProgressLine::new();
        let mut answered = Instant::now();
        loop {
            match client.nodes(v1::NodesRequest {}).await {
                Ok(answer) => {
                    answered = Instant::now();
                    let left = left_on(&answer.nodes, &self.nodes)?;
                    line.draw(&progress(total, left));
                    if left == 0 {
                        return Ok(0);
                    }
                }
                Err(error) if error.is_passing() && answered.elapsed() < PATIENCE => {
                    if let Ok(another) = self.admin.connect().await {
                        client = another;
                    }
                }
                Err(error) => return Err(failed(error)).context("the drain goes on, but can't be watched"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Replicas that are still on the nodes; an error when one is drained no more.
fn left_on(all: &[v1::MemberReport], nodes: &[u64]) -> anyhow::Result<u32> {
    let mut left = 0;
    for node in all.iter().filter(|member| nodes.contains(&member.node)) {
        match node.state.as_str() {
            "draining" | "down" | "removed" => left += node.replicas,
            state => bail!("node {} is {state} again: somebody has taken the drain back", node.node),
        }
    }
    Ok(left)
}

fn progress(total: u32, left: u32) -> String {
    // The planner may have placed more before it heard of the drain.
    let total = total.max(left);
    let moved = total - left;
    format!("{}  {moved} of {total} replicas moved", bar(moved.into(), total.into(), BAR_WIDTH))
}

/// A line that is drawn over and over, on a terminal only.
struct ProgressLine {
    shown: bool,
    visible: bool,
}

impl ProgressLine {
    fn new() -> Self {
        Self { shown: false, visible: std::io::stderr().is_terminal() }
    }

    fn draw(&mut self, text: &str) {
        if self.visible {
            self.shown = true;
            eprint!("\r{text}\x1b[K");
            // Nobody misses a line of progress.
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.shown {
            eprintln!();
        }
    }
}

impl OneNode {
    pub(crate) async fn undrain(self) -> anyhow::Result<Answer> {
        let ask = v1::UndrainRequest { node: self.node, expected_version: self.expect_version };
        let answer = self.admin.connect().await?.undrain(ask).await.map_err(failed)?;
        let what = format!("node {} is a full member", self.node);
        self.admin.print(&Changed { map_version: answer.map_version }, |changed| changed.line(&what))
    }

    pub(crate) async fn remove(self) -> anyhow::Result<Answer> {
        let ask = v1::RemoveRequest { node: self.node, expected_version: self.expect_version };
        let answer = self.admin.connect().await?.remove(ask).await.map_err(failed)?;
        let what = format!("node {} has left", self.node);
        self.admin.print(&Changed { map_version: answer.map_version }, |changed| changed.line(&what))
    }
}

impl From<v1::MemberReport> for NodeRow {
    fn from(report: v1::MemberReport) -> Self {
        let v1::MemberReport {
            node,
            state,
            address,
            client_address,
            host,
            zone,
            incarnation,
            voters,
            learners,
            preferred,
            silent_ms,
            used_bytes,
            limit_bytes,
            map_version,
            leads,
            replicas,
        } = report;
        Self {
            node,
            state,
            address,
            client_address,
            host,
            zone,
            incarnation,
            voters,
            learners,
            leads,
            preferred,
            replicas,
            silent_ms,
            used_bytes,
            limit_bytes,
            map_version,
        }
    }
}

fn node_table(rows: &[NodeRow]) -> String {
    let header = ["node", "state", "address", "zone", "voters", "learners", "leads", "used", "limit", "heard of"];
    let row = |row: &NodeRow| {
        vec![
            row.node.to_string(),
            row.state.clone(),
            row.address.clone(),
            or_dash(Some(&row.zone).filter(|zone| !zone.is_empty()), String::clone),
            row.voters.to_string(),
            row.learners.to_string(),
            row.leads.to_string(),
            or_dash(row.used_bytes, bytes),
            or_dash(row.limit_bytes, bytes),
            or_dash(row.silent_ms, |ms| if ms == 0 { "now".to_owned() } else { format!("{} ago", duration(ms)) }),
        ]
    };
    table(&header.map(str::to_owned), &rows.iter().map(row).collect::<Vec<_>>())
}

fn drain_text(drained: &Drained) -> String {
    let nodes: Vec<String> = drained.nodes.iter().map(u64::to_string).collect();
    let nodes = nodes.join(", ");
    let mut text = match (drained.dry_run, drained.left) {
        (true, _) => {
            let size = bytes(drained.bytes);
            let head = format!("would move {} replicas ({size}) away from node {nodes}\n", drained.replicas);
            if drained.moves.is_empty() { head } else { head + &action_table(&drained.moves) }
        }
        (false, 0) => format!("node {nodes} holds no replica any more\n"),
        (false, left) => format!("node {nodes} is being drained, {left} replicas are to be moved\n"),
    };
    for note in &drained.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64, state: &str, replicas: u32) -> v1::MemberReport {
        v1::MemberReport {
            node,
            state: state.into(),
            address: format!("db-{node}.svc:7000"),
            voters: replicas,
            replicas,
            ..v1::MemberReport::default()
        }
    }

    #[test]
    fn nodes_are_printed() {
        let heard = v1::MemberReport {
            leads: 5,
            zone: "eu-1a".into(),
            silent_ms: Some(0),
            used_bytes: Some(3 << 20),
            limit_bytes: Some(1 << 30),
            ..member(1, "up", 16)
        };
        let silent = v1::MemberReport { silent_ms: Some(4_200), ..member(2, "draining", 3) };
        let rows: Vec<NodeRow> = [heard, silent, member(10, "joining", 0)].map(NodeRow::from).into();
        let want = "\
node  state     address         zone   voters  learners  leads  used     limit    heard of
   1  up        db-1.svc:7000   eu-1a      16         0      5  3.0 MiB  1.0 GiB  now
   2  draining  db-2.svc:7000   -           3         0      0  -        -        4.2 s ago
  10  joining   db-10.svc:7000  -           0         0      0  -        -        -
";
        assert_eq!(node_table(&rows), want);
        let json = serde_json::to_value(&rows[0]).unwrap();
        assert_eq!(
            (&json["node"], &json["used_bytes"], &json["map_version"]),
            (&1.into(), &(3 << 20).into(), &().into())
        );
    }

    #[test]
    fn a_drain_is_followed_to_its_end() {
        let all = [member(1, "up", 9), member(2, "draining", 2), member(3, "draining", 1)];
        assert_eq!(left_on(&all, &[2, 3]).unwrap(), 3);
        let error = left_on(&all, &[1]).unwrap_err().to_string();
        assert_eq!(error, "node 1 is up again: somebody has taken the drain back");
        assert_eq!(progress(4, 3), format!("[{}{}]  25%  1 of 4 replicas moved", "#".repeat(7), "-".repeat(23)));
        assert_eq!(progress(4, 5), format!("[{}]   0%  0 of 5 replicas moved", "-".repeat(30)));
    }

    #[test]
    fn drains_are_printed() {
        let moved =
            Action { kind: "start".into(), what: "shard 3: from node 4 to node 1".into(), ..Action::default() };
        let drained = |dry_run, left| Drained {
            map_version: 9,
            nodes: vec![4, 5],
            dry_run,
            replicas: 12,
            bytes: 2048,
            left,
            moves: vec![Action { ..moved.clone() }],
            notes: vec!["migrations are paused".into()],
        };
        let want = "\
would move 12 replicas (2.0 KiB) away from node 4, 5
kind   what
start  shard 3: from node 4 to node 1
note: migrations are paused
";
        assert_eq!(drain_text(&drained(true, 12)), want);
        assert!(drain_text(&drained(false, 0)).starts_with("node 4, 5 holds no replica any more\n"));
        assert!(
            drain_text(&drained(false, 2)).starts_with("node 4, 5 is being drained, 2 replicas are to be moved\n")
        );
    }
}
