//! `INFO`: Redis's sections, with the fields that mean something here and true numbers in them.

use std::fmt::Write as _;

use super::{
    super::stats::RespStats, Args, Ctx, Op, Planned, Query, Reply, Step, connection::REDIS_VERSION, keys::size,
    settings::policy_name,
};

const SECTIONS: [&str; 8] =
    ["server", "clients", "memory", "persistence", "stats", "replication", "cluster", "keyspace"];

pub(super) fn info(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let everything = ["all", "default", "everything"];
    let all = args.len() == 1 || (1..args.len()).any(|index| everything.iter().any(|word| args.is(index, word)));
    let wanted = |name: &str| all || (1..args.len()).any(|index| args.is(index, name));
    let mut text = String::new();
    for name in SECTIONS.into_iter().filter(|name| wanted(name)) {
        let (title, fields) = section(ctx, name);
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let _ = write!(text, "# {title}\r\n{fields}");
    }
    if !wanted("keyspace") {
        return Ok(Step::Done(Reply::Text(text.into())));
    }
    // The last section; without an answer from every shard there is no true number to show.
    let requests = ctx.on_own_shards(|| Op::Read(Query::Size));
    let finish = move |results| {
        let keys = size(results).unwrap_or(0);
        if keys > 0 {
            let _ = write!(text, "db0:keys={keys}\r\n");
        }
        Step::Done(Reply::Text(text.into()))
    };
    Ok(Step::Many(requests, Box::new(finish)))
}

fn section(ctx: &Ctx<'_>, name: &str) -> (&'static str, String) {
    match name {
        "server" => ("Server", server(ctx)),
        "clients" => ("Clients", clients(ctx)),
        "memory" => ("Memory", memory(ctx)),
        "persistence" => ("Persistence", persistence(ctx)),
        "stats" => ("Stats", counters(ctx)),
        "replication" => ("Replication", "role:master\r\nconnected_slaves:0\r\n".to_owned()),
        "cluster" => ("Cluster", cluster(ctx)),
        _ => ("Keyspace", String::new()),
    }
}

fn server(ctx: &Ctx<'_>) -> String {
    let server = ctx.server();
    let uptime_s = server.started.elapsed().as_secs();
    format!(
        "redis_version:{REDIS_VERSION}\r\ncrema_version:{}\r\nredis_mode:{}\r\nos:{} {}\r\narch_bits:{}\r\n\
         process_id:{}\r\ntcp_port:{}\r\nuptime_in_seconds:{uptime_s}\r\nuptime_in_days:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        ctx.mode(),
        std::env::consts::OS,
        std::env::consts::ARCH,
        usize::BITS,
        std::process::id(),
        server.address.port(),
        uptime_s / 86_400,
    )
}

fn clients(ctx: &Ctx<'_>) -> String {
    let server = ctx.server();
    format!(
        "connected_clients:{}\r\nmaxclients:{}\r\nblocked_clients:0\r\n",
        server.stats.connected(),
        server.config.max_clients
    )
}

fn memory(ctx: &Ctx<'_>) -> String {
    let facts = (ctx.server().config.facts)();
    let resident = resident_bytes().map_or(String::new(), |bytes| {
        format!("used_memory:{bytes}\r\nused_memory_human:{:.2}M\r\nused_memory_rss:{bytes}\r\n", mebibytes(bytes))
    });
    let limit = facts.max_memory_bytes;
    format!("{resident}maxmemory:{limit}\r\nmaxmemory_policy:{}\r\n", policy_name(&facts))
}

fn persistence(ctx: &Ctx<'_>) -> String {
    let durable = u8::from((ctx.server().config.facts)().durable);
    format!("loading:0\r\naof_enabled:{durable}\r\n")
}

fn counters(ctx: &Ctx<'_>) -> String {
    let stats: &RespStats = &ctx.server().stats;
    let facts = (ctx.server().config.facts)();
    format!(
        "total_connections_received:{}\r\ntotal_commands_processed:{}\r\ntotal_net_input_bytes:{}\r\n\
         total_net_output_bytes:{}\r\nrejected_connections:{}\r\nexpired_keys:{}\r\nevicted_keys:{}\r\n\
         client_output_buffer_limit_disconnections:{}\r\n",
        stats.connections_accepted(),
        stats.calls(),
        stats.bytes_in(),
        stats.bytes_out(),
        stats.connections_refused(),
        facts.expired_keys,
        facts.evicted_keys,
        stats.connections_cut_off(),
    )
}

fn cluster(ctx: &Ctx<'_>) -> String {
    let facts = (ctx.server().config.facts)();
    format!(
        "cluster_enabled:{}\r\ncrema_node_id:{}\r\ncrema_nodes:{}\r\ncrema_shards:{}\r\ncrema_shards_hosted:{}\r\n\
         crema_shards_led:{}\r\n",
        u8::from(ctx.whereabouts().is_some()),
        facts.node_id,
        facts.nodes,
        ctx.map.num_shards(),
        facts.shards_hosted,
        facts.shards_led,
    )
}

/// What the process has in memory; `None` where the system doesn't tell (only Linux does, in pages of 4 KiB).
fn resident_bytes() -> Option<u64> {
    const PAGE_BYTES: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
