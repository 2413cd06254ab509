//! Keys whatever they hold: `DEL UNLINK EXISTS TOUCH TYPE DBSIZE RANDOMKEY FLUSHALL FLUSHDB`.

use super::{
    Args, Command, Ctx, Error, Op, Outcome, Planned, Query, Reply, Request, Step, all_read, all_written, errors,
    other, parts,
};
use crate::machine::command::Condition;

pub(super) fn del(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let keys = Ctx::keys_from(args, 1)?;
    let requests =
        ctx.write_keys(&keys, |place| Command::Delete { key: keys[place].clone(), condition: Condition::Always });
    Ok(Step::Many(requests, Box::new(|results| count_yes(all_written(results)))))
}

pub(super) fn touch(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let keys = Ctx::keys_from(args, 1)?;
    let requests = ctx.write_keys(&keys, |place| Command::Touch { key: keys[place].clone() });
    Ok(Step::Many(requests, Box::new(|results| count_yes(all_written(results)))))
}

pub(super) fn exists(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let keys = Ctx::keys_from(args, 1)?;
    let requests = ctx.by_shard(&keys).into_iter().map(|(shard, places)| {
        let queries = places.into_iter().map(|place| Query::Exists { key: keys[place].clone() });
        Request { shard, op: Op::Read(Query::Multi(queries.collect())) }
    });
    Ok(Step::Many(requests.collect(), Box::new(|results| count_yes(all_read(results)))))
}

pub(super) fn type_of(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(1)?;
    ctx.read(&key.clone(), Query::Exists { key }, |outcome| match outcome {
        Outcome::Present(true) => Reply::Simple("string"),
        Outcome::Present(false) => Reply::Simple("none"),
        outcome => other(outcome),
    })
}

pub(super) fn dbsize(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    let requests = ctx.on_own_shards(|| Op::Read(Query::Size));
    let finish = |results| Step::Done(size(results).map_or_else(|reply| reply, Reply::count));
    Ok(Step::Many(requests, Box::new(finish)))
}

/// The sum of the shards' `Size`.
fn size(results: Vec<Result<Outcome, Error>>) -> Result<u64, Reply> {
    all_read(results)?.into_iter().try_fold(0, |sum, outcome| match outcome {
        Outcome::Count(keys) => Ok(sum + keys),
        outcome => Err(other(outcome)),
    })
}

/// A key of a shard drawn by its share of the keys, so that every key is about as likely.
pub(super) fn randomkey(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    let seed: u64 = rand::random();
    let requests = ctx.on_own_shards(|| Op::Read(Query::Multi(vec![Query::Size, Query::RandomKey { seed }])));
    let finish = move |results| Step::Done(choose(all_read(results), seed).unwrap_or_else(|reply| reply));
    Ok(Step::Many(requests, Box::new(finish)))
}

fn choose(outcomes: Result<Vec<Outcome>, Reply>, seed: u64) -> Result<Reply, Reply> {
    let mut offers = Vec::new();
    for outcome in outcomes? {
        match <[Outcome; 2]>::try_from(parts(outcome)) {
            Ok([Outcome::Count(keys), Outcome::RandomKey(Some(key))]) => offers.push((keys, key)),
            Ok([Outcome::Count(_), Outcome::RandomKey(None)]) => {}
            _ => return Err(errors::unexpected_outcome()),
        }
    }
    let total: u64 = offers.iter().map(|(keys, _)| keys).sum();
    let mut draw = crate::types::Draw::new(seed).below(total);
    for (keys, key) in offers {
        if draw < keys {
            return Ok(Reply::Bulk(key));
        }
        draw -= keys;
    }
    Ok(Reply::Null)
}

/// Both modes empty a shard at one log position, so `ASYNC` and `SYNC` mean the same. It is all shards in cluster mode too:
/// a shard that is on its way from one master to another is not missed.
pub(super) fn flush(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let known = match args.len() {
        1 => true,
        2 => args.is(1, "async") || args.is(1, "sync"),
        _ => false,
    };
    if !known {
        return Err(errors::syntax());
    }
    let requests = ctx.on_all_shards(|| Op::Write(Command::Flush));
    let finish = |results| Step::Done(all_written(results).map_or_else(|reply| reply, |_| Reply::OK));
    Ok(Step::Many(requests, Box::new(finish)))
}

/// How many parts say yes.
fn count_yes(outcomes: Result<Vec<Outcome>, Reply>) -> Step {
    let count = outcomes.and_then(|outcomes| {
        outcomes.into_iter().flat_map(parts).try_fold(0, |sum, part| match part {
            Outcome::Deleted(yes) | Outcome::Present(yes) => Ok(sum + u64::from(yes)),
            outcome => Err(other(outcome)),
        })
    });
    Step::Done(count.map_or_else(|reply| reply, Reply::count))
}
