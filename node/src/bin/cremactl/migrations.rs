//! `rebalance`, `migrations`, `pause`, `resume` and `cancel`: what moves, and whether it may.

use clap::Args;
use crema_api::v1;
use serde::Serialize;

use crate::{
    Answer,
    admin::{AdminArgs, Changed, failed},
    format::{bar, bytes, duration, or_dash},
    table::table,
};

const BAR_WIDTH: usize = 10;

/// Plans now.
#[derive(Args)]
pub(crate) struct Rebalance {
    /// Only show the plan
    #[arg(long)]
    dry_run: bool,
    /// Refuse unless the map has this version
    #[arg(long, default_value_t = 0, value_name = "VERSION", hide_default_value = true)]
    expect_version: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Takes no more than a way to the cluster.
#[derive(Args)]
pub(crate) struct Plain {
    #[command(flatten)]
    admin: AdminArgs,
}

/// Rolls a migration back.
#[derive(Args)]
pub(crate) struct Cancel {
    /// Its number, as `migrations` shows it
    migration: u64,
    /// Refuse unless the map has this version
    #[arg(long, default_value_t = 0, value_name = "VERSION", hide_default_value = true)]
    expect_version: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

/// One thing that the planner does or would do.
#[derive(Clone, Default, Serialize)]
pub(crate) struct Action {
    pub(crate) kind: String,
    pub(crate) what: String,
    pub(crate) shard: Option<u32>,
    pub(crate) from_node: Option<u64>,
    pub(crate) to_node: Option<u64>,
}

#[derive(Serialize)]
struct Planned {
    map_version: u64,
    dry_run: bool,
    actions: Vec<Action>,
    waiting_on: Vec<String>,
}

#[derive(Serialize)]
struct Migrations {
    map_version: u64,
    paused: bool,
    migrations: Vec<Row>,
    waiting_on: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    migration: u64,
    /// Nothing for the meta group.
    shard: Option<u32>,
    phase: String,
    reason: String,
    cancelled: bool,
    from_node: Option<u64>,
    to_node: Option<u64>,
    started_ms: u64,
    entries: u64,
    total_entries: u64,
    bytes: u64,
    total_bytes: u64,
    eta_ms: Option<u64>,
}

/// 0 on the wire is no node.
fn some(node: u64) -> Option<u64> {
    (node != 0).then_some(node)
}

impl From<v1::PlannedAction> for Action {
    fn from(action: v1::PlannedAction) -> Self {
        let v1::PlannedAction { kind, what, shard, from_node, to_node } = action;
        Self { kind, what, shard, from_node: some(from_node), to_node: some(to_node) }
    }
}

impl From<v1::MigrationReport> for Row {
    fn from(report: v1::MigrationReport) -> Self {
        let v1::MigrationReport {
            migration,
            shard,
            phase,
            reason,
            cancelled,
            from_node,
            to_node,
            started_ms,
            entries,
            total_entries,
            bytes,
            total_bytes,
            eta_ms,
        } = report;
        Self {
            migration,
            shard,
            phase,
            reason,
            cancelled,
            from_node: some(from_node),
            to_node: some(to_node),
            started_ms,
            entries,
            total_entries,
            bytes,
            total_bytes,
            eta_ms,
        }
    }
}

impl Rebalance {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        let ask = v1::RebalanceRequest { dry_run: self.dry_run, expected_version: self.expect_version };
        let answer = self.admin.connect().await?.rebalance(ask).await.map_err(failed)?;
        let v1::RebalanceResponse { map_version, actions, waiting_on } = answer;
        let actions = actions.into_iter().map(Action::from).collect();
        let planned = Planned { map_version, dry_run: self.dry_run, actions, waiting_on };
        self.admin.print(&planned, plan_text)
    }
}

impl Plain {
    pub(crate) async fn migrations(self) -> anyhow::Result<Answer> {
        let answer = self.admin.connect().await?.migrations(v1::MigrationsRequest {}).await.map_err(failed)?;
        let v1::MigrationsResponse { map_version, migrations, paused, waiting_on } = answer;
        let migrations = migrations.into_iter().map(Row::from).collect();
        self.admin.print(&Migrations { map_version, paused, migrations, waiting_on }, migrations_text)
    }

    pub(crate) async fn pause(self) -> anyhow::Result<Answer> {
        let answer = self.admin.connect().await?.pause_migrations(v1::PauseMigrationsRequest {}).await;
        let changed = Changed { map_version: answer.map_err(failed)?.map_version };
        self.admin.print(&changed, |changed| changed.line("migrations are paused"))
    }

    pub(crate) async fn resume(self) -> anyhow::Result<Answer> {
        let answer = self.admin.connect().await?.resume_migrations(v1::ResumeMigrationsRequest {}).await;
        let changed = Changed { map_version: answer.map_err(failed)?.map_version };
        self.admin.print(&changed, |changed| changed.line("migrations go on"))
    }
}

impl Cancel {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        let ask = v1::CancelMigrationRequest { migration: self.migration, expected_version: self.expect_version };
        let answer = self.admin.connect().await?.cancel_migration(ask).await.map_err(failed)?;
        let what = format!("migration {} is rolled back", self.migration);
        self.admin.print(&Changed { map_version: answer.map_version }, |changed| changed.line(&what))
    }
}

/// The actions, one a line.
pub(crate) fn action_table(actions: &[Action]) -> String {
    let rows: Vec<_> = actions.iter().map(|action| vec![action.kind.clone(), action.what.clone()]).collect();
    table(&["kind", "what"].map(str::to_owned), &rows)
}

fn plan_text(planned: &Planned) -> String {
    let mut text = match (planned.actions.is_empty(), planned.dry_run) {
        (true, _) => "nothing is to be done\n".to_owned(),
        (false, true) => action_table(&planned.actions),
        (false, false) => format!("begun:\n{}", action_table(&planned.actions)),
    };
    reasons(&mut text, &planned.waiting_on);
    text
}

fn migrations_text(found: &Migrations) -> String {
    let mut text = String::new();
    if found.paused {
        text.push_str("migrations are paused\n");
    }
    match found.migrations.is_empty() {
        true => text.push_str("no migration is under way\n"),
        false => text.push_str(&migration_table(&found.migrations)),
    }
    reasons(&mut text, &found.waiting_on);
    text
}

fn reasons(text: &mut String, waiting_on: &[String]) {
    for reason in waiting_on {
        text.push_str(&format!("waiting: {reason}\n"));
    }
}

fn migration_table(rows: &[Row]) -> String {
    let header = ["id", "shard", "phase", "reason", "from", "to", "copied", "entries", "size", "eta"];
    let row = |row: &Row| {
        let phase = if row.cancelled { format!("{} (rolled back)", row.phase) } else { row.phase.clone() };
        vec![
            row.migration.to_string(),
            row.shard.map_or_else(|| "meta".to_owned(), |shard| shard.to_string()),
            phase,
            row.reason.clone(),
            or_dash(row.from_node, |node| node.to_string()),
            or_dash(row.to_node, |node| node.to_string()),
            bar(row.entries, row.total_entries, BAR_WIDTH),
            format!("{} of {}", row.entries, row.total_entries),
            format!("{} of {}", bytes(row.bytes), bytes(row.total_bytes)),
            or_dash(row.eta_ms, duration),
        ]
    };
    table(&header.map(str::to_owned), &rows.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_printed() {
        let copying = v1::MigrationReport {
            migration: 7,
            shard: Some(3),
            phase: "catch-up".into(),
            reason: "drain".into(),
            from_node: 4,
            to_node: 1,
            entries: 50,
            total_entries: 100,
            bytes: 2048,
            total_bytes: 2048,
            eta_ms: Some(1_500),
            ..v1::MigrationReport::default()
        };
        let meta = v1::MigrationReport {
            migration: 12,
            phase: "add-learner".into(),
            reason: "meta".into(),
            cancelled: true,
            to_node: 5,
            total_entries: 9,
            ..v1::MigrationReport::default()
        };
        let migrations: Vec<Row> = [copying, meta].map(Row::from).into();
        let found =
            Migrations { map_version: 3, paused: true, migrations, waiting_on: vec!["node 5 is joining".into()] };
        let want = "\
migrations are paused
id  shard  phase                      reason  from  to  copied             entries    size                eta
 7  3      catch-up                   drain      4   1  [#####-----]  50%  50 of 100  2.0 KiB of 2.0 KiB  1.5 s
12  meta   add-learner (rolled back)  meta       -   5  [----------]   0%  0 of 9     0 B of 0 B          -
waiting: node 5 is joining
";
        assert_eq!(migrations_text(&found), want);
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["migrations"][1]["shard"], serde_json::Value::Null);
        assert_eq!(json["migrations"][0]["from_node"], 4);
    }

    #[test]
    fn plans_are_printed() {
        let action =
            Action { kind: "prefer".into(), what: "shard 3 should be led by node 1".into(), ..Action::default() };
        let planned =
            |dry_run, actions: Vec<Action>| Planned { map_version: 1, dry_run, actions, waiting_on: vec![] };
        assert_eq!(plan_text(&planned(true, vec![])), "nothing is to be done\n");
        let want = "kind    what\nprefer  shard 3 should be led by node 1\n";
        assert_eq!(plan_text(&planned(true, vec![action.clone()])), want);
        assert_eq!(plan_text(&planned(false, vec![action])), format!("begun:\n{want}"));
    }
}
