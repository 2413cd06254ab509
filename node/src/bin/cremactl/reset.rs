//! `reset-shards`: the last resort for shards whose majority is gone for good.

use clap::Args;
use crema_api::v1;
use serde::Serialize;

use crate::{
    Answer,
    admin::{AdminArgs, failed},
};

/// What a person must know before.
pub(crate) const ABOUT: &str = "\
Lets shards that lost the majority of their replicas for good return EMPTY.

THEIR ENTRIES ARE LOST, those that a surviving replica still has included. Each shard begins anew, with new replicas on
nodes that live, and takes reads and writes again. The old replicas are destroyed wherever they turn up, and the lives
that are named as dead never vote again in any group: such a node comes back empty.

Name with --dead only what is certain: the process has ended in memory mode, or the disk is gone. That a node doesn't
answer proves nothing; wait for it if its data may come back. 'cremactl nodes -o json' shows the incarnations. A node
that is back with another incarnation needs not be named; one that is down must be, for it may only have been silent.
It is refused while a majority of a shard's replicas may live, and when a node that is named is connected.

Without --yes it only says what it would do.";

/// Gives shards up, and lets them begin anew.
#[derive(Args)]
pub(crate) struct ResetShards {
    /// The shards
    #[arg(long, required = true, value_delimiter = ',', value_name = "SHARD")]
    shards: Vec<u32>,
    /// A life that is dead for good; several are separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NODE=INCARNATION", value_parser = life)]
    dead: Vec<Life>,
    /// Do it: the entries of these shards are lost
    #[arg(long)]
    yes: bool,
    /// Refuse unless the map has this version
    #[arg(long, default_value_t = 0, value_name = "VERSION", hide_default_value = true)]
    expect_version: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

/// One life of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    node: u64,
    incarnation: String,
}

#[derive(Serialize)]
struct Reset {
    map_version: u64,
    done: bool,
    shards: Vec<Shard>,
}

#[derive(Serialize)]
struct Shard {
    shard: u32,
    generation: u64,
    nodes: Vec<u64>,
}

impl ResetShards {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        let ask = self.request();
        let answer = self.admin.connect().await?.reset_shards(ask).await.map_err(failed)?;
        let v1::ResetShardsResponse { map_version, shards } = answer;
        let shard = |v1::ShardReset { shard, generation, nodes }| Shard { shard, generation, nodes };
        let done = self.yes || shards.is_empty();
        let reset = Reset { map_version, done, shards: shards.into_iter().map(shard).collect() };
        self.admin.print_as(done, &reset, reset_text)
    }

    fn request(&self) -> v1::ResetShardsRequest {
        let life = |Life { node, incarnation }: &Life| v1::NodeLife { node: *node, incarnation: incarnation.clone() };
        v1::ResetShardsRequest {
            shards: self.shards.clone(),
            dead: self.dead.iter().map(life).collect(),
            expected_version: self.expect_version,
            dry_run: !self.yes,
        }
    }
}

fn life(text: &str) -> Result<Life, String> {
    let (node, incarnation) = text.split_once('=').ok_or("expected NODE=INCARNATION")?;
    let node = node.parse::<u64>().ok().filter(|node| *node > 0).ok_or_else(|| format!("'{node}' is not a node"))?;
    let is_hex = incarnation.len() == 32 && incarnation.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        return Err(format!("'{incarnation}' is not an incarnation, which has 32 hex digits"));
    }
    Ok(Life { node, incarnation: incarnation.to_owned() })
}

fn reset_text(reset: &Reset) -> String {
    let Reset { map_version, done, shards } = reset;
    if shards.is_empty() {
        return format!("all of them have begun anew already (map version {map_version})\n");
    }
    let line = |Shard { shard, generation, nodes }: &Shard| {
        let nodes: Vec<String> = nodes.iter().map(u64::to_string).collect();
        let nodes = nodes.join(", ");
        match done {
            true => format!("shard {shard} has begun its generation {generation}, empty, on node {nodes}\n"),
            false => format!("shard {shard} would begin its generation {generation}, EMPTY, on node {nodes}\n"),
        }
    };
    let lines: String = shards.iter().map(line).collect();
    match done {
        true => format!("{lines}what they held is lost (map version {map_version})\n"),
        false => format!("{lines}nothing was done; with --yes all that these shards hold is lost for good\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_read() {
        let hex = "0123456789abcdef0123456789abcdef";
        assert_eq!(life(&format!("2={hex}")), Ok(Life { node: 2, incarnation: hex.to_owned() }));
        for bad in ["2", "=0", "0=0123456789abcdef0123456789abcdef", "2=12", "x=0123456789abcdef0123456789abcdef"] {
            assert!(life(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn resets_are_printed() {
        let reset = |done, shards: &[u32]| {
            let shard = |shard: &u32| Shard { shard: *shard, generation: 2, nodes: vec![1, 4, 5] };
            reset_text(&Reset { map_version: 9, done, shards: shards.iter().map(shard).collect() })
        };
        let want = "\
shard 3 would begin its generation 2, EMPTY, on node 1, 4, 5
nothing was done; with --yes all that these shards hold is lost for good
";
        assert_eq!(reset(false, &[3]), want);
        assert!(reset(true, &[3]).ends_with("what they held is lost (map version 9)\n"));
        assert_eq!(reset(true, &[]), "all of them have begun anew already (map version 9)\n");
    }
}
