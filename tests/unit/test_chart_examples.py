"""The Kubernetes examples are what the API server would take, and the image has what they name."""

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from eventfed import EID
from eventfed_operator.builders import build_asterisk_secret
from eventfed_operator.crd.resource import EventFederationSpec
from eventfed_operator.resources import read_resource
from eventfed_operator.tokens import HeaderTokens

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "examples" / "kubernetes").glob("*.yaml"))
DOCUMENTS = [(path.name, document) for path in FILES for document in yaml.safe_load_all(path.read_text())]
PODS = [(name, one["spec"]["template"]["spec"]) for name, one in DOCUMENTS if "template" in one.get("spec", {})]


def of(kind: str) -> list[dict[str, Any]]:
    return [document for _, document in DOCUMENTS if document["kind"] == kind]


@pytest.mark.parametrize(("name", "document"), DOCUMENTS)
def test_every_object_fits_its_schema(name: str, document: dict[str, Any]) -> None:
    if document["kind"] == "EventFederation":
        EventFederationSpec.model_validate(document["spec"])
    else:
        kubernetes_validate.validate(document, "1.34", strict=True)


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_every_pod_is_fit_for_a_namespace_that_enforces_restricted(name: str, pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_the_init_container_writes_an_eid_that_stays_with_the_pods_name(tmp_path: Path) -> None:
    (identity,) = [one for _, pod in PODS for one in pod.get("initContainers", ()) if one["name"] == "identity"]
    script = identity["args"][0].replace("/run/asterisk-id", str(tmp_path))
    environment = {"SITE": "local", "NAMESPACE": "voice", "POD": "asterisk-0", "PATH": "/usr/bin:/bin"}
    subprocess.run(["sh", "-euc", script], env=environment, check=True, timeout=10)
    written = (tmp_path / "entityid.conf").read_text()
    expected = EID(b"\x02" + hashlib.sha256(b"local/voice/asterisk-0").digest()[:5])
    assert written == f"entityid = {expected}\nsystemname = asterisk-0\n"


def test_the_asterisk_pods_are_members_and_include_the_secrets_file() -> None:
    (federation,), (servers,), (configuration,) = of("EventFederation"), of("StatefulSet"), of("ConfigMap")[:1]
    resource = read_resource(
        {**federation, "metadata": {**federation["metadata"], "uid": "u", "creationTimestamp": "2026-03-01T11:00:00Z"}}
    )
    assert resource.spec.members.selector.selects(servers["spec"]["template"]["metadata"]["labels"])
    pod = servers["spec"]["template"]["spec"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == "eventfed"]
    assert volume["secret"]["secretName"] == resource.asterisk_name
    assert volume["secret"]["optional"]
    (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "eventfed"]
    (name,) = build_asterisk_secret(resource, "10.96.0.7", HeaderTokens("token-0123456789"))["data"]
    assert f'#tryinclude "{mount["mountPath"]}/{name}"' in configuration["data"]["pjsip.conf"]
    wanted = resource.spec.members.port, resource.spec.members.transport.value
    assert wanted in [(one["containerPort"], one["protocol"]) for one in pod["containers"][0]["ports"]]


def test_the_phones_script_compiles_and_is_given_what_it_wants() -> None:
    script = next(one for one in of("ConfigMap") if one["metadata"]["name"] == "phone")["data"]["phone.py"]
    compile(script, "phone.py", "exec")
    assert [one["spec"]["template"]["spec"]["containers"][0]["command"][2:] for one in of("Deployment")] == [
        ["asterisk-0.asterisk", "1001", "1002"],
        ["asterisk-1.asterisk", "1002", "1001"],
    ]


@pytest.mark.parametrize("document", ["README.md", "docs/kubernetes.md"])
def test_the_line_for_a_registry_of_ones_own_gives_all_objects_with_its_images(document: str) -> None:
    (line,) = re.findall(r"^(sed .*) \| kubectl apply -f -$", (ROOT / document).read_text(), re.MULTILINE)
    done = subprocess.run(["sh", "-euc", line], cwd=ROOT, capture_output=True, text=True, check=True)
    objects = list(yaml.safe_load_all(done.stdout))
    assert [(one["kind"], one["metadata"]["name"]) for one in objects] == [
        (one["kind"], one["metadata"]["name"]) for _, one in DOCUMENTS
    ]
    used = set(re.findall(r"image: (\S+)", done.stdout))
    assert used == {f"registry.example/{image}" for image in ("eventfed-lab:0.1.0", "eventfed-asterisk:22")}
    pushed = set(re.findall(r"^docker push (\S+)$", (ROOT / document).read_text(), re.MULTILINE))
    # The chart uses the first one: `image.registry` names where it is.
    assert pushed == used | {"registry.example/eventfed:0.1.0"}


def test_the_images_are_those_that_are_built() -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    used = {one["image"] for _, pod in PODS for one in (*pod["containers"], *pod.get("initContainers", ()))}
    assert used == {f"eventfed-lab:{version[1]}", "eventfed-asterisk:22"}
    chart = yaml.safe_load((ROOT / "charts" / "eventfed" / "Chart.yaml").read_text())
    assert chart["appVersion"] == version[1]


@pytest.mark.parametrize("script", sorted((ROOT / "tests" / "kind").rglob("*.sh")), ids=lambda path: path.name)
def test_the_scripts_are_well_formed(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True, timeout=10)
    # What has no interpreter of its own is sourced by others.
    assert bool(script.stat().st_mode & 0o100) == script.read_text().startswith("#!")
