"""The servers that are compared: started on loopback, stopped for good or only held still, and asked what they cost.

Used by the rows. Everything that is started is known here, so that all of it can be ended."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

# Generous: a wait that ends here has failed, however slow the machine.
PATIENCE = 90
TOKEN = "compare"
# The shards of a cluster, where a row says nothing else.
SHARDS = 16


class Failure(Exception):
    """A row can't be measured; the text says why."""


def wait_for(what, ask, pause=0.05):
    """Asks until there is an answer, and returns it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(pause)
    raise Failure(f"waited {PATIENCE} s for {what}")


def free_ports(count):
    """Ports on loopback that nobody listens on, below those that the system gives to outgoing connections."""
    found = []
    while len(found) < count:
        free_ports.next = 20_000 + (free_ports.next - 20_000 + 1) % 12_000
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", free_ports.next))
                found.append(free_ports.next)
    return found


free_ports.next = 20_000 + os.getpid() * 97 % 12_000


def http(address, path):
    """Status and body; None when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return None


class Process:
    """One child with its output in a file."""

    def __init__(self, command, output):
        self.command, self.output, self.child, self.held = command, output, None, False
        self.start()

    def start(self):
        with open(self.output, "ab") as output:
            self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.held = False

    def runs(self):
        return self.child.poll() is None

    def send(self, what):
        if self.runs():
            self.child.send_signal(what)
            self.held = what == signal.SIGSTOP

    def kill(self):
        if self.runs():
            self.child.kill()
        self.child.wait()

    def cpu_seconds(self):
        """Processor time since its start, of all threads."""
        with open(f"/proc/{self.child.pid}/stat", encoding="utf-8") as stat:
            # The second field is the name, in brackets, which may hold anything.
            fields = stat.read().rsplit(") ", 1)[1].split(" ")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def tail(self):
        with open(self.output, encoding="utf-8", errors="replace") as output:
            return "".join(output.readlines()[-15:])


class Server:
    """Some processes that are one service."""

    name = "server"
    # What the generator says to it.
    target = "resp"

    def __init__(self, folder):
        self.folder, self.processes, self.addresses = folder, [], []
        # How many keys each of its sets of keys has.
        self.filled = set()
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)

    def add(self, command):
        self.processes.append(Process(command, os.path.join(self.folder, f"{len(self.processes) + 1}.log")))

    def hold(self):
        for process in self.processes:
            if not process.held:
                process.send(signal.SIGSTOP)

    def go_on(self):
        for process in self.processes:
            if process.held:
                process.send(signal.SIGCONT)

    def cpu_seconds(self):
        return sum(process.cpu_seconds() for process in self.processes)

    def end(self):
        for process in self.processes:
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def check_alive(self):
        for process in self.processes:
            if not process.runs():
                raise Failure(f"{self.name} has ended:\n{process.tail()}")

    def is_settled(self):
        """Whether it can be measured, as far as can be seen from outside; a few requests are sent besides."""
        return True


class Redis(Server):
    """A Redis of one thread that keeps nothing."""

    name = "redis"

    def __init__(self, folder, _binaries):
        super().__init__(folder)
        (port,) = free_ports(1)
        self.addresses = [f"127.0.0.1:{port}"]
        self.add(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                  "--io-threads", "1", "--dir", folder])


class Etcd(Server):
    """Three members; where its folder is decides what a sync costs."""

    name = "etcd"
    target = "etcd"

    def __init__(self, folder, _binaries):
        super().__init__(folder)
        ports = free_ports(6)
        members = list(enumerate(zip(ports[::2], ports[1::2]), 1))
        cluster = ",".join(f"n{number}=http://127.0.0.1:{peer}" for number, (_, peer) in members)
        for number, (client, peer) in members:
            client_url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
            self.addresses.append(f"127.0.0.1:{client}")
            self.add(["etcd", "--name", f"n{number}", "--data-dir", os.path.join(folder, f"data-{number}"),
                      "--listen-client-urls", client_url, "--advertise-client-urls", client_url,
                      "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
                      "--initial-cluster", cluster, "--initial-cluster-state", "new",
                      "--quota-backend-bytes", str(8 << 30)])

    def leader(self):
        """The address of the member that leads."""
        for address in self.addresses:
            answer = http(address, "/metrics")
            if answer and "\netcd_server_is_leader 1\n" in answer[1]:
                return address
        return None

    def is_settled(self):
        return self.leader() is not None


class Crema(Server):
    """Nodes of one cluster."""

    name = "crema"

    def __init__(self, folder, binaries, nodes=3, shards=SHARDS, is_durable=False):
        super().__init__(folder)
        self.shards = shards
        ports = free_ports(3 * nodes)
        self.grpc = [f"127.0.0.1:{port}" for port in ports[:nodes]]
        self.addresses = [f"127.0.0.1:{port}" for port in ports[nodes:2 * nodes]]
        self.http = [f"127.0.0.1:{port}" for port in ports[2 * nodes:]]
        peers = ",".join(f"{number}={address}" for number, address in enumerate(self.grpc, 1))
        for place in range(nodes):
            command = [os.path.join(binaries, "crema-node"), "start", "--node-id", str(place + 1), "--peers", peers,
                       "--peer-addr", self.grpc[place], "--resp-addr", self.addresses[place],
                       "--http-addr", self.http[place], "--shards", str(shards),
                       "--replication", str(min(nodes, 3)), "--cluster-token", TOKEN, "--linger", "200ms"]
            if is_durable:
                command += ["--storage", "rocksdb", "--data-dir", os.path.join(folder, f"data-{place + 1}")]
            self.add(command)

    def status(self, place):
        """The page of a node; None when it does not answer."""
        answer = http(self.http[place], "/status")
        return json.loads(answer[1]) if answer and answer[0] == 200 else None

    def led(self, place):
        """How many shards a node says that it leads."""
        page = self.status(place)
        return page["node"]["shards"]["led"] if page else 0

    def is_ready(self, place):
        answer = http(self.http[place], "/readyz")
        return answer is not None and answer[0] == 200

    def is_settled(self):
        places = range(len(self.http))
        return all(map(self.is_ready, places)) and sum(map(self.led, places)) == self.shards


class Stage:
    """All that was started; one server plays, the others are held still."""

    def __init__(self, binaries, memory, disk):
        self.binaries, self.memory, self.disk, self.servers = binaries, memory, disk, {}

    def get(self, name, kind, on_disk=False, **further):
        """The server of this name, started when first asked for."""
        if name not in self.servers:
            for other in self.servers.values():
                other.hold()
            folder = os.path.join(self.disk if on_disk else self.memory, name)
            self.servers[name] = kind(folder, self.binaries, **further)
        return self.servers[name]

    def only(self, server):
        """Lets this one go on alone, and waits until it can be measured."""
        for other in self.servers.values():
            if other is not server:
                other.hold()
        server.go_on()

        def settled():
            server.check_alive()
            return server.is_settled() and self.answers(server)

        wait_for(f"{server.name} to be ready", settled)

    def answers(self, server):
        """Whether each of its addresses answers some requests without an error."""
        report = self.bench(server, ["--clients", str(4 * len(server.addresses)), "--requests", "64", "--prefix", "probe:",
                                     "--timeout-ms", "2000"], check=False)
        return report is not None and not report["errors"]

    def generator(self, server, flags, addresses=None):
        """The command line of the generator."""
        return [os.path.join(self.binaries, "cremactl"), "bench", "-o", "json", "--target", server.target,
                "--addr", ",".join(addresses or server.addresses), *map(str, flags)]

    def bench(self, server, flags, addresses=None, check=True):
        """Runs the generator to its end and returns its report."""
        ran = subprocess.run(self.generator(server, flags, addresses), stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, timeout=900, check=False)
        return read_report(server, ran.returncode, ran.stdout, ran.stderr, check)

    def end(self, name):
        """Ends one server."""
        self.servers.pop(name).end()

    def end_all(self):
        for name in list(self.servers):
            self.end(name)
        for folder in (self.memory, self.disk):
            shutil.rmtree(folder, ignore_errors=True)


def read_report(server, code, out, err, check=True):
    """What the generator has said; None when it failed and that is no failure of the row."""
    if code == 0:
        return json.loads(out)
    if not check:
        return None
    server.check_alive()
    raise Failure(f"the generator failed at {server.name}: {(err or out).strip()}")
