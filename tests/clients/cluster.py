#!/usr/bin/env python3
"""redis-py's RedisCluster against Crema in cluster mode. Run by tests/clients/cluster.

    cluster.py basic ADDRESS…               what the client does by itself
    cluster.py load GOING STOP ADDRESS…     works until the file STOP is there; any error ends it

It empties the cluster that it is pointed at. `load` makes the file GOING once it has begun.
"""

import os
import random
import sys
import time

import redis
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster

KEYS = 1000


def connect(addresses, **options):
    hosts = [address.rsplit(":", 1) for address in addresses]
    return RedisCluster(startup_nodes=[ClusterNode(host, int(port)) for host, port in hosts], **options)


def equal(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def basic(addresses):
    for protocol in (2, 3):
        keys_pipelines_and_masters(connect(addresses, protocol=protocol))
    # Where every node is a master, there is nobody else to read from, though the client says READONLY. What a node
    # answers then may be old.
    reader = connect(addresses, load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN)
    reader.set("seen", "1")
    until = time.monotonic() + 30
    while any(reader.get("seen") != b"1" for _ in range(6)):
        assert time.monotonic() < until, "a node answers an old value for long"


def keys_pipelines_and_masters(r):
    equal(len(r.get_primaries()), 3)
    r.flushall()
    values = {f"key:{i}": f"value:{i}".encode() for i in range(KEYS)}
    for key, value in values.items():
        equal(r.set(key, value), True)
    for key, value in values.items():
        equal(r.get(key), value)
    with r.pipeline() as pipe:
        for key in values:
            pipe.append(key, "!").strlen(key)
        answers = pipe.execute()
    equal(answers, [length for value in values.values() for length in [len(value) + 1] * 2])
    equal(r.mset_nonatomic({key: "x" for key in values}) and r.mget_nonatomic(list(values)), [b"x"] * KEYS)
    equal(r.mset({"{tag}1": 1, "{tag}2": 2}), True)
    equal(r.mget("{tag}1", "{tag}2"), [b"1", b"2"])
    equal(r.delete("{tag}1", "{tag}2"), 2)
    # Every master is asked, and what each of them has is added up.
    equal(r.dbsize(target_nodes=RedisCluster.PRIMARIES), KEYS)
    found = list(r.scan_iter(count=100))
    equal(sorted(found), sorted(key.encode() for key in values))
    slot = r.keyslot("key:1")
    of_slot = r.cluster_get_keys_in_slot(slot, 100)
    equal(r.cluster_countkeysinslot(slot), len(of_slot))
    # redis-py decodes them over RESP2 only.
    assert {"key:1", b"key:1"} & set(of_slot), of_slot
    equal(r.cluster_info()["cluster_state"], "ok")
    equal(sum("master" in node["flags"] for node in r.cluster_nodes().values()), 3)
    lone = redis.Redis(host=r.get_primaries()[0].host, port=r.get_primaries()[0].port)
    for command in (("MGET", "a", "b"), ("MSET", "a", "1", "b", "2"), ("DEL", "a", "b")):
        try:
            raise AssertionError(f"{command}: got {lone.execute_command(*command)!r}")
        except redis.ResponseError as error:
            assert "hash to the same slot" in str(error), error
    r.flushall()
    equal(r.dbsize(target_nodes=RedisCluster.PRIMARIES), 0)
    r.close()


def load(going, stop, addresses):
    r = connect(addresses, socket_timeout=30)
    random.seed(1)
    seen, rounds, unknown = {}, 0, 0
    while not os.path.exists(stop):
        key = f"load:{random.randrange(KEYS)}"
        if key in seen:
            equal(r.get(key), seen[key])
        value = f"{rounds}".encode()
        # A killed node may owe the answer to a forwarded write: then nobody knows, and the program decides.
        while True:
            try:
                equal(r.set(key, value), True)
                break
            except redis.ResponseError as error:
                if not str(error).startswith("OUTCOMEUNKNOWN"):
                    raise
                unknown += 1
        seen[key] = value
        with r.pipeline() as pipe:
            for other in list(seen)[:16]:
                pipe.get(other)
            equal(pipe.execute(), [seen[other] for other in list(seen)[:16]])
        rounds += 1
        if rounds == 50:
            open(going, "w").close()
    print(f"{rounds} rounds of writes and reads, {unknown} with an unknown outcome")
    for key, value in seen.items():
        equal(r.get(key), value)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["basic", *addresses]:
            basic(addresses)
        case ["load", going, stop, *addresses]:
            load(going, stop, addresses)
        case _:
            sys.exit(__doc__)
