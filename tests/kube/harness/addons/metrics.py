"""A stand-in for the metrics API, which autoscalers ask: every pod uses what the file `cpu-millis` of this run says.

Without that file nobody is told anything, as where no metrics server is installed.
"""

import datetime
import http.server
import json
import pathlib
import re
import ssl
import urllib.parse

import api

ADDRESS = ("10.99.0.1", 4443)
GROUP = "metrics.k8s.io"
VERSION = f"{GROUP}/v1beta1"
PODS = re.compile(rf"/apis/{VERSION}/namespaces/([^/]+)/pods")


def register():
    """A service without selector, that ends here, and the group behind it."""
    metadata = {"name": "metrics", "namespace": "kube-system"}
    ip, port = ADDRESS
    service = {"metadata": metadata, "spec": {"ports": [{"port": 443, "targetPort": port}]}}
    endpoints = {"metadata": metadata, "subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": port}]}]}
    spec = {
        "group": GROUP,
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": metadata,
    }
    group = {"metadata": {"name": f"v1beta1.{GROUP}"}, "spec": spec}
    api.create("/api/v1/namespaces/kube-system/services", service)
    api.create("/api/v1/namespaces/kube-system/endpoints", endpoints)
    api.create("/apis/apiregistration.k8s.io/v1/apiservices", group)


def usage(pod, millis):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    containers = [
        {"name": container["name"], "usage": {"cpu": f"{millis}m", "memory": "64Mi"}}
        for container in pod["spec"]["containers"]
    ]
    metadata = {field: pod["metadata"].get(field) for field in ("name", "namespace", "labels")}
    return {"metadata": metadata, "timestamp": now, "window": "10s", "containers": containers}


def pods(namespace, query):
    file = pathlib.Path(api.FOLDER, "cpu-millis")
    millis = int(file.read_text()) if file.exists() else None
    selector = urllib.parse.urlencode({"labelSelector": query.get("labelSelector", [""])[0]})
    found = api.items(f"/api/v1/namespaces/{namespace}/pods?{selector}") if millis is not None else []
    running = [usage(pod, millis) for pod in found if pod["status"].get("phase") == "Running"]
    return {"kind": "PodMetricsList", "apiVersion": VERSION, "metadata": {}, "items": running}


def resources():
    pod = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION, "resources": [pod]}


class Door(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        wanted = PODS.fullmatch(url.path)
        if wanted:
            self.reply(200, pods(wanted[1], urllib.parse.parse_qs(url.query)))
        elif url.path == f"/apis/{VERSION}":
            self.reply(200, resources())
        else:
            self.reply(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})

    def reply(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{api.FOLDER}/pki/apiserver.crt", f"{api.FOLDER}/pki/apiserver.key")
    server = http.server.ThreadingHTTPServer(ADDRESS, Door)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    api.insist(register)
    server.serve_forever()


if __name__ == "__main__":
    main()
