//! `CLUSTER` and `ASKING`: the cluster as Redis would describe it.
//!
//! How nodes and shards become masters and replicas is said in `resp::cluster`. There are no epochs of single nodes here:
//! the version of the cluster map stands for all of them. Offsets and ping times are shown as 0.

use std::ops::RangeInclusive;

use super::{
    super::{
        cluster::{Picture, PlaceState, Station},
        errors,
    },
    Args, Ctx, Error, Key, Op, Outcome, Planned, Query, Reply, Request, Step, Sub, all_read, help, other, plan_sub,
    text,
};
use crate::{
    partitioning::{SLOTS, ShardMap},
    types::NodeId,
};

const DISABLED: &str = "ERR This instance has cluster support disabled";
/// Keys of a shard that are looked at in one round.
const KEYS_PER_ROUND: u32 = 1_000;

pub(super) const SUBS: &[Sub] = &[
    Sub { name: "info", arity: 2, plan: info },
    Sub { name: "myid", arity: 2, plan: myid },
    Sub { name: "keyslot", arity: 3, plan: keyslot },
    Sub { name: "slots", arity: 2, plan: slots },
    Sub { name: "shards", arity: 2, plan: shards },
    Sub { name: "nodes", arity: 2, plan: nodes },
    Sub { name: "countkeysinslot", arity: 3, plan: count_keys_in_slot },
    Sub { name: "getkeysinslot", arity: 4, plan: get_keys_in_slot },
    Sub { name: "help", arity: 2, plan: cluster_help },
];

pub(super) fn cluster(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    plan_sub(SUBS, ctx, args)
}

/// Says that a redirect with `ASK` is followed. Nobody is sent one, since no slot is ever half here: it changes nothing.
pub(super) fn asking(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    enabled(ctx)?;
    Ok(Step::Done(Reply::OK))
}

fn enabled(ctx: &Ctx<'_>) -> Result<(), Reply> {
    ctx.whereabouts().map(|_| ()).ok_or_else(|| Reply::error(DISABLED))
}

fn picture(ctx: &Ctx<'_>) -> Result<Picture, Reply> {
    let known = ctx.whereabouts().ok_or_else(|| Reply::error(DISABLED))?;
    Picture::draw(known).ok_or_else(|| Reply::error("CLUSTERDOWN this node has not joined a cluster yet"))
}

/// As [`picture`], for programs that will go by it (people look at `CLUSTER NODES`). A node that is cut off shows itself for the slots that it can't reach: a client
/// that took it at its word would ask nobody else any more.
fn chart(ctx: &Ctx<'_>) -> Result<Picture, Reply> {
    let picture = picture(ctx)?;
    match picture.count(PlaceState::Lost) * 2 > u32::from(SLOTS) {
        true => Err(Reply::error("CLUSTERDOWN this node reaches less than half of the cluster; ask another one")),
        false => Ok(picture),
    }
}

fn info(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    let picture = picture(ctx)?;
    let [led, leaderless, lost] =
        [PlaceState::Led, PlaceState::Leaderless, PlaceState::Lost].map(|state| picture.count(state));
    let masters = picture.stations.keys().filter(|node| !picture.ranges(**node).is_empty()).count();
    let state = if led + leaderless == u32::from(SLOTS) { "ok" } else { "fail" };
    Ok(Step::Done(Reply::Text(
        format!(
            "cluster_state:{state}\r\ncluster_slots_assigned:{}\r\ncluster_slots_ok:{led}\r\n\
             cluster_slots_pfail:{leaderless}\r\ncluster_slots_fail:{lost}\r\ncluster_known_nodes:{}\r\n\
             cluster_size:{masters}\r\ncluster_current_epoch:{epoch}\r\ncluster_my_epoch:{epoch}\r\n",
            led + leaderless + lost,
            picture.stations.len(),
            epoch = picture.epoch,
        )
        .into(),
    )))
}

fn myid(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    let picture = picture(ctx)?;
    let own = picture.stations.get(&picture.own).map(|station| station.id.clone());
    Ok(Step::Done(text(own.unwrap_or_default())))
}

fn keyslot(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    enabled(ctx)?;
    Ok(Step::Done(Reply::count(ctx.map.slot_of(args.word(2)).into())))
}

/// Ranges, each with its master first and then its replicas, as far as they can be reached.
fn slots(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    let picture = chart(ctx)?;
    let rows = picture.places.iter().map(|place| {
        let mut row = vec![Reply::count((*place.slots.start()).into()), Reply::count((*place.slots.end()).into())];
        let station = |node| picture.stations.get(node);
        let replicas = place.replicas.iter().filter_map(station).filter(|replica| replica.reached);
        row.extend(station(&place.master).into_iter().chain(replicas).map(endpoint));
        Reply::Array(row)
    });
    Ok(Step::Done(Reply::Array(rows.collect())))
}

/// Host, port, id, and what else is known of it.
fn endpoint(station: &Station) -> Reply {
    let more = station.name().map(|name| (Reply::bulk("hostname"), text(name)));
    Reply::Array(vec![
        text(station.host.as_str()),
        Reply::count(station.port.into()),
        text(station.id.as_str()),
        Reply::Map(more.into_iter().collect()),
    ])
}

/// Each master with its slots and with the nodes that are shown as its replicas.
fn shards(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    let picture = chart(ctx)?;
    let masters = picture.stations.keys().filter(|node| picture.master_of(**node).is_none());
    let shards = masters.map(|master| {
        let bounds = picture.ranges(*master).into_iter().flat_map(|range| [*range.start(), *range.end()]);
        let slots = bounds.map(|slot| Reply::count(slot.into())).collect();
        let replicas = picture.replicas_of(*master);
        let nodes = std::iter::once((master, "master")).chain(replicas.iter().map(|node| (node, "replica")));
        let nodes = nodes.filter_map(|(node, role)| Some(details(picture.stations.get(node)?, role)));
        Reply::Map(vec![
            (Reply::bulk("slots"), Reply::Array(slots)),
            (Reply::bulk("nodes"), Reply::Array(nodes.collect())),
        ])
    });
    Ok(Step::Done(Reply::Array(shards.collect())))
}

fn details(station: &Station, role: &'static str) -> Reply {
    let mut fields = vec![
        (Reply::bulk("id"), text(station.id.as_str())),
        (Reply::bulk("port"), Reply::count(station.port.into())),
        (Reply::bulk("ip"), text(station.host.as_str())),
        (Reply::bulk("endpoint"), text(station.host.as_str())),
    ];
    fields.extend(station.name().map(|name| (Reply::bulk("hostname"), text(name))));
    fields.extend([
        (Reply::bulk("role"), Reply::bulk(role)),
        (Reply::bulk("replication-offset"), Reply::Integer(0)),
        (Reply::bulk("health"), Reply::bulk(if station.reached { "online" } else { "failed" })),
    ]);
    Reply::Map(fields)
}

/// A line for each node, as in the configuration file of a Redis cluster.
fn nodes(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    let picture = picture(ctx)?;
    let lines: String = picture.stations.iter().map(|(node, station)| line(&picture, *node, station)).collect();
    Ok(Step::Done(Reply::Text(lines.into())))
}

fn line(picture: &Picture, node: NodeId, station: &Station) -> String {
    let Station { id, host, port, bus_port, reached } = station;
    let master = picture.master_of(node).and_then(|master| picture.stations.get(&master));
    let name = station.name().map_or(String::new(), |name| format!(",{name}"));
    let myself = if node == picture.own { "myself," } else { "" };
    let role = if master.is_some() { "slave" } else { "master" };
    let (doubt, link) = if *reached { ("", "connected") } else { (",fail?", "disconnected") };
    let master = master.map_or("-", |master| &master.id);
    let slots: String = picture.ranges(node).iter().map(|range| format!(" {}", written(range))).collect();
    let epoch = picture.epoch;
    format!("{id} {host}:{port}@{bus_port}{name} {myself}{role}{doubt} {master} 0 0 {epoch} {link}{slots}\n")
}

fn written(range: &RangeInclusive<u16>) -> String {
    match (range.start(), range.end()) {
        (only, end) if only == end => only.to_string(),
        (start, end) => format!("{start}-{end}"),
    }
}

fn count_keys_in_slot(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    enabled(ctx)?;
    let slot = u16::try_from(args.integer(2)?).ok().filter(|slot| *slot < SLOTS);
    let slot = slot.ok_or_else(|| Reply::error("ERR Invalid slot"))?;
    Ok(Search::new(ctx.map, slot, None).step())
}

fn get_keys_in_slot(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    enabled(ctx)?;
    let slot = u16::try_from(args.integer(2)?).ok().filter(|slot| *slot < SLOTS);
    let limit = usize::try_from(args.integer(3)?).ok();
    let (slot, limit) = slot.zip(limit).ok_or_else(|| Reply::error("ERR Invalid slot or number of keys"))?;
    Ok(match limit {
        0 => Step::Done(Reply::Array(Vec::new())),
        limit => Search::new(ctx.map, slot, Some(limit)).step(),
    })
}

/// Goes through the keys of a shard for those of a slot, a round at a time: there is no index by slots.
struct Search {
    map: ShardMap,
    slot: u16,
    cursor: u64,
    /// How many keys are wanted; `None`: their number.
    limit: Option<usize>,
    keys: Vec<Key>,
    count: u64,
}

impl Search {
    fn new(map: &ShardMap, slot: u16, limit: Option<usize>) -> Self {
        Self { map: map.clone(), slot, cursor: 0, limit, keys: Vec::new(), count: 0 }
    }

    fn step(self) -> Step {
        let query = Query::Scan { cursor: self.cursor, count: KEYS_PER_ROUND };
        let request = Request { shard: self.map.owner(self.slot), op: Op::Read(query) };
        Step::Many(vec![request], Box::new(|results| self.take(results).unwrap_or_else(Step::Done)))
    }

    fn take(mut self, results: Vec<Result<Outcome, Error>>) -> Planned {
        let (cursor, keys) = match all_read(results)?.pop() {
            Some(Outcome::Keys { cursor, keys }) => (cursor, keys),
            Some(outcome) => return Err(other(outcome)),
            None => return Err(errors::unexpected_outcome()),
        };
        let of_slot = keys.into_iter().filter(|key| self.map.slot_of(key) == self.slot);
        match self.limit {
            Some(_) => self.keys.extend(of_slot),
            None => self.count += of_slot.count() as u64,
        }
        let enough = self.limit.is_some_and(|limit| self.keys.len() >= limit);
        self.cursor = cursor;
        if cursor != 0 && !enough {
            return Ok(self.step());
        }
        Ok(Step::Done(match self.limit {
            None => Reply::count(self.count),
            Some(limit) => Reply::Array(self.keys.into_iter().take(limit).map(Reply::Bulk).collect()),
        }))
    }
}

fn cluster_help(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    enabled(ctx)?;
    help(&[
        "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "COUNTKEYSINSLOT <slot>",
        "GETKEYSINSLOT <slot> <count>",
        "INFO",
        "KEYSLOT <key>",
        "MYID",
        "NODES",
        "SHARDS",
        "SLOTS",
        "HELP",
    ])
}
