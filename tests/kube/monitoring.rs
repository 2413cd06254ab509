//! What a real Prometheus gets to see, of nodes and of the operator.

use std::{fs, net::SocketAddr};

use crema_tests::{http, process::Process};
use serde_json::Value;

use crate::{
    crema::{Crema, Storage},
    kubectl::wait_for,
    machines, operator,
};

const DOOR: &str = "127.0.0.1:9095";

/// The values that a query gives.
fn ask(query: &str) -> Option<Vec<f64>> {
    let address: SocketAddr = DOOR.parse().ok()?;
    let encoded = query.replace('=', "%3D").replace('>', "%3E").replace(' ', "%20");
    let (status, body) = http::get(address, &format!("/api/v1/query?query={encoded}")).ok()?;
    let answer: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
    let values = answer["data"]["result"].as_array()?.iter();
    values.map(|one| one["value"][1].as_str()?.parse().ok()).collect()
}

#[test]
fn prometheus_reads_all_of_it() {
    let crema = Crema::start("monitoring", Storage::Memory);
    let load = crema.load();
    let ip = |pod: &Value| pod["status"]["podIP"].as_str().map(str::to_owned);
    let nodes = crema.pods().iter().filter_map(ip).map(|ip| format!("{ip}:9090")).collect::<Vec<_>>();
    let turn = operator::turn();
    let operators = operator::running().iter().filter_map(ip).map(|ip| format!("{ip}:8080")).collect::<Vec<_>>();
    let jobs: String = [("nodes", &nodes), ("operators", &operators)]
        .map(|(job, targets)| format!("- {{job_name: {job}, static_configs: [{{targets: {targets:?}}}]}}\n"))
        .concat();
    let folder = machines::folder().join("prometheus");
    fs::create_dir_all(&folder).expect("a folder");
    let config = folder.join("prometheus.yml");
    fs::write(&config, format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}"))
        .expect("write the config");
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address={DOOR}"),
    ];
    let _prometheus = Process::start_system("prometheus", &arguments, &folder.join("log"));
    let all = (nodes.len() + operators.len()) as f64;
    wait_for("Prometheus to read all of them", || {
        (ask("count(up == 1)")? == [all] && ask("sum(rate(raft_proposals_total[5s])) > 0")?.len() == 1).then_some(())
    });
    assert_eq!(ask("sum(crema_operator_leading)").as_deref(), Some([1.0].as_slice()), "one operator leads");
    drop(turn);
    crema.judge_without_failures(load, "monitoring");
}
