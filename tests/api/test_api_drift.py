"""What somebody changes by hand, or deletes, is as it was a moment later."""

import base64
import copy
import time
from typing import Any

import pytest

from tests.ground.cluster_api import Api, Refused, eventually
from tests.ground.federations import OWNED, condition
from tests.ground.fixture_types import Measure
from tests.ground.installation import Operator

EDITS: dict[tuple[str, str], dict[str, Any]] = {
    ("ServiceAccount", "pbx-agent"): {"automountServiceAccountToken": True},
    ("NetworkPolicy", "pbx-agent"): {"spec": {"ingress": [{}]}},
    ("Secret", "pbx-agent"): {"data": {"token": base64.b64encode(b"mine").decode()}},
    ("Secret", "pbx-asterisk"): {"data": {"pjsip_eventfed.conf": base64.b64encode(b"[mine]").decode()}},
    ("Service", "pbx-agent"): {"spec": {"internalTrafficPolicy": "Cluster", "selector": {"app": "mine"}}},
    ("DaemonSet", "pbx-agent"): {
        "spec": {
            "updateStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"spec": {"automountServiceAccountToken": True}},
        },
    },
}
IDS = [" ".join(key) for key in EDITS]


def known(manifest: dict[str, Any]) -> dict[str, Any]:
    """What an object says, without what the API server keeps of its history, and what somebody added beside ours."""
    manifest = copy.deepcopy(manifest)
    for name in ("resourceVersion", "managedFields", "generation", "uid", "creationTimestamp"):
        manifest["metadata"].pop(name, None)
    manifest["metadata"]["annotations"].pop("deprecated.daemonset.template.generation", None)
    manifest.pop("status", None)
    if manifest["kind"] == "Service":
        manifest["spec"]["selector"].pop("app", None)
    return manifest


@pytest.mark.parametrize("key", EDITS, ids=IDS)
def test_an_edit_by_hand_is_put_back(
    api: Api, operator: Operator, settled_namespace: str, measure: Measure, key: tuple[str, str]
) -> None:
    kind, name = key
    before = known(api.get(kind, settled_namespace, name))
    begin = time.monotonic()
    assert known(api.merge(kind, settled_namespace, name, EDITS[key])) != before
    eventually(lambda: known(api.get(kind, settled_namespace, name)) == before, pause=0.02)
    measure(f"{kind} {name} edited by hand, put back", time.monotonic() - begin)


@pytest.mark.parametrize("key", EDITS, ids=IDS)
def test_what_is_deleted_is_made_again_as_it_was(
    api: Api, operator: Operator, settled_namespace: str, measure: Measure, key: tuple[str, str]
) -> None:
    """With the same clusterIP and the same header secret, which Asterisk's snippet names."""
    kind, name = key
    before = api.get(kind, settled_namespace, name)
    begin = time.monotonic()
    api.delete(kind, settled_namespace, name)

    def again() -> Any:
        one = api.find(kind, settled_namespace, name)
        return one if one is not None and one["metadata"]["uid"] != before["metadata"]["uid"] else None

    made = eventually(again, pause=0.02)
    measure(f"{kind} {name} deleted, made again", time.monotonic() - begin)
    assert known(made) == known(before)


def test_a_service_that_somebody_else_made_again_gets_its_address_back(
    api: Api, operator: Operator, settled_namespace: str
) -> None:
    before = api.get("Service", settled_namespace, "pbx-agent")
    metadata = {key: before["metadata"][key] for key in ("name", "namespace", "labels", "ownerReferences")}
    spec = {"selector": before["spec"]["selector"], "ports": [{"port": 5066, "protocol": "UDP"}]}
    for _ in range(20):
        api.delete("Service", settled_namespace, "pbx-agent")
        try:
            other = api.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        except Refused:
            continue  # the operator was faster
        assert other["spec"]["clusterIP"] != before["spec"]["clusterIP"]
        break
    else:
        pytest.fail("the operator was always faster")
    eventually(lambda: known(api.get("Service", settled_namespace, "pbx-agent")) == known(before))


def test_what_somebody_added_beside_ours_is_let_be(api: Api, operator: Operator, settled_namespace: str) -> None:
    """So that the operator and an injector of annotations, say, do not undo each other's work without end."""
    api.merge("DaemonSet", settled_namespace, "pbx-agent", {"metadata": {"annotations": {"example.net/team": "voice"}}})
    before = operator.metrics()["eventfed_operator_rounds_total"]
    eventually(lambda: operator.metrics()["eventfed_operator_rounds_total"] > before + 1)
    annotations = api.get("DaemonSet", settled_namespace, "pbx-agent")["metadata"]["annotations"]
    assert annotations["example.net/team"] == "voice"


def test_an_object_that_kubernetes_refuses_keeps_no_other_from_being_put_back_and_is_told(
    api: Api, operator: Operator, settled_namespace: str
) -> None:
    """Where owner references are guarded, one can be given to a new object, but not to one that we may not delete."""
    namespace = settled_namespace
    api.merge("DaemonSet", namespace, "pbx-agent", {"metadata": {"ownerReferences": None}})
    eventually(lambda: condition(api, namespace, "AgentsReady")[1] == "ObjectRefused")
    assert "cannot set an ownerRef" in condition(api, namespace, "AgentsReady")[2]
    api.delete("ServiceAccount", namespace, "pbx-agent")
    eventually(lambda: api.find("ServiceAccount", namespace, "pbx-agent"), within=20)
    api.delete("DaemonSet", namespace, "pbx-agent")
    eventually(lambda: condition(api, namespace, "AgentsReady")[1] == "AgentsStarting", within=20)
    assert api.get("DaemonSet", namespace, "pbx-agent")["metadata"]["ownerReferences"]


def test_every_owned_kind_is_tried() -> None:
    assert set(EDITS) == set(OWNED)
