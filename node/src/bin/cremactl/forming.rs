//! `init` and `wait-healthy`: a cluster's beginning, and whether anything ails it.

use std::time::{Duration, Instant};

use clap::Args;
use crema_api::v1;
use serde::Serialize;

use crate::{
    Answer, address,
    admin::{AdminArgs, failed},
};

/// One call waits no longer, so that a change of leader is noticed.
const ONE_CALL: Duration = Duration::from_secs(10);
/// After a call that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Forms a cluster.
#[derive(Args)]
pub(crate) struct Init {
    /// The first members as `id=host:port,...`, each by its gRPC port; the node that is asked may be left out
    #[arg(long, value_delimiter = ',', value_parser = member, value_name = "ID=HOST:PORT")]
    nodes: Vec<(u64, String)>,
    /// Give up when not all of them answer in this time
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Waits until nothing ails the cluster.
#[derive(Args)]
pub(crate) struct WaitHealthy {
    /// Fail after this long; 0 looks once
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Serialize)]
struct Formed {
    cluster_uid: String,
    map_version: u64,
    nodes: Vec<u64>,
}

#[derive(Default, Serialize)]
struct Health {
    healthy: bool,
    ailments: Vec<String>,
    map_version: u64,
}

fn member(text: &str) -> Result<(u64, String), String> {
    let (id, at) = text.split_once('=').ok_or("a member is written ID=HOST:PORT")?;
    let id = id.parse().ok().filter(|id| *id > 0).ok_or("a member has a whole number from 1 on")?;
    Ok((id, address(at)?))
}

impl Init {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        // A person names neither the lives nor the identity: whoever answers at these addresses, and a random one.
        let nodes = self.nodes.iter().map(|(node, address)| v1::NodeAt {
            node: *node,
            address: address.clone(),
            incarnation: String::new(),
        });
        let (nodes, cluster_uid) = (nodes.collect(), String::new());
        let ask = v1::InitRequest { nodes, timeout_ms: self.timeout * 1_000, cluster_uid };
        let v1::InitResponse { cluster_uid, map_version, nodes } =
            self.admin.connect().await?.init(ask).await.map_err(failed)?;
        self.admin.print(&Formed { cluster_uid, map_version, nodes }, |formed| {
            let nodes: Vec<String> = formed.nodes.iter().map(u64::to_string).collect();
            format!("cluster {} is formed of node {}\n", formed.cluster_uid, nodes.join(", "))
        })
    }
}

impl WaitHealthy {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        let health = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.ask(left.min(ONE_CALL)).await {
                Ok(health) if health.healthy || left.is_zero() => break health,
                Ok(_) => {}
                Err((passing, error)) if !passing || left.is_zero() => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE.min(left)).await,
            }
        };
        self.admin.print_as(health.healthy, &health, health_text)
    }

    /// One look; an error says whether asking again may help.
    async fn ask(&self, wait: Duration) -> Result<Health, (bool, anyhow::Error)> {
        let mut client = self.admin.connect().await.map_err(|error| (true, error))?;
        match client.wait_healthy(wait).await {
            Ok(v1::WaitHealthyResponse { healthy, ailments, map_version }) => {
                Ok(Health { healthy, ailments, map_version })
            }
            Err(error) => Err((error.is_passing(), failed(error))),
        }
    }
}

fn health_text(health: &Health) -> String {
    match health.healthy {
        true => format!("healthy (map version {})\n", health.map_version),
        false => health.ailments.iter().map(|ailment| format!("not healthy: {ailment}\n")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_parsed_or_refused() {
        assert_eq!(member("2=db-2.svc:7000"), Ok((2, "db-2.svc:7000".to_owned())));
        for wrong in ["", "2", "0=a:1", "x=a:1", "2=a", "2=:1", "2=a:x"] {
            assert!(member(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn health_is_printed() {
        let ailments = vec!["shard 3 has 2 of 3 voters".to_owned(), "node 4 is joining".to_owned()];
        let ill = Health { healthy: false, ailments, map_version: 5 };
        assert_eq!(health_text(&ill), "not healthy: shard 3 has 2 of 3 voters\nnot healthy: node 4 is joining\n");
        let well = Health { healthy: true, map_version: 6, ..Health::default() };
        assert_eq!(health_text(&well), "healthy (map version 6)\n");
        assert_eq!(serde_json::to_value(&well).unwrap()["healthy"], true);
    }
}
