#!/usr/bin/env python3
"""Every command of the RESP door, through redis-py, over RESP2 and RESP3.

Run by `tests/run clients` against a Crema cluster. The expectations are Redis's own: with `--redis` the same
script passes against a real Redis 7, which is how they were found. Needs the package `redis`; nothing else.

    redis_py.py --addr 127.0.0.1:6379 [--addr 127.0.0.1:6380 …] [--redis]

It empties the server that it is pointed at.
"""

import argparse
import socket
import sys
import threading
import time
import traceback

import redis

CHECKS = []
CREMA_ONLY = set()
WAIT_SECONDS = 10
SLOW_SECONDS = 3


def check(function):
    """Adds a check. It gets a client and `k`, which makes key names that no other check uses."""
    CHECKS.append(function)
    return function


def crema_only(function):
    """A check of what Redis without a cluster does not do."""
    CREMA_ONLY.add(function.__name__)
    return check(function)


def equal(got, want):
    assert got == want and type(got) is type(want), f"got {got!r}, want {want!r}"


def refused(text, call, *args, **kwargs):
    """The call must fail with an error reply that starts with `text`."""
    try:
        got = call(*args, **kwargs)
    except redis.ResponseError as error:
        # redis-py cuts the code `ERR` off, and turns some codes into classes of their own.
        message = str(error)
        assert message.startswith(text.removeprefix("ERR ")), f"got {message!r}, want {text!r}"
    else:
        raise AssertionError(f"got {got!r}, want the error {text!r}")


def raw(r, *args):
    """The reply as it came, without redis-py's own reading of it."""
    connection = r.connection_pool.get_connection()
    try:
        connection.send_command(*args)
        return connection.read_response()
    finally:
        r.connection_pool.release(connection)


def eventually(condition, what):
    """Waits until the condition holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_SECONDS} s for: {what}"
        time.sleep(0.01)


def near(got, want, slack):
    assert want - slack <= got <= want, f"got {got!r}, want {want} or up to {slack} less"


# Connection commands.


@check
def ping_and_echo(r, k):
    equal(r.ping(), True)
    equal(raw(r, "PING", "hello"), b"hello")
    equal(r.echo("héllo"), "héllo".encode())
    equal(r.echo(b"\x00\r\n\xff"), b"\x00\r\n\xff")


@check
def hello_names_the_protocol(r, k):
    protocol = r.connection_pool.connection_kwargs["protocol"]
    reply = raw(r, "HELLO")
    if isinstance(reply, list):
        reply = dict(zip(reply[::2], reply[1::2]))
    equal(reply[b"proto"], protocol)
    assert b"version" in reply and b"server" in reply, reply
    refused("NOPROTO unsupported protocol version", r.execute_command, "HELLO", "9")
    refused("ERR Protocol version is not an integer or out of range", r.execute_command, "HELLO", "x")


@check
def select_knows_database_0_only(r, k):
    equal(r.execute_command("SELECT", "0"), True)
    refused("ERR DB index is out of range", r.execute_command, "SELECT", "100000")
    refused("ERR value is not an integer or out of range", r.execute_command, "SELECT", "one")


@check
def client_names_and_ids(r, k):
    with r.client() as one:
        assert one.client_id() > 0
        equal(one.client_setname("shop"), True)
        assert one.client_getname() in ("shop", b"shop")
        refused("ERR Client names cannot contain spaces", one.execute_command, "CLIENT", "SETNAME", "a b")
    with r.client() as one, r.client() as two:
        assert one.client_id() != two.client_id()
        assert "id" in one.client_info()
    refused("ERR unknown subcommand", r.execute_command, "CLIENT", "NOSUCH")


@check
def command_describes_commands(r, k):
    count = r.command_count()
    assert count > 40, count
    table = r.command()
    assert "get" in table and "set" in table and "scan" in table, sorted(table)
    assert b"get" in raw(r, "COMMAND", "DOCS", "get"), "the docs of GET"


@check
def config_get(r, k):
    assert "maxmemory" in r.config_get("maxmemory")
    equal(r.config_get("no-such-setting"), {})
    found = r.config_get("max*")
    assert "maxmemory" in found and "maxclients" in found, found


@check
def info_has_sections(r, k):
    info = r.info()
    assert info["redis_version"].split(".")[0] == "7", info.get("redis_version")
    for field in ("redis_mode", "connected_clients", "used_memory", "uptime_in_seconds"):
        assert field in info, field
    assert "connected_clients" in r.info("clients")


@check
def quit_answers_and_closes(r, k):
    with r.client() as one:
        one.execute_command("PING")
        connection = one.connection
        connection.send_command("QUIT")
        assert connection.read_response() in (b"OK", True)
        try:
            connection.read_response()
        except redis.ConnectionError:
            return
        raise AssertionError("the connection is still open after QUIT")


@check
def reset_forgets_the_connection(r, k):
    # On a socket of its own: RESET goes back to RESP2, which the client library does not expect.
    kwargs = r.connection_pool.connection_kwargs
    with socket.create_connection((kwargs["host"], kwargs["port"]), timeout=WAIT_SECONDS) as one:
        one.sendall(b"HELLO 3\r\nCLIENT SETNAME named\r\nRESET\r\nCLIENT GETNAME\r\nQUIT\r\n")
        replies = b""
        while chunk := one.recv(65536):
            replies += chunk
    assert replies.endswith(b"+OK\r\n+RESET\r\n$-1\r\n+OK\r\n"), replies


# Strings.


@check
def set_and_get(r, k):
    equal(r.get(k("a")), None)
    equal(r.set(k("a"), "1"), True)
    equal(r.get(k("a")), b"1")
    binary = bytes(range(256)) * 4
    equal(r.set(k(b"\x00 \r\n\xff"), binary), True)
    equal(r.get(k(b"\x00 \r\n\xff")), binary)
    equal(r.set(k("empty"), b""), True)
    equal(r.get(k("empty")), b"")


@check
def set_nx_xx(r, k):
    equal(r.set(k("a"), "1", xx=True), None)
    equal(r.set(k("a"), "1", nx=True), True)
    equal(r.set(k("a"), "2", nx=True), None)
    equal(r.set(k("a"), "3", xx=True), True)
    equal(r.get(k("a")), b"3")
    refused("ERR syntax error", r.execute_command, "SET", k("a"), "1", "NX", "XX")


@check
def set_get(r, k):
    equal(r.set(k("a"), "1", get=True), None)
    equal(r.set(k("a"), "2", get=True), b"1")
    equal(r.set(k("a"), "3", nx=True, get=True), b"2")
    equal(r.get(k("a")), b"2")
    equal(r.set(k("b"), "1", xx=True, get=True), None)
    equal(r.exists(k("b")), 0)


@check
def set_expiries(r, k):
    now = time.time()
    r.set(k("ex"), "1", ex=100)
    near(r.ttl(k("ex")), 100, 20)
    r.set(k("px"), "1", px=100_000)
    near(r.pttl(k("px")), 100_000, 20_000)
    r.set(k("exat"), "1", exat=int(now) + 100)
    equal(r.expiretime(k("exat")), int(now) + 100)
    r.set(k("pxat"), "1", pxat=int(now * 1000) + 100_000)
    equal(r.pexpiretime(k("pxat")), int(now * 1000) + 100_000)
    r.set(k("ex"), "2", keepttl=True)
    near(r.ttl(k("ex")), 100, 20)
    r.set(k("ex"), "3")
    equal(r.ttl(k("ex")), -1)
    r.set(k("past"), "1")
    r.set(k("past"), "2", pxat=1)
    equal(r.get(k("past")), None)


@check
def set_refuses_bad_expiries(r, k):
    for option, value, text in (
        ("EX", "0", "ERR invalid expire time in 'set' command"),
        ("EX", "-1", "ERR invalid expire time in 'set' command"),
        ("PX", "0", "ERR invalid expire time in 'set' command"),
        ("EX", "9223372036854775807", "ERR invalid expire time in 'set' command"),
        ("EX", "x", "ERR value is not an integer or out of range"),
    ):
        refused(text, r.execute_command, "SET", k("a"), "1", option, value)
    for options in (("EX",), ("EX", "1", "PX", "1"), ("EX", "1", "KEEPTTL"), ("NOSUCH",)):
        refused("ERR syntax error", r.execute_command, "SET", k("a"), "1", *options)
    equal(r.exists(k("a")), 0)


@check
def keys_expire(r, k):
    r.set(k("a"), "1", px=30)
    r.execute_command("PSETEX", k("b"), 30, "1")
    eventually(lambda: r.get(k("a")) is None, "the key to expire")
    eventually(lambda: r.exists(k("b")) == 0, "the key to expire")
    equal(r.ttl(k("a")), -2)
    equal(r.set(k("a"), "2", nx=True), True)


@check
def setnx_setex_getset(r, k):
    equal(r.setnx(k("a"), "1"), True)
    equal(r.setnx(k("a"), "2"), False)
    equal(r.execute_command("SETEX", k("b"), 100, "1"), True)
    near(r.ttl(k("b")), 100, 20)
    refused("ERR invalid expire time in 'setex' command", r.execute_command, "SETEX", k("b"), "0", "1")
    refused("ERR invalid expire time in 'psetex' command", r.execute_command, "PSETEX", k("b"), "-1", "1")
    equal(r.getset(k("b"), "2"), b"1")
    equal(r.ttl(k("b")), -1)
    equal(r.getset(k("c"), "1"), None)


@check
def mset_and_mget(r, k):
    values = {k(f"m{i}"): f"v{i}".encode() for i in range(100)}
    equal(r.mset(values), True)
    equal(r.mget(list(values)), list(values.values()))
    equal(r.mget(k("m1"), k("absent"), k("m2")), [b"v1", None, b"v2"])
    refused("ERR wrong number of arguments for 'mset' command", r.execute_command, "MSET", k("a"))
    refused("ERR wrong number of arguments for 'mget' command", r.execute_command, "MGET")
    equal(r.execute_command("MSET", k("twice"), "1", k("twice"), "2"), True)
    equal(r.get(k("twice")), b"2")


@check
def del_unlink_exists_touch(r, k):
    r.mset({k("a"): 1, k("b"): 2, k("c"): 3, k("d"): 4})
    equal(r.exists(k("a"), k("b"), k("absent"), k("a")), 3)
    equal(r.touch(k("a"), k("absent"), k("b")), 2)
    equal(r.delete(k("a"), k("absent"), k("b"), k("a")), 2)
    equal(r.unlink(k("c"), k("d")), 2)
    equal(r.exists(k("a"), k("b"), k("c"), k("d")), 0)


@check
def getdel_and_getex(r, k):
    r.set(k("a"), "1")
    equal(r.getdel(k("a")), b"1")
    equal(r.getdel(k("a")), None)
    r.set(k("b"), "1")
    equal(r.getex(k("b")), b"1")
    equal(r.ttl(k("b")), -1)
    equal(r.getex(k("b"), ex=100), b"1")
    near(r.ttl(k("b")), 100, 20)
    equal(r.getex(k("b")), b"1")
    near(r.ttl(k("b")), 100, 20)
    equal(r.getex(k("b"), persist=True), b"1")
    equal(r.ttl(k("b")), -1)
    equal(r.getex(k("b"), px=100_000), b"1")
    near(r.pttl(k("b")), 100_000, 20_000)
    at = int(time.time()) + 500
    equal(r.getex(k("b"), exat=at), b"1")
    equal(r.expiretime(k("b")), at)
    equal(r.getex(k("b"), pxat=at * 1000 + 7), b"1")
    equal(r.pexpiretime(k("b")), at * 1000 + 7)
    equal(r.getex(k("absent"), ex=100), None)
    refused("ERR syntax error", r.execute_command, "GETEX", k("b"), "EX", "1", "PERSIST")
    refused("ERR invalid expire time in 'getex' command", r.execute_command, "GETEX", k("b"), "EX", "0")


@check
def counters(r, k):
    equal(r.incr(k("n")), 1)
    equal(r.incrby(k("n"), 41), 42)
    equal(r.decr(k("n")), 41)
    equal(r.decrby(k("n"), 40), 1)
    equal(r.get(k("n")), b"1")
    equal(r.incrby(k("n"), -(2**63)), -(2**63) + 1)
    equal(r.decr(k("n")), -(2**63))
    refused("ERR increment or decrement would overflow", r.decr, k("n"))
    equal(r.get(k("n")), str(-(2**63)).encode())
    r.set(k("n"), str(2**63 - 1))
    refused("ERR increment or decrement would overflow", r.incr, k("n"))
    refused("ERR decrement would overflow", r.execute_command, "DECRBY", k("n"), str(-(2**63)))
    for text in ("abc", "1.5", " 1", "1 ", "", "+1", "01", str(2**63)):
        r.set(k("bad"), text)
        refused("ERR value is not an integer or out of range", r.incr, k("bad"))
        equal(r.get(k("bad")), text.encode())
    refused("ERR value is not an integer or out of range", r.execute_command, "INCRBY", k("n"), "x")


@check
def counters_keep_the_deadline(r, k):
    r.set(k("n"), "1", ex=100)
    r.incr(k("n"))
    r.append(k("n"), "0")
    r.incrbyfloat(k("n"), 0.5)
    r.setrange(k("n"), 0, "9")
    near(r.ttl(k("n")), 100, 20)


@check
def float_counters(r, k):
    def add(key, by):
        return r.execute_command("INCRBYFLOAT", key, by)

    r.set(k("f"), "10.50")
    equal(float(add(k("f"), "0.1")), 10.6)
    equal(r.get(k("f")), b"10.6")
    equal(float(add(k("f"), "-5")), 5.6)
    r.set(k("f"), "5.0e3")
    equal(float(add(k("f"), "2.0e2")), 5200.0)
    equal(r.get(k("f")), b"5200")
    equal(float(add(k("new"), "3")), 3.0)
    equal(r.get(k("new")), b"3")
    r.set(k("f"), "0.1")
    add(k("f"), "0.2")
    equal(r.get(k("f")), b"0.3")
    r.set(k("bad"), "abc")
    refused("ERR value is not a valid float", add, k("bad"), "1")
    refused("ERR value is not a valid float", add, k("new"), "x")
    refused("ERR increment would produce NaN or Infinity", add, k("new"), "inf")


@check
def append_and_strlen(r, k):
    equal(r.strlen(k("a")), 0)
    equal(r.append(k("a"), "Hello"), 5)
    equal(r.append(k("a"), " World"), 11)
    equal(r.append(k("a"), ""), 11)
    equal(r.get(k("a")), b"Hello World")
    equal(r.strlen(k("a")), 11)


@check
def ranges(r, k):
    r.set(k("a"), "This is a string")
    for start, end, want in (
        (0, 3, b"This"),
        (-3, -1, b"ing"),
        (0, -1, b"This is a string"),
        (10, 100, b"string"),
        (5, 3, b""),
        (-100, 3, b"This"),
        (100, 200, b""),
        (-1, -100, b""),
    ):
        equal(r.getrange(k("a"), start, end), want)
    equal(r.getrange(k("absent"), 0, -1), b"")
    r.set(k("b"), "Hello World")
    equal(r.setrange(k("b"), 6, "Redis"), 11)
    equal(r.get(k("b")), b"Hello Redis")
    equal(r.setrange(k("c"), 3, "x"), 4)
    equal(r.get(k("c")), b"\x00\x00\x00x")
    equal(r.setrange(k("absent"), 10, ""), 0)
    equal(r.exists(k("absent")), 0)
    refused("ERR offset is out of range", r.setrange, k("b"), -1, "x")
    refused("ERR string exceeds maximum allowed size", r.execute_command, "SETRANGE", k("b"), str(2**40), "x")


# Expiry.


@check
def expire_and_persist(r, k):
    equal(r.ttl(k("a")), -2)
    equal(r.pttl(k("a")), -2)
    equal(r.expire(k("a"), 100), False)
    r.set(k("a"), "1")
    equal(r.ttl(k("a")), -1)
    equal(r.expiretime(k("a")), -1)
    equal(r.persist(k("a")), False)
    equal(r.expire(k("a"), 100), True)
    near(r.ttl(k("a")), 100, 20)
    equal(r.pexpire(k("a"), 200_000), True)
    near(r.pttl(k("a")), 200_000, 20_000)
    at = int(time.time()) + 300
    equal(r.expireat(k("a"), at), True)
    equal(r.expiretime(k("a")), at)
    equal(r.pexpireat(k("a"), at * 1000 + 5), True)
    equal(r.pexpiretime(k("a")), at * 1000 + 5)
    equal(r.persist(k("a")), True)
    equal(r.ttl(k("a")), -1)
    equal(r.expire(k("a"), -1), True)
    equal(r.exists(k("a")), 0)
    refused("ERR value is not an integer or out of range", r.execute_command, "EXPIRE", k("a"), "x")
    r.set(k("a"), "1")
    refused("ERR invalid expire time in 'expire' command", r.execute_command, "EXPIRE", k("a"), str(2**63 - 1))


@check
def expire_conditions(r, k):
    r.set(k("a"), "1")
    equal(r.expire(k("a"), 100, xx=True), False)
    equal(r.expire(k("a"), 100, gt=True), False)
    equal(r.expire(k("a"), 100, nx=True), True)
    equal(r.expire(k("a"), 200, nx=True), False)
    equal(r.expire(k("a"), 50, gt=True), False)
    equal(r.expire(k("a"), 200, gt=True), True)
    equal(r.expire(k("a"), 300, lt=True), False)
    equal(r.expire(k("a"), 100, lt=True), True)
    equal(r.expire(k("a"), 300, xx=True), True)
    near(r.ttl(k("a")), 300, 20)
    r.persist(k("a"))
    equal(r.expire(k("a"), 100, lt=True), True)
    refused("ERR NX and XX, GT or LT options at the same time are not compatible",
            r.execute_command, "EXPIRE", k("a"), "1", "NX", "XX")
    refused("ERR GT and LT options at the same time are not compatible",
            r.execute_command, "EXPIRE", k("a"), "1", "GT", "LT")
    refused("ERR Unsupported option NOSUCH", r.execute_command, "EXPIRE", k("a"), "1", "NOSUCH")


# The keyspace.


@check
def type_of_keys(r, k):
    equal(r.type(k("a")), b"none")
    r.set(k("a"), "1")
    equal(r.type(k("a")), b"string")


@check
def scan_finds_every_key_once(r, k):
    names = {k(f"s{i:03}") for i in range(300)}
    r.mset({name: 1 for name in names})
    seen = list(r.scan_iter(match=k("s*"), count=50))
    assert len(seen) >= 300 and set(seen) == names, f"{len(seen)} keys, {len(set(seen))} of them different"
    equal(set(r.scan_iter(match=k("s00?"), count=1000)), {k(f"s00{i}") for i in range(10)})
    equal(set(r.scan_iter(match=k("s0[0-1]5"))), {k("s005"), k("s015")})
    assert set(r.scan_iter(match=k("s01*"), _type="string")) == {k(f"s01{i}") for i in range(10)}
    equal(set(r.scan_iter(match=k("s*"), _type="list")), set())
    refused("ERR invalid cursor", r.execute_command, "SCAN", "x")
    refused("ERR syntax error", r.execute_command, "SCAN", "0", "COUNT", "0")
    refused("ERR value is not an integer or out of range", r.execute_command, "SCAN", "0", "COUNT", "x")


@check
def scan_keeps_what_stays(r, k):
    stay = {k(f"stay{i}") for i in range(100)}
    r.mset({name: 1 for name in stay})
    seen, cursor, turn = set(), 0, 0
    while True:
        cursor, keys = r.scan(cursor, match=k("stay*"), count=10)
        seen.update(keys)
        turn += 1
        r.set(k(f"come{turn}"), 1)
        r.delete(k(f"come{turn - 1}"))
        if cursor == 0:
            break
    equal(seen, stay)


@check
def dbsize_randomkey_flush(r, k):
    r.flushall()
    equal(r.dbsize(), 0)
    equal(r.randomkey(), None)
    r.mset({k(f"d{i}"): 1 for i in range(50)})
    equal(r.dbsize(), 50)
    assert r.randomkey().startswith(k("d")), "a key of ours"
    equal(r.flushall(), True)
    equal(r.dbsize(), 0)
    r.set(k("a"), "1")
    equal(r.flushall(asynchronous=True), True)
    equal(r.exists(k("a")), 0)
    refused("ERR syntax error", r.execute_command, "FLUSHALL", "NOSUCH")


# How errors and pipelines behave.


@check
def unknown_commands_and_arity(r, k):
    refused("ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b'", r.execute_command, "NOSUCH", "a", "b")
    for args in (("GET",), ("GET", "a", "b"), ("SET", "a"), ("INCR",), ("TTL", "a", "b"), ("DEL",), ("ECHO",)):
        refused(f"ERR wrong number of arguments for '{args[0].lower()}' command", r.execute_command, *args)
    equal(r.ping(), True)


@check
def pipelines_keep_order(r, k):
    pipe = r.pipeline(transaction=False)
    for i in range(10_000):
        pipe.set(k(f"p{i % 100}"), i) if i % 2 == 0 else pipe.get(k(f"p{(i - 1) % 100}"))
    replies = pipe.execute()
    equal(len(replies), 10_000)
    for i in range(0, 10_000, 2):
        assert replies[i] is True and replies[i + 1] == str(i).encode(), (i, replies[i], replies[i + 1])


@check
def errors_in_a_pipeline_stay_in_place(r, k):
    pipe = r.pipeline(transaction=False)
    pipe.set(k("a"), "x").incr(k("a")).get(k("a")).execute_command("NOSUCH").get(k("a"))
    replies = pipe.execute(raise_on_error=False)
    equal(replies[0], True)
    assert isinstance(replies[1], redis.ResponseError), replies[1]
    equal(replies[2], b"x")
    assert isinstance(replies[3], redis.ResponseError), replies[3]
    equal(replies[4], b"x")


@check
def counters_from_many_threads_add_up(r, k):
    errors = []

    def work():
        try:
            for _ in range(100):
                r.incr(k("n"))
        except Exception as error:  # noqa: BLE001: reported below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(errors, [])
    equal(r.get(k("n")), b"1600")


@check
def large_values(r, k):
    value = bytes(range(256)) * 4096 * 4
    equal(r.set(k("big"), value), True)
    assert r.get(k("big")) == value, "a value of 4 MiB comes back as it was"
    equal(r.strlen(k("big")), len(value))
    r.delete(k("big"))


# Transactions: keys of one shard, by their tag.


@check
def transactions(r, k):
    a, b = k("{t}a"), k("{t}b")
    pipe = r.pipeline(transaction=True)
    pipe.set(a, "1").incrby(a, 4).get(a).mset({a: "7", b: "x"}).exists(a, b).ttl(b)
    equal(pipe.execute(), [True, 5, b"5", True, 2, -1])
    pipe = r.pipeline(transaction=True)
    pipe.incr(b).set(a, "8")
    replies = pipe.execute(raise_on_error=False)
    assert isinstance(replies[0], redis.ResponseError), replies[0]
    equal(replies[1:], [True])
    equal(r.get(a), b"8")
    pipe.set(a, "9").execute_command("NOSUCH")
    try:
        pipe.execute()
    except redis.ResponseError as error:
        assert "NOSUCH" in str(error), error
    else:
        raise AssertionError("a transaction with an unknown command was carried out")
    equal(r.get(a), b"8")


@check
def watched_keys(r, k):
    a, b = k("{t}a"), k("{t}b")
    r.set(a, "1")
    with r.pipeline() as pipe:
        pipe.watch(a)
        value = int(pipe.get(a))
        pipe.multi()
        pipe.set(a, value + 1).set(b, "x")
        equal(pipe.execute(), [True, True])
        pipe.watch(a, b)
        r.set(a, "10")
        pipe.multi()
        pipe.set(b, "lost")
        try:
            pipe.execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("carried out although a watched key has changed")
    equal(r.mget(a, b), [b"10", b"x"])


@check
def watched_counters_from_many_threads_add_up(r, k):
    name, errors = k("{t}n"), []

    def add(pipe):
        value = int(pipe.get(name) or 0)
        pipe.multi()
        pipe.set(name, value + 1)

    def work():
        try:
            for _ in range(20):
                r.transaction(add, name)
        except Exception as error:  # noqa: BLE001: reported below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(errors, [])
    equal(r.get(name), b"120")


@check
def msetnx_rename_copy(r, k):
    a, b, c = k("{t}a"), k("{t}b"), k("{t}c")
    equal(r.msetnx({a: "1", b: "2"}), True)
    equal(r.msetnx({b: "3", c: "3"}), False)
    equal(r.mget(a, b, c), [b"1", b"2", None])
    equal(r.rename(a, c), True)
    refused("no such key", r.rename, a, c)
    equal(r.renamenx(c, b), False)
    equal(r.copy(b, c), False)
    equal(r.copy(b, c, replace=True), True)
    equal(r.mget(a, b, c), [None, b"2", b"2"])
    equal(set(r.keys(k("{t}?"))), {b, c})
    equal(r.object("encoding", b), b"int")
    assert r.memory_usage(b) > 0, "a size"


@check
def client_kill_ends_a_connection(r, k):
    with r.client() as other:
        number = other.client_id()
        equal(r.client_kill_filter(_id=str(number)), 1)
        eventually(lambda: all(int(one["id"]) != number for one in r.client_list()), "the connection to be gone")
    assert r.slowlog_len() >= 0, "a number"


# What is Crema's own.


@crema_only
def readonly_and_readwrite(r, k):
    r.set(k("a"), "1")
    with r.client() as one:
        assert one.execute_command("READONLY") in (True, b"OK")
        # A local read may be old; it comes to the committed value.
        eventually(lambda: one.get(k("a")) == b"1", "the local read to see the write")
        equal(one.set(k("a"), "2"), True)
        assert one.execute_command("READWRITE") in (True, b"OK")
        equal(one.get(k("a")), b"2")


@crema_only
def limits_on_keys_and_values(r, k):
    longest = k("x" * (64 * 1024 - len(k(""))))
    equal(r.set(longest, "1"), True)
    equal(r.get(longest), b"1")
    for call in (lambda: r.set(longest + b"x", "1"), lambda: r.set(k("a"), b"x" * (8 * 1024 * 1024 + 1))):
        try:
            call()
        except (redis.ResponseError, redis.ConnectionError) as error:
            assert str(error), "an error with a text"
        else:
            raise AssertionError("took a key or value beyond the limit")
    equal(r.ping(), True)
    equal(r.exists(k("a")), 0)
    r.delete(longest)


@crema_only
def every_node_takes_every_key(r, k):
    for round_ in range(20):
        writer, value = CLIENTS[round_ % len(CLIENTS)], str(round_).encode()
        equal(writer.set(k(f"n{round_ % 7}"), value), True)
        for reader in CLIENTS:
            equal(reader.get(k(f"n{round_ % 7}")), value)


CLIENTS = []


def parse_address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)


def run(protocol, addresses, against_redis, only):
    """Runs the checks over one protocol; returns how many passed and failed."""
    CLIENTS[:] = [redis.Redis(host, port, protocol=protocol, socket_timeout=30) for host, port in addresses]
    CLIENTS[0].flushall()
    passed = failed = 0
    for number, one in enumerate(CHECKS):
        name = one.__name__
        if (against_redis and name in CREMA_ONLY) or (only and only not in name):
            continue
        prefix = f"py{protocol}:{number}:".encode()
        started = time.monotonic()
        try:
            one(CLIENTS[0], lambda key: prefix + (key if isinstance(key, bytes) else key.encode()))
            passed += 1
        except Exception:  # noqa: BLE001: one failed check must not hide the others
            failed += 1
            print(f"FAILED resp{protocol} {name}\n{traceback.format_exc()}", flush=True)
        if (took := time.monotonic() - started) > SLOW_SECONDS:
            print(f"slow: resp{protocol} {name} took {took:.1f} s", flush=True)
    for client in CLIENTS:
        client.close()
    print(f"redis-py {redis.__version__} over RESP{protocol}: {passed} passed, {failed} failed", flush=True)
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--addr", action="append", required=True, type=parse_address, help="host:port; repeat it")
    parser.add_argument("--redis", action="store_true", help="the server is a real Redis: leave out what is Crema's own")
    parser.add_argument("--only", help="run the checks whose name contains this")
    flags = parser.parse_args()
    results = [run(protocol, flags.addr, flags.redis, flags.only) for protocol in (2, 3)]
    failed = sum(failed for _, failed in results)
    print(f"{sum(passed for passed, _ in results)} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
