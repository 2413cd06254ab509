"""Volumes on the machines' own disks, made when a pod that wants one has its machine: StorageClass `local`, the default.

They can grow, are bound to their machine, and go when their claim goes.
"""

import os
import pathlib
import shutil

import api

CLASS = "local"
PROVISIONER = "crema.test/local"
SELECTED = "volume.kubernetes.io/selected-node"


def create_class():
    body = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }
    api.create("/apis/storage.k8s.io/v1/storageclasses", body)


def name_of(claim):
    return f'local-{claim["metadata"]["uid"]}'


def folder(node, volume):
    return pathlib.Path(api.FOLDER, node, "volumes", volume)


def provision(claim):
    node = claim["metadata"].get("annotations", {}).get(SELECTED)
    if claim["spec"].get("storageClassName") != CLASS or claim["spec"].get("volumeName") or not node:
        return
    place = folder(node, name_of(claim))
    os.makedirs(place, exist_ok=True)
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    metadata = claim["metadata"]
    spec = {
        "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
        "accessModes": claim["spec"]["accessModes"],
        "storageClassName": CLASS,
        "persistentVolumeReclaimPolicy": "Delete",
        "local": {"path": str(place)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
        "claimRef": {
            "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
    }
    head = {"name": name_of(claim), "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": head, "spec": spec}
    api.create("/api/v1/persistentvolumes", volume)


def grow(claim, volumes):
    """A folder has no size: that it is larger now is all there is to say."""
    volume = volumes.get(claim["spec"].get("volumeName"))
    wanted = claim["spec"]["resources"]["requests"]["storage"]
    if not volume or claim.get("status", {}).get("phase") != "Bound" or claim["status"]["capacity"]["storage"] == wanted:
        return
    metadata = claim["metadata"]
    api.patch(f'/api/v1/persistentvolumes/{volume["metadata"]["name"]}', {"spec": {"capacity": {"storage": wanted}}})
    path = f'/api/v1/namespaces/{metadata["namespace"]}/persistentvolumeclaims/{metadata["name"]}/status'
    api.patch(path, {"status": {"capacity": {"storage": wanted}, "conditions": None}})


def reclaim(volume):
    if volume.get("status", {}).get("phase") not in ("Released", "Failed"):
        return
    name = volume["metadata"]["name"]
    path = pathlib.Path(volume["spec"]["local"]["path"])
    shutil.rmtree(path, ignore_errors=True)
    api.call("DELETE", f"/api/v1/persistentvolumes/{name}")


def step():
    volumes = {}
    for volume in api.items("/api/v1/persistentvolumes"):
        if volume["spec"].get("storageClassName") == CLASS:
            volumes[volume["metadata"]["name"]] = volume
            reclaim(volume)
    for claim in api.items("/api/v1/persistentvolumeclaims"):
        provision(claim)
        grow(claim, volumes)


if __name__ == "__main__":
    api.insist(create_class)
    api.forever(step, 0.5)
