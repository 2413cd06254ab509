"""What the addons say to the API server: JSON over HTTPS, with the certificate that kubectl has."""

import json
import os
import ssl
import time
import traceback
import urllib.error
import urllib.request

FOLDER = os.environ["CREMA_KUBE"]
SERVER = "https://10.99.0.1:6443"

_context = ssl.create_default_context(cafile=f"{FOLDER}/pki/ca.crt")
_context.load_cert_chain(f"{FOLDER}/pki/admin.crt", f"{FOLDER}/pki/admin.key")


def call(method, path, body=None, kind="application/json"):
    """The answer; an urllib.error.HTTPError when it is a refusal."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(SERVER + path, data, {"Content-Type": kind}, method=method)
    with urllib.request.urlopen(request, context=_context, timeout=5) as answer:
        return json.load(answer)


def items(path):
    return call("GET", path)["items"]


def patch(path, body):
    return call("PATCH", path, body, "application/merge-patch+json")


def create(path, body):
    """What is there already stays as it is."""
    try:
        call("POST", path, body)
    except urllib.error.HTTPError as refusal:
        if refusal.code != 409:
            raise


def insist(step):
    """Repeats a step until it succeeds: the server may have no namespaces yet."""
    while True:
        try:
            return step()
        except Exception:
            traceback.print_exc()
        time.sleep(0.5)


def forever(step, pause_s):
    """Repeats a step; what goes wrong in one is told, and the next may do better."""
    while True:
        try:
            step()
        except Exception:
            traceback.print_exc()
        time.sleep(pause_s)
