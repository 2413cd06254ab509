//! Every command: name, arity, flags, keys, and who plans it. `COMMAND` shows this table, so it must be true.

use super::{
    Handler, Keys, Spec, catalogue, cluster, connection, counters, expiry, info, keys, ranges, scan, server,
    settings, strings,
};

const READ_FAST: &[&str] = &["readonly", "fast"];
const READ: &[&str] = &["readonly"];
const WRITE: &[&str] = &["write"];
const WRITE_FAST: &[&str] = &["write", "fast"];
const GROW: &[&str] = &["write", "denyoom"];
const GROW_FAST: &[&str] = &["write", "denyoom", "fast"];
const ALWAYS: &[&str] = &["loading", "stale"];
const ALWAYS_FAST: &[&str] = &["loading", "stale", "fast"];
const GREETING: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth"];

/// All commands; their places are their numbers in the statistics.
pub(in crate::resp) fn all() -> &'static [Spec] {
    &TABLE
}

/// The most used come first, which only helps the reader.
#[rustfmt::skip]
pub(super) static TABLE: [Spec; 55] = [
    spec("get", 2, READ_FAST, Keys::First, "string", "1.0.0", strings::get,
        "Get the value of a key"),
    spec("set", -3, GROW, Keys::First, "string", "1.0.0", strings::set,
        "Set the value of a key"),
    spec("mget", -2, READ_FAST, Keys::All, "string", "1.0.0", strings::mget,
        "Get the values of all the given keys"),
    spec("mset", -3, GROW, Keys::Pairs, "string", "1.0.1", strings::mset,
        "Set several keys; atomic for the keys of one shard"),
    spec("getdel", 2, WRITE_FAST, Keys::First, "string", "6.2.0", strings::getdel,
        "Get the value of a key and delete the key"),
    spec("getex", -2, WRITE_FAST, Keys::First, "string", "6.2.0", strings::getex,
        "Get the value of a key and set or remove its deadline"),
    spec("getset", 3, GROW_FAST, Keys::First, "string", "1.0.0", strings::getset,
        "Set a key and return its old value"),
    spec("setnx", 3, GROW_FAST, Keys::First, "string", "1.0.0", strings::setnx,
        "Set the value of a key, only if it does not exist"),
    spec("setex", 4, GROW, Keys::First, "string", "2.0.0", strings::setex,
        "Set the value and the time to live of a key in seconds"),
    spec("psetex", 4, GROW, Keys::First, "string", "2.6.0", strings::psetex,
        "Set the value and the time to live of a key in milliseconds"),
    spec("incr", 2, GROW_FAST, Keys::First, "string", "1.0.0", counters::incr,
        "Increment the number of a key by one"),
    spec("decr", 2, GROW_FAST, Keys::First, "string", "1.0.0", counters::decr,
        "Decrement the number of a key by one"),
    spec("incrby", 3, GROW_FAST, Keys::First, "string", "1.0.0", counters::incrby,
        "Increment the number of a key"),
    spec("decrby", 3, GROW_FAST, Keys::First, "string", "1.0.0", counters::decrby,
        "Decrement the number of a key"),
    spec("incrbyfloat", 3, GROW_FAST, Keys::First, "string", "2.6.0", counters::incrbyfloat,
        "Increment the decimal number of a key"),
    spec("append", 3, GROW_FAST, Keys::First, "string", "2.0.0", ranges::append,
        "Append to the value of a key"),
    spec("strlen", 2, READ_FAST, Keys::First, "string", "2.2.0", ranges::strlen,
        "Get the length of the value of a key"),
    spec("getrange", 4, READ, Keys::First, "string", "2.4.0", ranges::getrange,
        "Get a part of the value of a key"),
    spec("substr", 4, READ, Keys::First, "string", "1.0.0", ranges::getrange,
        "Get a part of the value of a key (the old name of GETRANGE)"),
    spec("setrange", 4, GROW, Keys::First, "string", "2.2.0", ranges::setrange,
        "Overwrite a part of the value of a key"),
    spec("expire", -3, WRITE_FAST, Keys::First, "generic", "1.0.0", expiry::expire,
        "Set the time to live of a key in seconds"),
    spec("pexpire", -3, WRITE_FAST, Keys::First, "generic", "2.6.0", expiry::pexpire,
        "Set the time to live of a key in milliseconds"),
    spec("expireat", -3, WRITE_FAST, Keys::First, "generic", "1.2.0", expiry::expireat,
        "Set the deadline of a key in Unix seconds"),
    spec("pexpireat", -3, WRITE_FAST, Keys::First, "generic", "2.6.0", expiry::pexpireat,
        "Set the deadline of a key in Unix milliseconds"),
    spec("ttl", 2, READ_FAST, Keys::First, "generic", "1.0.0", expiry::ttl,
        "Get the time to live of a key in seconds"),
    spec("pttl", 2, READ_FAST, Keys::First, "generic", "2.6.0", expiry::pttl,
        "Get the time to live of a key in milliseconds"),
    spec("expiretime", 2, READ_FAST, Keys::First, "generic", "7.0.0", expiry::expiretime,
        "Get the deadline of a key in Unix seconds"),
    spec("pexpiretime", 2, READ_FAST, Keys::First, "generic", "7.0.0", expiry::pexpiretime,
        "Get the deadline of a key in Unix milliseconds"),
    spec("persist", 2, WRITE_FAST, Keys::First, "generic", "2.2.0", expiry::persist,
        "Remove the deadline of a key"),
    spec("del", -2, WRITE, Keys::All, "generic", "1.0.0", keys::del,
        "Delete keys; atomic for the keys of one shard"),
    spec("unlink", -2, WRITE_FAST, Keys::All, "generic", "4.0.0", keys::del,
        "Delete keys (the same as DEL)"),
    spec("exists", -2, READ_FAST, Keys::All, "generic", "1.0.0", keys::exists,
        "Count which of the given keys exist"),
    spec("touch", -2, READ_FAST, Keys::All, "generic", "3.2.1", keys::touch,
        "Record an access to keys and count which exist"),
    spec("type", 2, READ_FAST, Keys::First, "generic", "1.0.0", keys::type_of,
        "Get the type of a key"),
    spec("scan", -2, READ, Keys::None, "generic", "2.8.0", scan::scan,
        "Iterate over the keys"),
    spec("randomkey", 1, READ, Keys::None, "generic", "1.0.0", keys::randomkey,
        "Return a random key"),
    spec("dbsize", 1, READ_FAST, Keys::None, "server", "1.0.0", keys::dbsize,
        "Return the number of keys"),
    spec("flushall", -1, WRITE, Keys::None, "server", "1.0.0", keys::flush,
        "Remove all keys, shard by shard"),
    spec("flushdb", -1, WRITE, Keys::None, "server", "1.0.0", keys::flush,
        "Remove all keys, shard by shard"),
    spec("ping", -1, &["fast"], Keys::None, "connection", "1.0.0", connection::ping,
        "Ping the node"),
    spec("echo", 2, ALWAYS_FAST, Keys::None, "connection", "1.0.0", connection::echo,
        "Echo the given string"),
    spec("hello", -1, GREETING, Keys::None, "connection", "6.0.0", connection::hello,
        "Greet and choose the protocol"),
    spec("auth", -2, GREETING, Keys::None, "connection", "1.0.0", connection::auth,
        "Authenticate"),
    spec("select", 2, ALWAYS_FAST, Keys::None, "connection", "1.0.0", connection::select,
        "Change the database; there is only 0"),
    spec("quit", -1, GREETING, Keys::None, "connection", "1.0.0", connection::quit,
        "Close the connection"),
    spec("reset", 1, GREETING, Keys::None, "connection", "6.2.0", connection::reset,
        "Reset the connection"),
    spec("client", -2, &[], Keys::None, "connection", "2.4.0", connection::client,
        "Inspect and name connections"),
    spec("readonly", 1, ALWAYS_FAST, Keys::None, "cluster", "3.0.0", connection::readonly,
        "Answer the reads of this connection locally, perhaps with an old value"),
    spec("readwrite", 1, ALWAYS_FAST, Keys::None, "cluster", "3.0.0", connection::readwrite,
        "Make the reads of this connection linearizable"),
    spec("asking", 1, &["fast"], Keys::None, "cluster", "3.0.0", cluster::asking,
        "Announce that a redirect is followed"),
    spec("cluster", -2, &[], Keys::None, "cluster", "3.0.0", cluster::cluster,
        "Describe the cluster and its slots"),
    spec("command", -1, ALWAYS, Keys::None, "server", "2.8.13", catalogue::command,
        "Describe the commands"),
    spec("config", -2, &["admin"], Keys::None, "server", "2.0.0", settings::config,
        "Show settings"),
    spec("info", -1, ALWAYS, Keys::None, "server", "1.0.0", info::info,
        "Show facts and counters of the node"),
    spec("time", 1, ALWAYS_FAST, Keys::None, "server", "2.6.0", server::time,
        "Return the node's clock"),
];

#[expect(clippy::too_many_arguments, reason = "a row of the table, in the order of its columns")]
const fn spec(
    name: &'static str,
    arity: i32,
    flags: &'static [&'static str],
    keys: Keys,
    group: &'static str,
    since: &'static str,
    plan: Handler,
    summary: &'static str,
) -> Spec {
    Spec { name, arity, flags, keys, group, since, summary, plan }
}
