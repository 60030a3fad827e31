"""What can be known of the chart without Helm; `helm template` and `helm lint` are for a machine that has it."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from chart_readme import chart_readme, entries
from eventfed_agent.process.metrics import METRICS as AGENT_METRICS
from eventfed_operator.crd.resource import PodSecuritySpec, PodTemplateSpec
from eventfed_operator.environment import read_environment
from eventfed_operator.operator_metrics import METRICS as OPERATOR_METRICS
from eventfed_operator.resources import Settings

CHART = Path(__file__).resolve().parents[2] / "charts" / "eventfed"
TEMPLATES = sorted(path for path in (CHART / "templates").rglob("*") if path.is_file())
ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)


def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return loaded


def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return loaded


def text(name: str) -> str:
    return (CHART / name).read_text()


def test_the_default_values_fit_their_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.validate(values(), schema())


def test_every_value_stands_in_the_schema_and_every_property_has_a_default() -> None:
    def names(node: dict[str, Any], path: str = "") -> set[str]:
        found: set[str] = set()
        for name, one in node.get("properties", {}).items():
            # What need not be there has no default: a security context has the fields that somebody wants.
            whole = "properties" in one and "propertyNames" not in one
            found |= names(one, f"{path}.{name}") if whole else {f"{path}.{name}"}
        return found

    def leaves(node: Any, known: set[str], path: str = "") -> set[str]:
        if path in known or not isinstance(node, dict):
            return {path}
        return {leaf for name, one in node.items() for leaf in leaves(one, known, f"{path}.{name}")}

    known = names(schema())
    assert leaves(values(), known) == known - {".global"}


def test_the_charts_document_is_made_from_the_comments_of_its_values_and_current() -> None:
    assert text("README.md") == chart_readme(), "write it again with python release/chart_readme.py"
    told = list(entries(text("values.yaml"), values()))
    assert all(one.text for one in told if one.default is not None), "a value without a comment"
    paths = {one.path for one in told}
    assert {"nats.storage.maxFile", "operator.resources.limits", "extraObjects", "openshift"} <= paths
    for one in told:
        node: Any = values()
        for name in one.path.split("."):
            node = node[name]
        assert one.default is None or json.loads(one.default) == node


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("operater", {}),
        ("operator.replicas", -1),
        ("operator.namespaces", "voice"),
        ("operator.allowFederations", ["a.b"]),
        ("nats.replicas", 2),
        ("nats.storage.size", "much"),
        ("nats.storage.maxFile", "1Gi"),
        ("image.pullPolicy", "Sometimes"),
        ("image.repository", ""),
        ("networkPolicies.metricsFrom", []),
        ("monitoring.podMonitor.interval", "30"),
        ("nats.passwords", {"operator": "x"}),
        ("image.digest", "sha256:abc"),
        ("commonLabels", {"app.kubernetes.io/name": "mine"}),
        ("operator.podLabels", {"eventfed.io/federation": "mine"}),
        ("agents.annotations", {"eventfed.io/configuration": "mine"}),
        ("operator.extraEnv", [{"name": "EVENTFED_IMAGE", "value": "mine"}]),
        ("nats.extraEnv", [{"name": "POD_NAME", "value": "mine"}]),
        ("agents.env", [{"name": "EVENTFED_NODE", "value": "mine"}]),
        ("podSecurityContext.runAsUser", "root"),
        ("podSecurityContext.runAsUsr", 5),
        ("containerSecurityContext.privileged", True),
        ("nats.affinity", {"nodes": {}}),
        ("fullnameOverride", "Mine"),
    ],
)
def test_wrong_values_are_refused(path: str, value: Any) -> None:
    given = copy.deepcopy(values())
    node = given
    *parents, last = path.split(".")
    for name in parents:
        node = node[name]
    node[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(given, schema())


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_templates_blocks_are_closed_and_name_what_exists(template: Path) -> None:
    written = template.read_text()
    assert written.count("{{") == len(ACTION.findall(written))
    defined = set(re.findall(r'define "([^"]+)"', "".join(path.read_text() for path in TEMPLATES)))
    depth = 0
    for action in ACTION.findall(written):
        word = action.split(" ", 1)[0]
        depth += {"if": 1, "range": 1, "with": 1, "define": 1, "end": -1}.get(word, 0)
        # A define and an if may share a line with other actions, but never end before they began.
        assert depth >= 0, action
        assert action.count("(") == action.count(")"), action
        assert set(re.findall(r'include "([^"]+)"', action)) <= defined, action
        for name in re.findall(r'Files\.Get "([^"]+)"', action):
            assert (CHART / name).is_file(), name
        for path in re.findall(r"(?:^|[ (])\$?\.Values\.([A-Za-z.]+)", action):
            node: Any = values()
            for name in path.split("."):
                assert name in node, f".Values.{path}"
                node = node[name]
    assert depth == 0


def test_the_rules_and_the_dashboard_name_metrics_that_exist() -> None:
    known = {
        name
        for metric in (*AGENT_METRICS, *OPERATOR_METRICS)
        for name in (metric, f"{metric}_bucket", f"{metric}_sum", f"{metric}_count")
    }
    groups = yaml.safe_load(text("files/alerts.yaml"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    dashboard = json.loads(text("files/dashboard.json"))
    expressions = [rule["expr"] for rule in rules]
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {name for one in expressions for name in re.findall(r"\beventfed_(?!io_)[a-z_]+", one)}
    assert len(used) > 20
    assert used <= known
    assert all(rule["annotations"].keys() >= {"summary", "action"} for rule in rules)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_dashboard_lets_people_choose_a_namespace_an_event_federation_and_a_server() -> None:
    dashboard = json.loads(text("files/dashboard.json"))
    variables = {one["name"]: one.get("query", {}) for one in dashboard["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "federation", "member"]
    # The PodMonitor makes the label of it.
    assert "podTargetLabels: [eventfed.io/federation]" in text("templates/monitoring.yaml")
    assert "eventfed_io_federation" in variables["federation"]["query"]
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            for name, selector in re.findall(r"\b(eventfed_(?!io_)[a-z_]+)(\{[^}]*\})?", target["expr"]):
                if name.startswith("eventfed_operator_"):
                    assert not selector
                    continue
                assert "$namespace" in selector
                assert "$federation" in selector
                assert ("$member" in selector) == name.startswith("eventfed_member_")


def test_the_schema_and_the_custom_resource_have_the_same_security_context_for_pods() -> None:
    assert set(schema()["properties"]["podSecurityContext"]["propertyNames"]["enum"]) == {
        field.alias for field in PodSecuritySpec.model_fields.values()
    }


def test_the_charts_agents_have_the_fields_of_a_pod_template_and_its_default_security_is_the_operators() -> None:
    default = values()
    assert default["agents"].keys() | {"securityContext"} == {
        field.alias for field in PodTemplateSpec.model_fields.values()
    }
    assert PodSecuritySpec.model_validate(default["podSecurityContext"]) == (
        Settings(image="").agent_template.security_context
    )


def rules() -> list[dict[str, Any]]:
    found = re.search(r'define "eventfed.rules" -}}\n(.*?)\{\{- end', text("templates/operator-rbac.yaml"), re.DOTALL)
    assert found is not None
    loaded: list[dict[str, Any]] = yaml.safe_load(found[1])
    return loaded


def test_no_right_is_a_wildcard_and_secrets_cannot_be_listed() -> None:
    granted = {(resource, verb) for one in rules() for resource in one["resources"] for verb in one["verbs"]}
    assert not [one for one in granted if "*" in one]
    assert "*" not in [group for one in rules() for group in one["apiGroups"]]
    assert {verb for resource, verb in granted if resource == "secrets"} == {"get", "create", "patch"}
    assert {resource for resource, verb in granted if verb == "delete"} == {"services"}


def test_the_operators_variables_are_those_that_it_reads() -> None:
    names = set(re.findall(r"name: (EVENTFED_[A-Z_]+)", text("templates/operator.yaml")))
    read = set(re.findall(r'"(EVENTFED_[A-Z_]+)"', Path(read_environment.__code__.co_filename).read_text()))
    assert names == read


@pytest.mark.parametrize("template", ["operator.yaml", "nats.yaml", "tests/reachable.yaml"])
def test_every_pod_is_fit_for_a_namespace_that_enforces_restricted(template: str) -> None:
    written = text(f"templates/{template}")
    pods = written.count("containers:")
    assert (
        pods == written.count('include "eventfed.podSecurity"') == written.count('include "eventfed.containerSecurity"')
    )
    default = values()
    assert default["podSecurityContext"]["runAsNonRoot"]
    assert default["podSecurityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert default["containerSecurityContext"] == Settings(image="").container_security
    assert "hostPath" not in written
    assert "hostNetwork" not in written


def test_the_document_lists_the_operators_rights_as_they_are() -> None:
    document = (CHART.parents[1] / "docs" / "security.md").read_text()
    table = document.partition("<!-- rights:begin -->")[2].partition("<!-- rights:end -->")[0]
    told = dict(re.findall(r"^\| operator \| namespaces that it serves \| `(\S+)` \| (.+) \|$", table, re.MULTILINE))

    def name(group: str, resource: str) -> str:
        plural, slash, subresource = resource.partition("/")
        return f"{plural}{'.' if group else ''}{group}{slash}{subresource}"

    granted = {
        name(group, resource): ", ".join(one["verbs"])
        for one in rules()
        for group in one["apiGroups"]
        for resource in one["resources"]
    }
    assert told == granted
