"""The examples for Argo CD and Flux: Argo CD's health of an EventFederation, and values that the chart takes."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import lupa
import pytest
import yaml

from eventfed_operator.crd.resource import GROUP, KIND

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
HEALTH = (EXAMPLES / "argocd" / "eventfederation-health.lua").read_text()
APPLICATION = yaml.safe_load((EXAMPLES / "argocd" / "application.yaml").read_text())
FLUX = {one["kind"]: one for one in yaml.safe_load_all((EXAMPLES / "flux" / "eventfed.yaml").read_text()) if one}
DEFAULTS = yaml.safe_load((ROOT / "charts" / "eventfed" / "values.yaml").read_text())
SCHEMA = json.loads((ROOT / "charts" / "eventfed" / "values.schema.json").read_text())


def health(resource: dict[str, Any]) -> tuple[str, str]:
    """What Argo CD makes of it: it gives the script the object as `obj`, without any library of the system's."""
    runtime = lupa.LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    runtime.globals().obj = runtime.table_from(resource, recursive=True)
    result = runtime.execute(HEALTH)
    return result["status"], result["message"]


def resource(*conditions: tuple[str, str, str], generation: int = 2, observed: int = 2) -> dict[str, Any]:
    told = [{"type": kind, "status": status, "reason": reason, "message": "why"} for kind, status, reason in conditions]
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": KIND,
        "metadata": {"name": "pbx", "generation": generation},
        "status": {"observedGeneration": observed, "conditions": told},
    }


WELL = ("Stalled", "False", "NotStalled")


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        ({"metadata": {"generation": 1}}, "Progressing", "The operator has not looked at it yet"),
        ({"metadata": {"generation": 1}, "status": {}}, "Progressing", "The operator has not looked at it yet"),
        (resource(("Ready", "True", "Synced"), WELL, observed=1), "Progressing", "has not looked at the change yet"),
        (resource(("Ready", "True", "Synced"), WELL), "Healthy", "Synced: why"),
        (resource(("Ready", "True", "Paused"), WELL), "Suspended", "Paused: why"),
        (resource(("Ready", "Unknown", "AgentsStarting"), WELL), "Progressing", "AgentsStarting: why"),
        (resource(("Ready", "False", "Syncing"), WELL), "Progressing", "Syncing: why"),
        (resource(("Ready", "False", "NotConfigured"), WELL), "Degraded", "NotConfigured: why"),
        (resource(("Ready", "False", "X"), ("Stalled", "True", "InvalidSpec")), "Degraded", "InvalidSpec: why"),
        (resource(WELL), "Progressing", "The operator has not looked at it yet"),
    ],
)
def test_argo_cd_knows_how_an_event_federation_is(given: dict[str, Any], status: str, message: str) -> None:
    told, why = health(given)
    assert told == status
    assert message in why


def test_the_document_names_the_key_under_which_argo_cd_takes_the_script() -> None:
    key = f"resource.customizations.health.{GROUP}_{KIND}"
    assert key in HEALTH
    assert key in (ROOT / "docs" / "kubernetes.md").read_text()


def test_the_examples_install_the_chart_with_values_that_it_takes() -> None:
    for values in (APPLICATION["spec"]["source"]["helm"]["valuesObject"], FLUX["HelmRelease"]["spec"]["values"]):
        # As Helm joins them with the defaults.
        given = {
            name: {**DEFAULTS[name], **value} if isinstance(value, dict) else value for name, value in values.items()
        }
        jsonschema.validate({**DEFAULTS, **given}, SCHEMA)
    assert APPLICATION["apiVersion"] == "argoproj.io/v1alpha1"
    assert APPLICATION["spec"]["source"]["helm"]["valuesObject"]["nats"]["existingSecret"]
    for path in (APPLICATION["spec"]["source"]["path"], FLUX["HelmRelease"]["spec"]["chart"]["spec"]["chart"]):
        assert (ROOT / path / "Chart.yaml").is_file()


def test_fluxs_objects_refer_to_each_other() -> None:
    names = {(kind, one["metadata"]["name"]) for kind, one in FLUX.items()}
    for one in (FLUX["HelmRelease"]["spec"]["chart"]["spec"], FLUX["Kustomization"]["spec"]):
        assert (one["sourceRef"]["kind"], one["sourceRef"]["name"]) in names
    assert list((ROOT / FLUX["Kustomization"]["spec"]["path"]).glob("*.yaml"))
    assert FLUX["Kustomization"]["spec"]["wait"] is True
