"""What the API server answers to a manifest that is wrong: each message says what to change."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from eventfed_lab import ControlPlane
from tests.ground.cluster_api import Api, Refused, federation

LABELS = {"matchLabels": {"app": "asterisk"}}
SERVERS = ["tls://nats.example.net:4222"]
PASSWORD = {"name": "nats", "key": "password"}
STRICT = "?dryRun=All&fieldValidation=Strict"


def events(*entries: Mapping[str, Any]) -> dict[str, Any]:
    return {"events": list(entries)}


def selector(**one: Any) -> dict[str, Any]:
    return {"members": {"selector": {"matchExpressions": [{"key": "app", **one}]}}}


def agent(**spec: Any) -> dict[str, Any]:
    return {"agent": spec}


def credentials(**given: Any) -> dict[str, Any]:
    return {"nats": {"servers": SERVERS, "credentials": given}}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no members": ({"members": None}, "spec.members: Required value"),
    "no selector": ({"members": {}}, "spec.members.selector: Required value"),
    "empty selector": ({"members": {"selector": {}}}, "name a label of your Asterisk pods"),
    "empty labels": ({"members": {"selector": {"matchLabels": {}}}}, "name a label of your Asterisk pods"),
    "long label": (
        {"members": {"selector": {"matchLabels": {"app": "a" * 64}}}},
        "matchLabels.app: Too long: may not be more than 63 bytes",
    ),
    "bad label": (
        {"members": {"selector": {"matchLabels": {"a label": "x"}}}},
        "write the name of a label, such as app or example.net/app",
    ),
    "bad label value": (
        {"members": {"selector": {"matchLabels": {"app": "two words"}}}},
        "write the value of a label: letters, digits, '-', '_' and '.'",
    ),
    "bad label in an expression": (
        {"members": {"selector": {"matchExpressions": [{"key": "-app", "operator": "Exists"}]}}},
        "write the name of a label",
    ),
    "In without values": (selector(operator="In"), "In and NotIn need values"),
    "Exists with values": (selector(operator="Exists", values=["a"]), "Exists and DoesNotExist must have none"),
    "unknown operator": (
        selector(operator="Is", values=["a"]),
        'supported values: "In", "NotIn", "Exists", "DoesNotExist"',
    ),
    "port 0": (
        {"members": {"selector": LABELS, "port": 0}},
        "spec.members.port in body should be greater than or equal to 1",
    ),
    "port too high": (
        {"members": {"selector": LABELS, "port": 70_000}},
        "spec.members.port in body should be less than or equal to 65535",
    ),
    "port as text": (
        {"members": {"selector": LABELS, "port": "sip"}},
        "spec.members.port in body must be of type integer",
    ),
    "transport": ({"members": {"selector": LABELS, "transport": "TLS"}}, 'supported values: "UDP", "TCP"'),
    "no events": ({"events": None}, "spec.events: Required value"),
    "empty events": (events(), "spec.events in body should have at least 1 items"),
    "unknown type": (events({"type": "presence"}), 'supported values: "mwi", "device_state"'),
    "no type": (events({"publish": True}), "spec.events[0].type: Required value"),
    "mwi without storage": (
        events({"type": "mwi"}),
        "mwi needs voicemailStorage: Separate (each server keeps its own messages) or Shared (one spool)",
    ),
    "unknown storage": (events({"type": "mwi", "voicemailStorage": "Both"}), 'supported values: "Separate", "Shared"'),
    "Beside with Shared": (
        events({"type": "mwi", "voicemailStorage": "Shared", "injection": "Beside"}),
        "with Shared use InPlace",
    ),
    "storage of devices": (
        events({"type": "device_state", "voicemailStorage": "Shared"}),
        "belong to mwi alone: remove them here",
    ),
    "doubled type": (
        events({"type": "device_state"}, {"type": "device_state"}),
        "a type is listed twice: merge the two entries",
    ),
    "long pattern": (
        events({"type": "device_state", "include": ["x" * 257]}),
        "include[0]: Too long: may not be more than 256 bytes",
    ),
    "empty pattern": (
        events({"type": "device_state", "include": [""]}),
        "include[0] in body should be at least 1 chars long",
    ),
    "many patterns": (
        events({"type": "device_state", "exclude": [f"x{n}" for n in range(33)]}),
        "must have at most 32 items",
    ),
    "bad federation": (
        {"federation": "voice.pbx"},
        "spec.federation: Invalid value: \"string\": use 1 to 128 letters, digits, '_' and '-'",
    ),
    "long federation": ({"federation": "v" * 129}, "spec.federation: Too long: may not be more than 128 bytes"),
    "bad site": ({"site": "Gebäude 1"}, "use 1 to 128 letters, digits, '_' and '-'"),
    "method": ({"method": "core"}, 'supported values: "jetstream"'),
    "no server": ({"nats": {"servers": []}}, "spec.nats.servers in body should have at least 1 items"),
    "doubled server": ({"nats": {"servers": SERVERS * 2}}, "spec.nats.servers[1]: Duplicate value"),
    "password in URL": (
        {"nats": {"servers": ["nats://user:secret@nats:4222"]}},
        "what proves who you are goes into nats.credentials",
    ),
    "no scheme": ({"nats": {"servers": ["nats:4222"]}}, "write nats://HOST:PORT or tls://HOST:PORT"),
    "credentials for the chart's NATS": (
        {"nats": {"credentials": {"token": PASSWORD}}},
        "name those in nats.servers, or remove the others to use the chart's NATS",
    ),
    "prefix for the chart's NATS": ({"nats": {"subjectPrefix": "mine"}}, "name those in nats.servers"),
    "no credentials": (credentials(), "use exactly one of user (with password), token, credentialsFile and nkeySeed"),
    "two credentials": (
        credentials(token=PASSWORD, nkeySeed=PASSWORD),
        "use exactly one of user (with password), token, credentialsFile and nkeySeed",
    ),
    "user alone": (credentials(user="agents"), "user and password belong together: give both, or neither"),
    "password alone": (credentials(password=PASSWORD), "user and password belong together: give both, or neither"),
    "key missing": (credentials(token={"name": "nats"}), "spec.nats.credentials.token.key: Required value"),
    "bad secret name": (
        credentials(token={"name": "NATS", "key": "token"}),
        "write the name of an object: a-z, 0-9, '-' and '.'",
    ),
    "replicas": ({"nats": {"stream": {"replicas": 2}}}, 'supported values: "1", "3", "5"'),
    "storage": ({"nats": {"stream": {"storage": "Tape"}}}, 'supported values: "File", "Memory"'),
    "small stream": (
        {"nats": {"stream": {"maxBytes": 100}}},
        "maxBytes in body should be greater than or equal to 1048576",
    ),
    "grace of nothing": ({"departure": {"gracePeriod": 0}}, "gracePeriod in body should be greater than or equal to 1"),
    "negative grace": ({"departure": {"gracePeriod": -5}}, "gracePeriod in body should be greater than or equal to 1"),
    "duration as text": ({"departure": {"gracePeriod": "30s"}}, "gracePeriod in body must be of type number"),
    "long grace": (
        {"departure": {"gracePeriod": 100_000}},
        "gracePeriod in body should be less than or equal to 86400",
    ),
    "tombstones too short": (
        {"departure": {"gracePeriod": 600, "tombstoneTTL": 60}},
        "tombstoneTTL must be at least gracePeriod",
    ),
    "mailboxes": ({"departure": {"mailboxes": "Forget"}}, 'supported values: "Keep", "Remove"'),
    "quantity": (agent(resources={"limits": {"memory": "256 MB"}}), "write an amount such as 100m, 128Mi or 1"),
    "no surge": (agent(updateStrategy={"maxSurge": 0}), "write a number from 1 or a share from 1% to 100%"),
    "half a surge": (agent(updateStrategy={"maxSurge": "half"}), "write a number from 1 or a share from 1% to 100%"),
    "surge on delete": (
        agent(updateStrategy={"type": "OnDelete", "maxSurge": 1}),
        "maxSurge is for type: RollingUpdate: remove it",
    ),
    "toleration": (
        agent(placement={"tolerations": [{"operator": "Exists", "key": "a", "value": "b"}]}),
        "with operator: Exists remove value",
    ),
    "toleration key": (agent(placement={"tolerations": [{"value": "b"}]}), "with Equal give a key"),
    "log level": (agent(logLevel="loud"), 'supported values: "debug", "info", "warning", "error"'),
    "image": (agent(image="two words"), "spec.agent.image in body should match '^\\S+$'"),
    "pull policy": (agent(imagePullPolicy="Sometimes"), 'supported values: "Always", "IfNotPresent", "Never"'),
    "doubled pull secret": (agent(imagePullSecrets=["a", "a"]), "imagePullSecrets[1]: Duplicate value"),
    "deletion policy": ({"deletionPolicy": "Keep"}, 'supported values: "Delete", "Retain"'),
    "paused": ({"paused": "later"}, "spec.paused in body must be of type boolean"),
    "unknown field": ({"selector": {"app": "asterisk"}}, 'unknown field "spec.selector"'),
    "unknown inner field": (agent(replicas=3), 'unknown field "spec.agent.replicas"'),
}


def refusal(api: Api, manifest: dict[str, Any]) -> str:
    path = "/apis/eventfed.io/v1alpha1/namespaces/default/eventfederations"
    with pytest.raises(Refused) as caught:
        api.ask("POST", path + STRICT, manifest)
    return caught.value.message


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_manifest_is_answered_with_what_to_change(api: Api, case: str) -> None:
    spec, message = WRONG[case]
    assert message in refusal(api, federation("default", **spec))


@pytest.mark.parametrize("name", ["1pbx", "pbx.east", "p" * 41])
def test_a_name_that_no_service_can_carry_is_refused(api: Api, name: str) -> None:
    assert "metadata.name: use 1 to 40 characters" in refusal(api, federation("default", name))


def test_a_password_in_a_url_is_not_repeated_in_the_answer(api: Api) -> None:
    spec, _ = WRONG["password in URL"]
    assert "secret" not in refusal(api, federation("default", **spec))


@pytest.mark.parametrize("case", ["unknown field", "mwi without storage", "bad site", "no members"])
def test_kubectl_prints_what_is_wrong(plane: ControlPlane, case: str) -> None:
    spec, message = WRONG[case]
    command = ("apply", "--dry-run=server", "--validate=strict", "--filename=-")
    told = plane.kubectl(*command, text=json.dumps(federation("default", **spec)), check=False)
    assert told.returncode == 1
    assert message in told.stderr


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "federation given later": ({}, {"federation": "voice_other"}, "federation cannot be changed: delete the EventFed"),
    "another federation": ({"federation": "a"}, {"federation": "b"}, "federation cannot be changed"),
    "federation taken away": ({"federation": "a"}, {"federation": None}, "federation cannot be changed"),
    "another site": ({}, {"site": "east"}, "site cannot be changed: delete the EventFederation, which withdraws"),
    "another prefix": (
        {"nats": {"servers": SERVERS, "subjectPrefix": "a"}},
        {"nats": {"servers": SERVERS, "subjectPrefix": "b"}},
        "nats.subjectPrefix cannot be changed",
    ),
    "another storage": ({}, {"nats": {"stream": {"storage": "Memory"}}}, "nats.stream.storage cannot be changed"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_a_federation_is_cannot_be_changed(api: Api, namespace: str, case: str) -> None:
    before, after, message = CHANGES[case]
    api.create(federation(namespace, **before))
    with pytest.raises(Refused) as caught:
        api.merge("EventFederation", namespace, "pbx", {"spec": after})
    assert message in caught.value.message
    api.merge("EventFederation", namespace, "pbx", {"spec": {"paused": True}})
