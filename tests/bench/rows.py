"""The rows of the table: how each is measured. A row returns its figures, one for each pair or trial, and checks that they
mean something; where they don't it raises `Failure`."""

import binascii
import math
import os
import re
import subprocess
import time

from servers import TOKEN, Crema, Etcd, Failure, Redis, read_report, wait_for

# An application's clients, in every row that has some.
CLIENTS = 64
PIPELINE = 16
# Of all clients together, in the rows that look for pauses: gentle, so that it is the pause that is seen, not a queue.
PAUSE_RATE = 3_200


class Figures:
    """What a row has come to. `each` has the figures that the goal is about: ratios, or plain values."""

    def __init__(self, each, **details):
        self.each, self.details = each, details


def percentile(values, share):
    """The smallest value that is not below this share of them."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


class Bench:
    """The rows, on one stage."""

    def __init__(self, stage, effort):
        self.stage, self.effort = stage, effort

    # Speeds, in pairs.

    def measure(self, server, flags, addresses=None):
        """One run: commands a second, and processor time of the servers for each."""
        effort = self.effort
        self.stage.only(server)
        if effort.keys not in server.filled:
            self.stage.bench(server, ["--fill", "--keys", effort.keys, "--requests", 1, "--pipeline", 8])
            server.filled.add(effort.keys)
        before = server.cpu_seconds()
        report = self.stage.bench(server, [*flags, "--keys", effort.keys, "--warm-up", effort.warm_up,
                                           "--seconds", effort.seconds], addresses)
        if report["errors"]:
            raise Failure(f"{server.name} answered with errors: {report['errors']}")
        if report["misses"]:
            raise Failure(f"{server.name} misses {report['misses']} keys that were written")
        # The warm-up is like the rest.
        share = effort.seconds / (effort.seconds + effort.warm_up)
        cpu = (server.cpu_seconds() - before) * share / report["ops"]
        return {"per_second": report["ops_per_second"], "cpu_us": cpu * 1e6}

    def paired(self, ours, our_flags, theirs, their_flags, their_addresses=None):
        """Both in turn, so that what else happens on the machine meets both."""
        pairs = []
        for _ in range(self.effort.pairs):
            pairs.append((self.measure(ours, our_flags), self.measure(theirs, their_flags, their_addresses)))
        ratios = [our["per_second"] / their["per_second"] for our, their in pairs]
        names = (ours.name, theirs.name)
        return Figures(ratios, pairs=[dict(zip(names, pair)) for pair in pairs])

    def crema(self, on_disk):
        name = "crema-disk" if on_disk else "crema-memory"
        return self.stage.get(name, Crema, on_disk=on_disk, is_durable=on_disk)

    def etcd(self, on_disk):
        return self.stage.get("etcd-disk" if on_disk else "etcd-memory", Etcd, on_disk=on_disk)

    def plain(self, on_disk, ratio):
        flags = ["--clients", CLIENTS, "--ratio", ratio]
        return self.paired(self.crema(on_disk), flags, self.etcd(on_disk), flags)

    def pipelined_writes(self, on_disk):
        etcd = self.etcd(on_disk)
        best, best_flags, best_addresses, tried = 0, None, None, {}
        for under_way in self.effort.etcd_clients:
            for where in ("all members", "the leader"):
                self.stage.only(etcd)
                addresses = etcd.addresses if where == "all members" else [etcd.leader()]
                flags = ["--clients", CLIENTS, "--pipeline", under_way // CLIENTS, "--ratio", 0]
                speed = self.measure(etcd, flags, addresses)["per_second"]
                tried[f"{under_way} at {where}"] = round(speed)
                if speed > best:
                    best, best_flags, best_addresses = speed, flags, addresses
        flags = ["--clients", CLIENTS, "--pipeline", PIPELINE, "--ratio", 0]
        figures = self.paired(self.crema(on_disk), flags, etcd, best_flags, best_addresses)
        figures.details["etcd with so many clients"] = tried
        return figures

    def writes(self):
        return self.plain(on_disk=False, ratio=0)

    def writes_pipelined(self):
        return self.pipelined_writes(on_disk=False)

    def fsync(self):
        return self.plain(on_disk=True, ratio=0)

    def fsync_pipelined(self):
        return self.pipelined_writes(on_disk=True)

    def reads(self):
        return self.plain(on_disk=False, ratio=1)

    def resp(self, ratio, pipeline):
        flags = ["--clients", CLIENTS, "--ratio", ratio, "--pipeline", pipeline]
        one = self.stage.get("crema-one", Crema, nodes=1)
        return self.paired(one, flags, self.stage.get("redis", Redis), flags)

    # Pauses.

    def load(self, server, seconds, flags=()):
        """The generator in an open loop, running."""
        command = self.stage.generator(server, ["--clients", CLIENTS, "--rate", PAUSE_RATE, "--ratio", 0.5,
                                                "--warm-up", self.effort.warm_up, "--seconds", seconds, *flags])
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def loaded(self, server, generator):
        out, err = generator.communicate(timeout=300)
        return read_report(server, generator.returncode, out, err)

    def failover(self):
        """kill -9 of the node with most leaders, again and again."""
        server, pauses, errors = self.stage.get("crema-failover", Crema), [], 0
        seconds = 6
        for _ in range(self.effort.kills):
            self.stage.only(server)
            with self.load(server, seconds) as generator:
                time.sleep(self.effort.warm_up + 1)
                place = max(range(len(server.http)), key=server.led)
                server.processes[place].kill()
                report = self.loaded(server, generator)
            if len(report["pauses_ms"]) != CLIENTS or max(report["pauses_ms"]) > (seconds - 2) * 1e3:
                raise Failure(f"a client did not get on after the kill: {max(report['pauses_ms']):.0f} ms")
            pauses += report["pauses_ms"]
            errors += sum(report["errors"].values())
            server.processes[place].start()
        self.stage.end("crema-failover")
        return Figures([percentile(pauses, 0.99)], median_ms=percentile(pauses, 0.5), longest_ms=max(pauses),
                       kills=self.effort.kills, failed_requests=errors)

    def transfer(self):
        """Planned moves of the leader of the one shard that all keys are in."""
        server = self.stage.get("crema-memory", Crema, is_durable=False)
        self.stage.only(server)
        tag = "bench"
        shard = binascii.crc_hqx(tag.encode(), 0) % 16_384 * server.shards // 16_384
        # A leader hands over once the other has been level for 3 s.
        seconds, moves, late = 4 * self.effort.transfers, 0, None
        with self.load(server, seconds, ["--prefix", f"{{{tag}}}:"]) as generator:
            end = time.monotonic() + self.effort.warm_up + seconds - 4
            time.sleep(self.effort.warm_up + 0.3)
            while time.monotonic() < end:
                # In turn, by way of whoever could not be brought level in time.
                node = (moves + (late is not None)) % len(server.http) + 1
                command = [os.path.join(self.stage.binaries, "cremactl"), "transfer-leader", str(shard), str(node),
                           "--grpc", server.grpc[0], "--token", TOKEN]
                ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
                if ran.returncode:
                    late = ran.stderr.strip()
                else:
                    moves += 1
            report = self.loaded(server, generator)
        if moves < self.effort.transfers / 2:
            raise Failure(f"the leader moved {moves} times, of {self.effort.transfers} that were wanted: {late}")
        if report["errors"]:
            raise Failure(f"a planned move failed requests: {report['errors']}")
        return Figures([percentile(report["pauses_ms"], 0.99)], longest_ms=max(report["pauses_ms"]), moves=moves,
                       last_that_took_too_long=late, p999_latency_ms=report["writes"]["p99.9_us"] / 1e3)

    # One cluster by itself.

    def idle(self):
        """Processor time of three nodes while nobody asks for anything."""
        shards = self.effort.idle_shards
        server = self.stage.get("crema-idle", Crema, shards=shards)
        wait_for("every shard to be led", server.is_settled, pause=0.5)
        self.stage.only(server)

        def asleep():
            pages = [server.status(place) for place in range(len(server.http))]
            return all(page and sum(shard.get("asleep") is True for shard in page["shards"]) == shards for page in pages)

        # Each page lists all shards: asked all the time, that would be the load.
        wait_for("every replica to sleep", asleep, pause=1)
        trials = []
        for _ in range(self.effort.idle_trials):
            before, started = server.cpu_seconds(), time.monotonic()
            time.sleep(self.effort.idle_seconds)
            trials.append(100 * (server.cpu_seconds() - before) / (time.monotonic() - started))
        self.stage.end("crema-idle")
        return Figures(trials, shards=shards, nodes=len(server.http))

    def restart(self):
        """kill -9 of one node of three, and the time from its start to `/readyz`."""
        server = self.stage.get("crema-restart", Crema, on_disk=True, is_durable=True)
        self.stage.only(server)
        entries = self.effort.entries
        self.stage.bench(server, ["--fill", "--keys", entries, "--requests", 1, "--pipeline", 64])
        times = []
        for trial in range(self.effort.pairs):
            place = trial % len(server.http)
            server.processes[place].kill()
            started = time.monotonic()
            server.processes[place].start()
            wait_for("the node to be ready", lambda: server.is_ready(place), pause=0.01)
            times.append(time.monotonic() - started)
            held = sum(shard["entries"] for shard in server.status(place)["shards"])
            if held < entries:
                raise Failure(f"the node is ready with {held} of {entries} entries")
            wait_for("every shard to be led", server.is_settled)
        self.stage.end("crema-restart")
        return Figures(times, entries=entries)

    # In one process.

    def in_process(self):
        """`get()` beside Moka's, in the same process: the benchmark pairs them itself."""
        runs = [self.program("get", r"^get, (.+): (.+) [\d.]+ ns, ([\d.]+)x of moka", "get") for _ in range(self.effort.pairs)]
        cases = {}
        for run in runs:
            for threads, name, ratio in run:
                cases.setdefault(f"{name}, {threads}", []).append(float(ratio))
        ours = [ratios for name, ratios in cases.items() if name.startswith("DistributedCache::get")]
        # Of each run the worst case.
        return Figures([min(of_run) for of_run in zip(*ours, strict=True)], cases=cases)

    def entry_memory(self):
        """Bytes of the resident set for each entry, beyond its key and value: the worst of the cases."""
        cases = {name: int(size) for name, size in self.program("memory", r"^(.+): (\d+) bytes per entry beyond")}
        return Figures([max(cases.values())], cases=cases)

    def program(self, bench, pattern, *args):
        """Runs a benchmark of the library and reads its lines."""
        for server in self.stage.servers.values():
            server.hold()
        command = ["cargo", "bench", "-q", "-p", "crema", "--features", "full", "--bench", bench, "--", *args]
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3600, check=False)
        found = re.findall(pattern, ran.stdout, re.MULTILINE)
        if ran.returncode or not found:
            raise Failure(f"{' '.join(command)}: {ran.stderr.strip() or ran.stdout.strip()}")
        return found
