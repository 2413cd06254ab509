//! `shards --all`, `move-shard` and `transfer-leader`: where replicas and leaderships are.

use std::collections::BTreeMap;

use clap::Args;
use crema_api::v1;
use futures::future::join_all;
use serde::Serialize;

use crate::{
    Answer, HttpArgs,
    admin::{AdminArgs, Changed, failed},
    format::{bytes, list, or_dash},
    status,
    table::table,
};

/// Shows the shards as one node sees them, or asks all nodes.
#[derive(Args)]
pub(crate) struct Shards {
    /// Ask every node over gRPC (needs the token) and show each shard as its leader sees it
    #[arg(long)]
    all: bool,
    /// HTTP address of the node that is asked without --all
    #[arg(long, default_value = "127.0.0.1:9090", env = "CREMA_HTTP", value_name = "HOST:PORT",
          value_parser = crate::address, conflicts_with = "all")]
    http: String,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Moves one replica of a shard.
#[derive(Args)]
pub(crate) struct MoveShard {
    /// The shard
    shard: u32,
    /// The node whose replica goes
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// The node that gets one
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    to: u64,
    /// Refuse unless the map has this version
    #[arg(long, default_value_t = 0, value_name = "VERSION", hide_default_value = true)]
    expect_version: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Moves a leadership.
#[derive(Args)]
pub(crate) struct TransferLeader {
    /// The shard
    shard: u32,
    /// The node that is to lead it; it must have a voter
    #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

/// A shard as its leader sees it, or as anybody does who has a replica when there is no leader.
#[derive(Clone, Serialize)]
struct Row {
    shard: u32,
    leader: Option<u64>,
    voters: Vec<u64>,
    learners: Vec<u64>,
    term: u64,
    /// Of the follower that is furthest behind; nothing without a leader.
    lag_entries: Option<u64>,
    entries: u64,
    bytes: u64,
    ops_per_second: f64,
    health: String,
}

#[derive(Serialize)]
struct Moved {
    map_version: u64,
    migration: u64,
}

#[derive(Serialize)]
struct Led {
    shard: u32,
    leader: u64,
}

impl Shards {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        if !self.all {
            return status::shards(&HttpArgs { http: self.http, common: self.admin.common }).await;
        }
        let mut client = self.admin.connect().await?;
        let nodes = client.nodes(v1::NodesRequest {}).await.map_err(failed)?.nodes;
        let living = nodes.into_iter().filter(|node| !matches!(node.state.as_str(), "down" | "removed"));
        let asked = join_all(living.map(|node| ask(&self.admin, node))).await;
        let mut rows = BTreeMap::new();
        for (node, answer) in asked {
            match answer {
                Ok(reports) => reports.into_iter().for_each(|report| merge(&mut rows, node, report)),
                // The others know enough to be of use; who is missing must not be hidden.
                Err(error) => eprintln!("cremactl: node {node} does not answer: {error:#}"),
            }
        }
        let rows: Vec<Row> = rows.into_values().map(|(_, row)| row).collect();
        self.admin.print(&rows, |rows| shard_table(rows))
    }
}

async fn ask(admin: &AdminArgs, node: v1::MemberReport) -> (u64, anyhow::Result<Vec<v1::ShardReport>>) {
    let answer = async {
        let mut client = admin.connect_to(&[node.address], admin.common.timeout()).await?;
        Ok(client.shards(v1::ShardsRequest::default()).await.map_err(failed)?.shards)
    };
    (node.node, answer.await)
}

/// How much a node's word about a shard counts: a leader's by its term, then whoever has a replica.
type Weight = (bool, u64, bool);

fn merge(rows: &mut BTreeMap<u32, (Weight, Row)>, node: u64, report: v1::ShardReport) {
    let leads = report.role == "leader";
    let weight = (leads, report.term, report.replica != 0);
    if rows.get(&report.shard).is_some_and(|(known, _)| *known >= weight) {
        return;
    }
    let lag = report.followers.iter().map(|follower| follower.lag_entries).max().unwrap_or(0);
    let hint = Some(report.leader).filter(|leader| *leader != 0);
    let row = Row {
        shard: report.shard,
        leader: if leads { Some(node) } else { hint },
        voters: report.voters,
        learners: report.learners,
        term: report.term,
        lag_entries: leads.then_some(lag),
        entries: report.entries,
        bytes: report.bytes,
        ops_per_second: report.ops_per_second,
        health: report.health,
    };
    rows.insert(row.shard, (weight, row));
}

fn shard_table(rows: &[Row]) -> String {
    let header = ["shard", "leader", "voters", "learners", "lag", "entries", "size", "ops/s", "health"];
    let row = |row: &Row| {
        vec![
            row.shard.to_string(),
            or_dash(row.leader, |leader| leader.to_string()),
            list(&row.voters),
            list(&row.learners),
            or_dash(row.lag_entries, |lag| lag.to_string()),
            row.entries.to_string(),
            bytes(row.bytes),
            format!("{:.0}", row.ops_per_second),
            or_dash(Some(&row.health).filter(|health| !health.is_empty()), String::clone),
        ]
    };
    table(&header.map(str::to_owned), &rows.iter().map(row).collect::<Vec<_>>())
}

impl MoveShard {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        let ask = v1::MoveShardRequest {
            shard: self.shard,
            from_node: self.from,
            to_node: self.to,
            expected_version: self.expect_version,
        };
        let answer = self.admin.connect().await?.move_shard(ask).await.map_err(failed)?;
        let v1::MoveShardResponse { map_version, migration } = answer;
        let what =
            format!("migration {migration}: shard {} moves from node {} to {}", self.shard, self.from, self.to);
        self.admin
            .print(&Moved { map_version, migration }, |moved| Changed { map_version: moved.map_version }.line(&what))
    }
}

impl TransferLeader {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        // The server waits for longer than a plain call takes.
        let timeout = self.admin.common.timeout().max(std::time::Duration::from_secs(25));
        let ask = v1::TransferLeaderRequest { shard: self.shard, to_node: self.node };
        let mut client = self.admin.connect_to(&self.admin.grpc, timeout).await?;
        let leader = client.transfer_leader(ask).await.map_err(failed)?.leader;
        self.admin.print(&Led { shard: self.shard, leader }, |led| {
            format!("node {} leads shard {}\n", led.leader, led.shard)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(shard: u32, role: &str, term: u64, replica: u64) -> v1::ShardReport {
        v1::ShardReport {
            shard,
            role: role.into(),
            term,
            replica,
            leader: 2,
            voters: vec![1, 2, 3],
            entries: 10 * term,
            bytes: 2048,
            health: if replica == 0 { "" } else { "serving" }.into(),
            ..v1::ShardReport::default()
        }
    }

    #[test]
    fn the_leader_of_the_highest_term_is_believed() {
        let mut rows = BTreeMap::new();
        let followers = [5, 120].map(|lag_entries| v1::FollowerReport { lag_entries, ..Default::default() });
        let leader = v1::ShardReport {
            followers: followers.into(),
            learners: vec![4],
            ops_per_second: 99.6,
            ..report(0, "leader", 8, 2)
        };
        for (node, said) in [
            (1, report(0, "follower", 8, 1)),
            (2, leader),
            (3, report(0, "leader", 7, 3)),
            (1, v1::ShardReport { leader: 0, ..report(1, "none", 0, 0) }),
        ] {
            merge(&mut rows, node, said);
        }
        let rows: Vec<Row> = rows.into_values().map(|(_, row)| row).collect();
        let want = "\
shard  leader  voters  learners  lag  entries  size     ops/s  health
    0       2  1,2,3          4  120       80  2.0 KiB    100  serving
    1       -  1,2,3          -    -        0  2.0 KiB      0  -
";
        assert_eq!(shard_table(&rows), want);
        let json = serde_json::to_value(&rows[1]).unwrap();
        assert_eq!((&json["leader"], &json["lag_entries"], &json["voters"][2]), (&().into(), &().into(), &3.into()));
    }
}
