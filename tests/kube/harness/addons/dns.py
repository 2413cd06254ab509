"""Cluster DNS: A and SRV records of services and, for headless ones, of their pods, as Kubernetes's specification has them.

What is not ready is left out, but for services with publishNotReadyAddresses. UDP and TCP; answers live one second.
"""

import socketserver
import struct
import threading

import api

ADDRESS = ("10.97.0.10", 53)
DOMAIN = "svc.cluster.local"
TTL_S = 1
A, SRV, ANY = 1, 33, 255
# Longer answers over UDP are cut off, and asked for again over TCP.
MOST_UDP = 512


class Zone:
    """name -> [(type, data)]. Replaced as a whole, so that readers need no lock."""

    records = {}

    @classmethod
    def refresh(cls):
        fresh = {}
        endpoints = {key(one): one.get("subsets") or [] for one in api.items("/api/v1/endpoints")}
        for service in api.items("/api/v1/services"):
            name = f"{key(service)}.{DOMAIN}"
            fresh.setdefault(name, [])
            ip = service["spec"].get("clusterIP")
            if ip and ip != "None":
                add_service(fresh, name, ip, service["spec"].get("ports") or [])
            else:
                for subset in endpoints.get(key(service), []):
                    add_subset(fresh, name, subset)
        cls.records = fresh


def key(thing):
    return f'{thing["metadata"]["name"]}.{thing["metadata"]["namespace"]}'


def add_service(zone, name, ip, ports):
    zone[name].append((A, address(ip)))
    for port in ports:
        add_port(zone, name, port, name)


def add_subset(zone, name, subset):
    for pod in subset.get("addresses") or []:
        host = f'{pod.get("hostname") or pod["ip"].replace(".", "-")}.{name}'
        zone[name].append((A, address(pod["ip"])))
        zone.setdefault(host, []).append((A, address(pod["ip"])))
        for port in subset.get("ports") or []:
            add_port(zone, name, port, host)


def add_port(zone, name, port, host):
    if port.get("name"):
        data = struct.pack("!HHH", 0, 100, port["port"]) + encoded(host)
        zone.setdefault(f'_{port["name"]}._{port.get("protocol", "TCP").lower()}.{name}', []).append((SRV, data))


def address(text):
    return bytes(int(part) for part in text.split("."))


def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def answer(query, most):
    """The reply to one query: what is known, or that the name does not exist."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += 1 + query[at]
    (wanted,) = struct.unpack_from("!H", query, at + 1)
    question = query[12 : at + 5]
    name = ".".join(labels).lower()
    found = Zone.records.get(name)
    # An empty name between two others exists, too: resolvers give up on the first that does not.
    exists = found is not None or any(known.endswith(f".{name}") for known in Zone.records)
    records = [one for one in found or [] if wanted in (one[0], ANY)]
    body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, TTL_S, len(data)) + data for kind, data in records)
    is_cut = 12 + len(question) + len(body) > most
    if is_cut:
        records, body = [], b""
    recursion = query[2] & 1
    flags = 0x8400 | recursion << 8 | 0x80 | (0x200 if is_cut else 0) | (0 if exists else 3)
    return query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question + body


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        query, socket = self.request
        socket.sendto(answer(query, MOST_UDP), self.client_address)


class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        while head := self.rfile.read(2):
            reply = answer(self.rfile.read(struct.unpack("!H", head)[0]), 65535)
            self.wfile.write(struct.pack("!H", len(reply)) + reply)


def main():
    socketserver.TCPServer.allow_reuse_address = True
    for server in (socketserver.ThreadingUDPServer(ADDRESS, Udp), socketserver.ThreadingTCPServer(ADDRESS, Tcp)):
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    api.forever(Zone.refresh, 0.3)


if __name__ == "__main__":
    main()
