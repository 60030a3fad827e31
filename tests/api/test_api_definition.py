"""The custom resource definition on a real API server: what it is called, what it explains, what it fills in."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from eventfed_lab import ControlPlane
from eventfed_operator.crd.resource import EventFederationSpec
from tests.ground.cluster_api import Api, Refused, federation

NAME = "eventfederations.eventfed.io"


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, one in schema.get("properties", {}).items():
        yield f"{path}.{name}", one
        yield from fields(one, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            yield from fields(schema[inner], path)


def test_the_api_server_takes_it_as_it_is(api: Api) -> None:
    conditions = {
        one["type"]: one["status"] for one in api.get("CustomResourceDefinition", "", NAME)["status"]["conditions"]
    }
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions
    assert conditions.get("KubernetesAPIApprovalPolicyConformant", "True") == "True"


@pytest.mark.parametrize("word", ["evfed", "eventfederations", "eventfederation", "eventfed", "all"])
def test_kubectl_finds_it_by_its_names_and_categories(plane: ControlPlane, api: Api, namespace: str, word: str) -> None:
    api.create(federation(namespace))
    assert "eventfederation.eventfed.io/pbx" in plane.kubectl("get", word, "-n", namespace, "-o", "name").stdout


def test_kubectl_get_shows_what_people_ask_for(plane: ControlPlane, api: Api, namespace: str) -> None:
    api.create(federation(namespace))
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "NoPodMatches",
        "message": "Nobody here",
        "observedGeneration": 1,
    }
    status = {
        "federation": f"{namespace}_pbx",
        "stream": {"name": "EVENTFED_pbx_local", "messages": 7},
        "conditions": [{**ready, "lastTransitionTime": "2026-03-01T11:00:00Z"}],
        "members": {"summary": "2/3", "total": 3, "synced": 2},
        "agents": {"summary": "1/2", "desired": 2, "ready": 1},
    }
    api.merge("EventFederation", namespace, "pbx", {"status": status}, "status")
    heading, row = plane.kubectl("get", "evfed", "-n", namespace).stdout.splitlines()
    assert heading.split() == ["NAME", "READY", "MEMBERS", "AGENTS", "REASON", "AGE"]
    assert row.split()[:5] == ["pbx", "False", "2/3", "1/2", "NoPodMatches"]
    heading, row = plane.kubectl("get", "evfed", "-n", namespace, "-o", "wide").stdout.splitlines()
    assert heading.split()[-3:] == ["FEDERATION", "MESSAGES", "MESSAGE"]
    assert row.split()[-4:] == [f"{namespace}_pbx", "7", "Nobody", "here"]


def test_kubectl_explain_describes_every_field(plane: ControlPlane, api: Api) -> None:
    served = api.ask("GET", "/openapi/v3/apis/eventfed.io/v1alpha1")["components"]["schemas"]
    schema = served["io.eventfed.v1alpha1.EventFederation"]["properties"]
    told = plane.kubectl("explain", "evfed.spec", "--recursive").stdout
    known = list(fields(schema["spec"], "spec"))
    assert len(known) > 60
    for path, one in known:
        assert one.get("description", "").endswith("."), path
        assert re.search(rf"^\s+{path.rpartition('.')[2]}\t<", told, re.MULTILINE), path
    assert [path for path, one in fields(schema["status"], "status") if not one.get("description")] == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("evfed", "behave as one server"),
        ("evfed.spec.events.voicemailStorage", "Separate"),
        ("evfed.spec.departure.gracePeriod", "before its states are withdrawn"),
        ("evfed.status.conditions.reason", "DESCRIPTION"),
    ],
)
def test_kubectl_explain_prints_it(plane: ControlPlane, path: str, words: str) -> None:
    assert words in plane.kubectl("explain", path).stdout


def test_the_api_server_fills_in_the_defaults(api: Api, namespace: str) -> None:
    spec = api.create(federation(namespace))["spec"]
    assert spec["site"] == "local"
    assert spec["members"] == {
        "selector": {"matchLabels": {"app": "asterisk"}},
        "port": 5060,
        "transport": "UDP",
    }
    assert spec["nats"] == {"subjectPrefix": "eventfed", "stream": {"replicas": 1, "storage": "File"}}
    assert spec["departure"]["gracePeriod"] == 30
    assert spec["agent"]["updateStrategy"] == {"type": "RollingUpdate"}
    assert (spec["paused"], spec["deletionPolicy"], spec["method"]) == (False, "Delete", "jetstream")
    assert "federation" not in spec
    assert EventFederationSpec.model_validate(spec) == EventFederationSpec.model_validate(federation(namespace)["spec"])


def test_status_and_spec_are_written_apart(api: Api, namespace: str) -> None:
    made = api.create(federation(namespace) | {"status": {"federation": "mine"}})
    assert "status" not in made
    api.merge("EventFederation", namespace, "pbx", {"status": {"federation": "mine"}, "spec": {"site": "x"}}, "status")
    now = api.get("EventFederation", namespace, "pbx")
    assert (now["status"]["federation"], now["spec"]["site"]) == ("mine", "local")
    assert now["metadata"]["generation"] == 1


def test_two_people_may_each_own_an_event_type(api: Api, namespace: str) -> None:
    api.apply(federation(namespace), manager="one")
    mwi = {**federation(namespace), "spec": {"events": [{"type": "mwi", "voicemailStorage": "Shared"}]}}
    merged = api.apply(mwi, manager="two")
    assert {one["type"] for one in merged["spec"]["events"]} == {"device_state", "mwi"}


def test_the_largest_resource_is_taken(api: Api, namespace: str) -> None:
    """The rules cost the API server so little that it takes an EventFederation that is as large as it may be."""
    large: dict[str, Any] = {
        "members": {"selector": {"matchLabels": {f"label-{n}": "x" * 63 for n in range(32)}}},
        "events": [
            {"type": "device_state", "include": ["x" * 256] * 32, "exclude": ["y" * 256] * 32},
            {"type": "mwi", "voicemailStorage": "Shared", "include": ["x" * 256] * 32},
        ],
        "nats": {"servers": [f"tls://{n:03}{'n' * 240}:4222" for n in range(16)]},
        "agent": {"imagePullSecrets": [f"{n}{'s' * 240}" for n in range(8)]},
    }
    try:
        api.create(federation(namespace, **large))
    except Refused as error:
        pytest.fail(error.message)
