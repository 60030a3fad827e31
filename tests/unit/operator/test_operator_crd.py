"""The custom resource definition: what `kubectl apply` takes, and what it answers to what it does not take."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

from eventfed.spec import Spec
from eventfed_operator.crd.definition import custom_resource_definition, structural_schema, written
from eventfed_operator.crd.resource import EventFederationSpec, check_resource_name
from tests.ground.definition_server import (
    SCHEMA,
    defaulted,
    for_jsonschema,
    nodes,
    program,
    refusals,
    rule_failures,
    unknown_fields,
)

CHART = Path(__file__).parents[3] / "charts" / "eventfed" / "files" / "eventfederations.yaml"

# k8s.io/apiextensions-apiserver/pkg/apiserver/schema: what a structural schema may hold at all.
STRUCTURAL = {
    *("type", "format", "description", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "minProperties", "maxProperties", "required", "default", "properties", "items"),
    *("additionalProperties", "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
    *("x-kubernetes-map-type", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"),
}


def manifest(name: str = "pbx", **spec: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "members": {"selector": {"matchLabels": {"app": "asterisk"}}},
        "events": [{"type": "mwi", "voicemailStorage": "Separate"}, {"type": "device_state"}],
        **spec,
    }
    return {
        "apiVersion": "eventfed.io/v1alpha1",
        "kind": "EventFederation",
        "metadata": {"name": name, "namespace": "voice"},
        "spec": {key: value for key, value in whole.items() if value is not None},
    }


SERVERS = ["tls://nats.example.net:4222"]
PASSWORD = {"name": "nats", "key": "password"}

POD_TEMPLATE: dict[str, Any] = {
    "labels": {"example.net/cost-centre": "telephony"},
    "annotations": {"sidecar.example.net/inject": "false"},
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
    "securityContext": {"runAsNonRoot": True, "seLinuxOptions": {"level": "s0:c1,c2"}, "supplementalGroups": [5]},
    "env": [
        {"name": "TZ", "value": "Europe/Vienna"},
        {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
    ],
    "volumes": [{"name": "ca", "configMap": {"name": "authorities", "optional": True}}],
    "volumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/certs/own.pem", "subPath": "ca.crt", "readOnly": True}],
}


def template(**parts: Any) -> dict[str, Any]:
    return {"agent": {"podTemplate": parts}}


RIGHT: list[dict[str, Any]] = [
    {},
    {"events": [{"type": "mwi", "voicemailStorage": "Separate", "injection": "Beside"}]},
    {"events": [{"type": "mwi", "voicemailStorage": "Shared", "include": ["@default$"], "publish": False}]},
    {"members": {"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}, "transport": "TCP"}},
    {"federation": "voice_pbx", "site": "east", "paused": True, "deletionPolicy": "Retain"},
    {"nats": {"stream": {"replicas": 3, "storage": "Memory", "maxBytes": 1_048_576}}},
    {
        "nats": {
            "servers": SERVERS,
            "credentials": {"user": "agents", "password": PASSWORD},
            "operatorCredentials": {"nkeySeed": {"name": "nats", "key": "seed"}},
            "tls": {"authorities": {"name": "nats", "key": "ca.crt"}, "certificate": "nats-client"},
            "subjectPrefix": "telephony",
        }
    },
    {"departure": {"gracePeriod": 5.5, "mailboxes": "Remove"}},
    {
        "agent": {
            "resources": {"requests": {"cpu": 1, "memory": "64Mi"}},
            "placement": {"tolerations": [{"operator": "Exists"}], "nodeSelector": {"pool": "voice"}},
            "updateStrategy": {"maxSurge": "25%"},
        }
    },
    {"agent": {"updateStrategy": {"maxSurge": 2}, "logLevel": "debug", "image": "registry.example/eventfed:1"}},
    {"agent": {"podTemplate": POD_TEMPLATE}},
]


@pytest.mark.parametrize("spec", RIGHT, ids=lambda spec: "-".join(spec) or "least")
def test_what_is_right_is_taken(spec: dict[str, Any]) -> None:
    assert refusals(manifest(**spec)) == []
    EventFederationSpec.model_validate(defaulted(manifest(**spec), SCHEMA)["spec"])


def events(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"events": list(entries)}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"members": None}, "'members' is a required property"),
    ({"members": {}}, "'selector' is a required property"),
    ({"members": {"selector": {}}}, "members.selector would select every pod of the namespace: name a label"),
    ({"members": {"selector": {"matchLabels": {"-a": "two words"}}}}, "write the (name|value) of a label"),
    (
        {"members": {"selector": {"matchExpressions": [{"key": "app", "operator": "In"}]}}},
        "In and NotIn need values, Exists and DoesNotExist must have none",
    ),
    (
        {"members": {"selector": {"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["a"]}]}}},
        "In and NotIn need values, Exists and DoesNotExist must have none",
    ),
    ({"members": {"selector": {"matchLabels": {"a": "b"}}, "port": 70_000}}, "70000 is greater than the maximum"),
    ({"members": {"selector": {"matchLabels": {"a": "b"}}, "transport": "TLS"}}, r"'TLS' is not one of \['UDP'"),
    ({"events": None}, "'events' is a required property"),
    (events(), r"\[\] should be non-empty"),
    (events({"type": "presence"}), r"'presence' is not one of \['mwi', 'device_state'\]"),
    (events({"type": "mwi"}), r"mwi needs voicemailStorage: Separate .* or Shared \(one spool\)"),
    (events({"type": "mwi", "voicemailStorage": "Both"}), "'Both' is not one of"),
    (
        events({"type": "mwi", "voicemailStorage": "Shared", "injection": "Beside"}),
        "injection: Beside needs voicemailStorage: Separate; with Shared use InPlace",
    ),
    (events({"type": "device_state", "voicemailStorage": "Shared"}), "belong to mwi alone: remove them here"),
    (events({"type": "device_state", "injection": "InPlace"}), "belong to mwi alone: remove them here"),
    (events({"type": "device_state"}, {"type": "device_state"}), "a type is listed twice: merge the two entries"),
    (events({"type": "device_state", "include": ["x" * 257]}), "is too long"),
    (events({"type": "device_state", "exclude": ["x"] * 33}), "is too long"),
    ({"federation": "voice.pbx"}, "use 1 to 128 letters, digits"),
    ({"site": "Gebäude 1"}, "use 1 to 128 letters, digits"),
    ({"method": "core"}, "'core' is not one of|'jetstream' was expected"),
    ({"nats": {"servers": []}}, r"\[\] should be non-empty"),
    ({"nats": {"servers": ["nats://user:secret@nats:4222"]}}, "write nats://HOST:PORT or tls://HOST:PORT"),
    ({"nats": {"servers": SERVERS, "credentials": {"token": {"name": "NATS", "key": "a"}}}}, "name of an object"),
    ({"nats": {"servers": SERVERS, "credentials": {"token": {"name": "nats", "key": "a/b"}}}}, "a key of the Secret"),
    ({"nats": {"credentials": {"token": PASSWORD}}}, r"name those in nats\.servers, or remove the others"),
    ({"nats": {"tls": {"certificate": "mine"}}}, r"name those in nats\.servers, or remove the others"),
    ({"nats": {"subjectPrefix": "mine"}}, r"name those in nats\.servers, or remove the others"),
    ({"nats": {"servers": SERVERS, "credentials": {}}}, "use exactly one of user"),
    (
        {"nats": {"servers": SERVERS, "credentials": {"token": PASSWORD, "nkeySeed": PASSWORD}}},
        "use exactly one of user",
    ),
    ({"nats": {"servers": SERVERS, "credentials": {"user": "agents"}}}, "user and password belong together"),
    ({"nats": {"servers": SERVERS, "credentials": {"password": PASSWORD}}}, "user and password belong together"),
    ({"nats": {"stream": {"replicas": 2}}}, r"2 is not one of \[1, 3, 5\]"),
    ({"nats": {"stream": {"maxBytes": 100}}}, "100 is less than the minimum"),
    ({"departure": {"gracePeriod": 0}}, "0 is less than the minimum of 1"),
    ({"departure": {"gracePeriod": "30s"}}, "'30s' is not of type 'number'"),
    ({"departure": {"gracePeriod": 600, "tombstoneTTL": 60}}, "tombstoneTTL must be at least gracePeriod"),
    ({"agent": {"resources": {"limits": {"memory": "256 MB"}}}}, "write an amount such as 100m, 128Mi or 1"),
    ({"agent": {"updateStrategy": {"maxSurge": 0}}}, "write a number from 1 or a share from 1% to 100%"),
    ({"agent": {"updateStrategy": {"maxSurge": "half"}}}, "write a number from 1 or a share from 1% to 100%"),
    (
        {"agent": {"updateStrategy": {"type": "OnDelete", "maxSurge": 1}}},
        "maxSurge is for type: RollingUpdate: remove it",
    ),
    (
        {"agent": {"placement": {"tolerations": [{"operator": "Exists", "key": "a", "value": "b"}]}}},
        "with operator: Exists remove value; with Equal give a key",
    ),
    ({"agent": {"placement": {"tolerations": [{"value": "b"}]}}}, "with Equal give a key"),
    (template(labels={"app.kubernetes.io/name": "mine"}), "labels that begin with app.kubernetes.io/ or eventfed.io/"),
    (template(labels={"-a": "b"}), "write the name of a label"),
    (template(labels={"a": "two words"}), "write the value of a label"),
    (template(annotations={"eventfed.io/applied": "x"}), "annotations that begin with eventfed.io/ belong to"),
    (template(affinity={"node": {}}), 'unknown field "spec.agent.podTemplate.affinity.node"'),
    (template(securityContext={"runAsUser": -1}), "-1 is less than the minimum of 0"),
    (template(securityContext={"privileged": True}), 'unknown field ".*securityContext.privileged"'),
    (template(env=[{"name": "A", "value": "b", "valueFrom": {}}]), "write either value or valueFrom"),
    (template(env=[{"name": "EVENTFED_NODE", "value": "b"}]), "variables that begin with EVENTFED_ belong to"),
    (template(env=[{"name": "A-B"}]), "write the name of a variable"),
    (template(volumes=[{"name": "a", "hostPath": {"path": "/"}}]), r'unknown field ".*volumes.hostPath"'),
    (template(volumes=[{"name": "a"}]), "volumes: write one of configMap, secret"),
    (template(volumes=[{"name": "a", "secret": {}, "emptyDir": {}}]), "volumes: write one of configMap, secret"),
    (template(volumes=[{"name": "nats", "secret": {}}]), "names of the operator's volumes: choose another name"),
    (template(volumes=[{"name": "A", "secret": {}}]), "write the name of a volume"),
    (template(volumeMounts=[{"name": "a", "mountPath": "bb"}]), "write an absolute path without ':'"),
    (template(volumeMounts=[{"name": "a", "mountPath": "/etc/eventfed/x"}]), "choose another mountPath"),
    ({"agent": {"logLevel": "loud"}}, "'loud' is not one of"),
    ({"deletionPolicy": "Keep"}, r"'Keep' is not one of \['Delete', 'Retain'\]"),
    ({"paused": "later"}, "'later' is not of type 'boolean'"),
    ({"agent": {"replicas": 3}}, 'unknown field "spec.agent.replicas"'),
]


@pytest.mark.parametrize(("spec", "message"), WRONG, ids=lambda one: str(one)[:70])
def test_a_wrong_manifest_is_answered_with_what_to_change(spec: dict[str, Any], message: str) -> None:
    assert re.search(message, "; ".join(refusals(manifest(**spec))))


@pytest.mark.parametrize(("spec", "message"), WRONG, ids=lambda one: str(one)[:70])
def test_the_operator_refuses_what_the_api_server_refuses(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError):
        EventFederationSpec.model_validate(manifest(**spec)["spec"])


CHANGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"federation": "voice_other"}, "federation cannot be changed: delete the EventFederation"),
    ({"federation": "a"}, {"federation": "b"}, "federation cannot be changed"),
    ({"federation": "a"}, {}, "federation cannot be changed"),
    ({}, {"site": "east"}, "site cannot be changed"),
    (
        {"nats": {"servers": SERVERS, "subjectPrefix": "a"}},
        {"nats": {"servers": SERVERS, "subjectPrefix": "b"}},
        r"nats\.subjectPrefix cannot be changed",
    ),
    ({}, {"nats": {"stream": {"storage": "Memory"}}}, r"nats\.stream\.storage cannot be changed"),
]


@pytest.mark.parametrize(("before", "after", "message"), CHANGES)
def test_what_a_federation_is_cannot_be_changed(before: dict[str, Any], after: dict[str, Any], message: str) -> None:
    old = manifest(**before)
    assert refusals(old) == [] == refusals(old, old)
    assert re.search(message, "; ".join(refusals(manifest(**after), old)))


def test_anything_else_can_be_changed() -> None:
    for spec in RIGHT:
        if spec.keys() & {"federation", "site", "nats"}:
            continue
        assert refusals(manifest(**spec), manifest()) == []


@pytest.mark.parametrize("name", ["Pbx", "1pbx", "pbx.east", "pbx-", "p" * 41])
def test_a_name_that_no_service_can_carry_is_refused(name: str) -> None:
    assert any("metadata.name: use 1 to 40 characters" in answer for answer in refusals(manifest(name)))
    with pytest.raises(ValueError, match=r"metadata\.name: use 1 to 40 characters"):
        check_resource_name(name)


@pytest.mark.parametrize("name", ["p", "pbx", "pbx-2-east", "p" * 40])
def test_other_names_are_taken(name: str) -> None:
    assert refusals(manifest(name)) == []
    assert check_resource_name(name) == name


# --- the definition ----------------------------------------------------------------------------------------------


def test_the_chart_holds_what_the_models_say() -> None:
    assert CHART.read_text() == written(), "write it again with python -m eventfed_operator.crd.definition"
    assert yaml.safe_load(CHART.read_text()) == custom_resource_definition()


def test_it_is_a_definition_as_kubernetes_knows_it() -> None:
    kubernetes_validate.validate(custom_resource_definition(), "1.34", strict=True)


def test_helm_keeps_it() -> None:
    assert custom_resource_definition()["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "{{" not in CHART.read_text()


@pytest.mark.parametrize(("path", "schema"), list(nodes(SCHEMA)), ids=lambda one: one if isinstance(one, str) else "")
def test_the_schema_is_structural(path: str, schema: dict[str, Any]) -> None:
    assert schema.keys() <= STRUCTURAL
    assert ("type" in schema) != (schema.get("x-kubernetes-int-or-string") is True)
    assert not ("properties" in schema and "additionalProperties" in schema)
    if schema.get("type") == "array":
        assert "items" in schema
        assert "maxItems" in schema, "a list without an end makes CEL rules too dear for the API server"
    if schema.get("x-kubernetes-list-type") == "map":
        assert set(schema["x-kubernetes-list-map-keys"]) <= set(schema["items"]["required"])
    if "default" in schema:
        # The API server checks a default as it stands, without the defaults of its fields.
        assert list(jsonschema.Draft202012Validator(for_jsonschema(schema)).iter_errors(schema["default"])) == []
        assert list(unknown_fields(schema["default"], schema, "")) == []
        assert list(rule_failures(schema["default"], None, schema)) == []
        assert defaulted(schema["default"], schema) == schema["default"]


@pytest.mark.parametrize(
    ("path", "schema"),
    [one for one in nodes(SCHEMA) if not one[0].startswith(".metadata") and one[0] != "root"],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_kubectl_explain_says_something_of_each_field(path: str, schema: dict[str, Any]) -> None:
    if not path.endswith((".items", ".additionalProperties")):
        assert schema.get("description", "").endswith("."), path


RULES = [(path, rule) for path, schema in nodes(SCHEMA) for rule in schema.get("x-kubernetes-validations", ())]


@pytest.mark.parametrize(("path", "rule"), RULES, ids=lambda one: one if isinstance(one, str) else "")
def test_each_rule_can_be_read_and_says_what_to_do(path: str, rule: dict[str, str]) -> None:
    program(rule["rule"])
    assert "\n" not in rule["message"]
    assert len(rule["message"]) > 30


def test_each_rule_is_broken_by_some_manifest_above() -> None:
    answers = [*(refusals(manifest(**spec)) for spec, _ in WRONG), refusals(manifest("Pbx"))]
    answers += [refusals(manifest(**after), manifest(**before)) for before, after, _ in CHANGES]
    said = {answer for one in answers for answer in one}
    assert {rule["message"] for _, rule in RULES} <= said


def test_the_printer_columns_are_those_people_ask_for() -> None:
    version = custom_resource_definition()["spec"]["versions"][0]
    columns = [(column["name"], column.get("priority", 0)) for column in version["additionalPrinterColumns"]]
    assert [name for name, priority in columns if priority == 0] == ["Ready", "Members", "Agents", "Reason", "Age"]
    assert [name for name, priority in columns if priority == 1] == ["Federation", "Messages", "Message"]
    assert version["subresources"] == {"status": {}}
    names = custom_resource_definition()["spec"]["names"]
    assert (names["shortNames"], names["categories"]) == (["evfed"], ["all", "eventfed"])


def test_the_defaults_of_schema_and_models_are_the_same() -> None:
    filled = EventFederationSpec.model_validate(defaulted(manifest(), SCHEMA)["spec"])
    assert filled == EventFederationSpec.model_validate(manifest()["spec"])


class Either(Spec):
    one: int | bool


def test_what_no_structural_schema_can_say_is_noticed() -> None:
    with pytest.raises(ValueError, match=r"Either\.one: a structural schema has no alternatives"):
        structural_schema(Either)
