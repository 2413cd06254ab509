// ioredis against Crema: its Cluster in cluster mode, and the plain client. Run by tests/clients/cluster and
// tests/clients/run, with NODE_PATH set.
//
//   cluster.cjs plain ADDRESS…              the plain client, at each node in turn (proxy mode)
//   cluster.cjs basic ADDRESS…              what Cluster does by itself
//   cluster.cjs load GOING STOP ADDRESS…    works until the file STOP is there; any error ends it
//
// It empties the cluster that it is pointed at. `load` makes the file GOING once it has begun.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const Redis = require("ioredis");

const KEYS = 1000;

function node(address) {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
}

const keys = Array.from({ length: KEYS }, (_, i) => `key:${i}`);

// The replies of a pipeline; the first error is thrown.
async function replies(pipeline) {
  return (await pipeline.exec()).map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
}

async function plain(addresses) {
  for (const address of addresses) {
    const redis = new Redis(node(address));
    await redis.flushall();
    assert.equal(await redis.set("k", "v", "EX", 100), "OK");
    assert.equal(await redis.get("k"), "v");
    assert.equal(await redis.incr("n"), 1);
    const pipeline = redis.pipeline();
    for (const key of keys) pipeline.set(key, key).get(key);
    assert.deepEqual(await replies(pipeline), keys.flatMap((key) => ["OK", key]));
    assert.deepEqual(await redis.mget("k", "none", "key:7"), ["v", null, "key:7"]);
    assert.equal(await redis.del(...keys), KEYS);
    assert.equal(await redis.dbsize(), 2);
    await assert.rejects(redis.cluster("SLOTS"), /cluster support disabled/);
    await redis.quit();
  }
}

async function basic(addresses) {
  const cluster = new Redis.Cluster(addresses.map(node));
  const master = async (call) => Promise.all(cluster.nodes("master").map(call));
  await cluster.get("first");
  assert.equal(cluster.nodes("master").length, 3);
  await master((one) => one.flushall());
  await Promise.all(keys.map((key) => cluster.set(key, key)));
  assert.deepEqual(await Promise.all(keys.map((key) => cluster.get(key))), keys);
  // ioredis pipelines keys of one node.
  const pipeline = cluster.pipeline();
  for (let i = 0; i < 100; i++) pipeline.set(`{tag}${i}`, i).append(`{tag}${i}`, "!");
  assert.equal((await replies(pipeline)).length, 200);
  assert.deepEqual(await cluster.mget("{tag}1", "{tag}2"), ["1!", "2!"]);
  const sizes = await master((one) => one.dbsize());
  assert.equal(sizes.reduce((sum, size) => sum + size, 0), KEYS + 100);
  await assert.rejects(cluster.nodes("master")[0].mget("a", "b"), /^ReplyError: CROSSSLOT/);
  await master((one) => one.flushall());
  // Where every node is a master, there is nobody else to read from.
  const reader = new Redis.Cluster(addresses.map(node), { scaleReads: "slave" });
  assert.equal(await reader.set("seen", "1"), "OK");
  assert.equal(await reader.get("seen"), "1");
  reader.disconnect();
  await cluster.quit();
}

async function load(going, stop, addresses) {
  const cluster = new Redis.Cluster(addresses.map(node));
  const seen = new Map();
  let rounds = 0;
  let unknown = 0;
  const write = async (key, value) => {
    for (;;) {
      try {
        return await cluster.set(key, value);
      } catch (error) {
        // A killed node may owe the answer to a forwarded write: then nobody knows, and the program decides.
        if (!error.message.startsWith("OUTCOMEUNKNOWN")) throw error;
        unknown++;
      }
    }
  };
  while (!fs.existsSync(stop)) {
    const some = Array.from({ length: 32 }, (_, i) => `load:${(rounds * 37 + i * 31) % KEYS}`);
    await Promise.all(some.map((key) => write(key, `${rounds}`)));
    for (const key of some) seen.set(key, `${rounds}`);
    const others = [...seen.keys()].slice(0, 32);
    const got = await Promise.all(others.map((key) => cluster.get(key)));
    assert.deepEqual(got, others.map((key) => seen.get(key)));
    rounds++;
    if (rounds === 10) fs.writeFileSync(going, "");
  }
  console.log(`${rounds} rounds of writes and reads, ${unknown} with an unknown outcome`);
  for (const [key, value] of seen) assert.equal(await cluster.get(key), value);
  await cluster.quit();
}

const [mode, ...words] = process.argv.slice(2);
const run = { plain: () => plain(words), basic: () => basic(words), load: () => load(words[0], words[1], words.slice(2)) };
run[mode]().catch((error) => {
  console.error(error);
  process.exit(1);
});
