//! `INFO`: Redis's sections, with the fields that mean something here and true numbers in them.

use std::fmt::Write as _;

use super::{
    super::{
        session::Reads,
        stats::{CommandStats, RespStats},
    },
    Args, Ctx, Error, Op, Outcome, Planned, Query, Reply, Step, all_read,
    connection::REDIS_VERSION,
    errors, parts,
    settings::policy_name,
};

/// In Redis's order; `commandstats` only when it is asked for by its name, or with everything.
const SECTIONS: [&str; 12] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "modules",
    "commandstats",
    "errorstats",
    "cluster",
    "keyspace",
];

pub(super) fn info(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let asks = |word: &str| (1..args.len()).any(|index| args.is(index, word));
    let all = asks("all") || asks("everything");
    let default = args.len() == 1 || asks("default");
    let wanted = |name: &str| all || asks(name) || (default && name != "commandstats");
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
    // Who reads locally is answered from here, which knows the keys and not their deadlines.
    let queries = match ctx.session.reads {
        Reads::Local => vec![Query::Size],
        Reads::Linearizable => vec![Query::Size, Query::Expiring],
    };
    let requests = ctx.on_own_shards(|| Op::Read(Query::Multi(queries.clone())));
    let finish = move |results| {
        let (keys, expiring) = keyspace(results).unwrap_or((0, 0));
        if keys > 0 {
            // No average is kept; Redis says 0 when it has none.
            let _ = write!(text, "db0:keys={keys},expires={expiring},avg_ttl=0\r\n");
        }
        Step::Done(Reply::Text(text.into()))
    };
    Ok(Step::Many(requests, Box::new(finish)))
}

/// How many keys there are, and how many of them have a deadline.
fn keyspace(results: Vec<Result<Outcome, Error>>) -> Result<(u64, u64), Reply> {
    all_read(results)?.into_iter().try_fold((0, 0), |(keys, expiring), outcome| match parts(outcome)[..] {
        [Outcome::Count(more)] => Ok((keys + more, expiring)),
        [Outcome::Count(more), Outcome::Count(more_expiring)] => Ok((keys + more, expiring + more_expiring)),
        _ => Err(errors::unexpected_outcome()),
    })
}

fn section(ctx: &Ctx<'_>, name: &str) -> (&'static str, String) {
    match name {
        "server" => ("Server", server(ctx)),
        "clients" => ("Clients", clients(ctx)),
        "memory" => ("Memory", memory(ctx)),
        "persistence" => ("Persistence", persistence(ctx)),
        "stats" => ("Stats", counters(ctx)),
        "replication" => ("Replication", "role:master\r\nconnected_slaves:0\r\n".to_owned()),
        "cpu" => ("CPU", cpu()),
        "modules" => ("Modules", String::new()),
        "commandstats" => ("Commandstats", commands(ctx)),
        "errorstats" => ("Errorstats", error_kinds(ctx)),
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
         keyspace_hits:{}\r\nkeyspace_misses:{}\r\ntotal_error_replies:{}\r\n\
         client_output_buffer_limit_disconnections:{}\r\n",
        stats.connections_accepted(),
        stats.calls(),
        stats.bytes_in(),
        stats.bytes_out(),
        stats.connections_refused(),
        facts.expired_keys,
        facts.evicted_keys,
        facts.hits,
        facts.misses,
        stats.error_kinds().iter().map(|(_, count)| count).sum::<u64>(),
        stats.connections_cut_off(),
    )
}

fn commands(ctx: &Ctx<'_>) -> String {
    let mut lines = String::new();
    for command in ctx.server().stats.commands() {
        let CommandStats { name, calls, errors, micros } = command;
        let each = micros as f64 / calls.max(1) as f64;
        let _ = write!(
            lines,
            "cmdstat_{name}:calls={calls},usec={micros},usec_per_call={each:.2},rejected_calls=0,failed_calls={errors}\r\n"
        );
    }
    lines
}

fn error_kinds(ctx: &Ctx<'_>) -> String {
    let kinds = ctx.server().stats.error_kinds();
    kinds.iter().map(|(kind, count)| format!("errorstat_{kind}:count={count}\r\n")).collect()
}

/// The processor time of the process; nothing where the system doesn't tell.
fn cpu() -> String {
    // Linux shows it in 1/100 s, whatever its own clock does: fields 14 and 15, behind a name in brackets.
    const TICKS_PER_SECOND: f64 = 100.0;
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return String::new() };
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    match ticks[..] {
        [user, system] => format!(
            "used_cpu_sys:{:.6}\r\nused_cpu_user:{:.6}\r\n",
            system / TICKS_PER_SECOND,
            user / TICKS_PER_SECOND
        ),
        _ => String::new(),
    }
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
