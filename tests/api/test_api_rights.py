"""Who may do what: the accounts of the chart and of an EventFederation, by the API server and by the document."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from eventfed_lab import ControlPlane
from tests.ground.cluster_api import Api, Refused, eventually, federation, pod
from tests.ground.federations import OWNED, owned, run_pod, settled
from tests.ground.installation import Installation, Operator

Rights: TypeAlias = dict[str, set[str]]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"
EVERYBODY = {
    "selfsubjectreviews.authentication.k8s.io",
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
}
"""What every authenticated user may ask about itself (system:basic-user)."""


def documented(account: str, place: str) -> Rights:
    """The rows of an account: resource (with the one name that it is for, if so) to verbs."""
    table = DOCUMENT.read_text().partition("<!-- rights:begin -->")[2].partition("<!-- rights:end -->")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
    return {
        resource.strip("`"): set(verbs.split(", "))
        for who, where, resource, verbs in rows
        if who == account and where == place and resource != "nothing"
    }


def granted(plane: ControlPlane, user: str, namespace: str) -> Rights:
    """What `kubectl auth can-i --list` says, without what everybody may."""
    told = plane.kubectl("auth", "can-i", "--list", "--as", user, "--namespace", namespace).stdout
    rights: Rights = {}
    for line in told.splitlines()[1:]:
        found = re.fullmatch(r"(\S*)\s+\[(.*?)\]\s+\[(.*?)\]\s+\[(.*?)\]\s*", line)
        assert found is not None, line
        resource, urls, names, verbs = found.groups()
        if resource in EVERYBODY or urls:
            continue
        key = f"{resource} {names}".strip()
        rights[key] = rights.get(key, set()) | set(verbs.split())
    return rights


def test_the_operator_may_do_in_every_namespace_what_the_document_says(
    plane: ControlPlane, installation: Installation, namespace: str
) -> None:
    for place in (namespace, "kube-system"):
        assert granted(plane, installation.user, place) == documented("operator", "namespaces that it serves")
    own = granted(plane, installation.user, installation.namespace)
    lease = {
        name.replace("<release>-operator", installation.account): verbs
        for name, verbs in documented("operator", "its own namespace").items()
    }
    assert own == documented("operator", "namespaces that it serves") | lease


def test_an_operator_for_some_namespaces_may_do_nothing_in_others(
    plane: ControlPlane, install: Callable[..., Installation], make_namespace: Callable[..., str]
) -> None:
    served, other = make_namespace(), make_namespace()
    release = install({"operator": {"namespaces": [served]}})
    assert granted(plane, release.user, served) == documented("operator", "namespaces that it serves")
    assert granted(plane, release.user, other) == {}
    own = granted(plane, release.user, release.namespace)
    assert {name.split()[0] for name in own} == {"leases.coordination.k8s.io"}
    listing = plane.kubectl("auth", "can-i", "list", "namespaces", "--as", release.user, check=False)
    assert listing.stdout.strip() == "no"


def test_people_with_the_clusters_roles_look_at_event_federations_or_change_them(
    plane: ControlPlane, api: Api, installation: Installation, make_namespace: Callable[..., str]
) -> None:
    namespace, other = make_namespace(), make_namespace()
    people: dict[str, Api] = {}
    for role in ("view", "edit", "admin"):
        subject = {"kind": "User", "name": f"with-{role}", "apiGroup": "rbac.authorization.k8s.io"}
        plane.kubectl(
            *("create", "rolebinding", role, "--clusterrole", role, "--user", subject["name"]),
            *("--namespace", namespace),
        )
        people[role] = Api(plane.url, plane.authorities, plane.token, impersonate=subject["name"])
    # The controller that adds roles up needs a moment.
    eventually(lambda: _may(plane, "with-view", "list", namespace) and _may(plane, "with-edit", "create", namespace))
    people["edit"].create(federation(namespace))
    assert [one["metadata"]["name"] for one in people["view"].list("EventFederation", namespace)] == ["pbx"]
    for act in (
        lambda: people["view"].create(federation(namespace, name="second")),
        lambda: people["view"].merge("EventFederation", namespace, "pbx", {"spec": {"paused": True}}),
        lambda: people["view"].list("EventFederation", other),
        lambda: people["edit"].create(federation(other)),
        lambda: people["edit"].merge("EventFederation", namespace, "pbx", {"status": {"federation": "x"}}, "status"),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.status == 403
    people["admin"].merge("EventFederation", namespace, "pbx", {"spec": {"paused": True}})
    for one in people.values():
        one.close()


def _may(plane: ControlPlane, user: str, verb: str, namespace: str) -> bool:
    command = ("auth", "can-i", verb, "eventfederations.eventfed.io", "--as", user, "--namespace", namespace)
    return plane.kubectl(*command, check=False).stdout.strip() == "yes"


def test_agents_nats_and_the_test_pod_may_do_nothing(
    plane: ControlPlane, api: Api, operator: Operator, installation: Installation, settled_namespace: str
) -> None:
    account = api.get("ServiceAccount", settled_namespace, "pbx-agent")
    template = api.get("DaemonSet", settled_namespace, "pbx-agent")["spec"]["template"]["spec"]
    assert template["serviceAccountName"] == account["metadata"]["name"]
    assert account["automountServiceAccountToken"] is template["automountServiceAccountToken"] is False
    agents = f"system:serviceaccount:{settled_namespace}:pbx-agent"
    assert granted(plane, agents, settled_namespace) == documented("agents", "nowhere") == {}
    for kind, account_name in (("StatefulSet", f"{installation.name}-nats"), ("Pod", "default")):
        (pod,) = [one for one in installation.objects if one["kind"] == kind]
        spec = pod["spec"]["template"]["spec"] if kind == "StatefulSet" else pod["spec"]
        assert spec.get("serviceAccountName", "default") == account_name
        assert spec["automountServiceAccountToken"] is False
        user = f"system:serviceaccount:{installation.namespace}:{account_name}"
        assert granted(plane, user, installation.namespace) == {}


def test_no_right_is_a_wildcard_and_secrets_cannot_be_listed(plane: ControlPlane, installation: Installation) -> None:
    rules = [rule for one in installation.objects if "Role" in one["kind"] for rule in one.get("rules", ())]
    assert rules
    assert "*" not in json.dumps(rules)
    for verb in ("list", "watch", "update", "delete", "deletecollection"):
        told = plane.kubectl("auth", "can-i", verb, "secrets", "-A", "--as", installation.user, check=False)
        assert told.stdout.strip() == "no", verb


def used(plane: ControlPlane, user: str) -> Rights:
    """What an account has asked for by the audit log, in the words of RBAC."""
    rights: Rights = {}
    for line in plane.audit_log.read_text().splitlines():
        entry = json.loads(line)
        if entry["user"]["username"] != user or "objectRef" not in entry:
            continue
        reference = entry["objectRef"]
        group = reference.get("apiGroup", "")
        resource = reference["resource"] + (f".{group}" if group else "")
        resource += f"/{reference['subresource']}" if "subresource" in reference else ""
        if resource.startswith("leases.") and entry["verb"] != "create":
            resource += f" {reference['name']}"
        verbs = rights.setdefault(resource, set())
        verbs.add(entry["verb"])
        # An object that server-side apply makes needs the right to create it as well.
        if entry["verb"] == "patch" and entry.get("responseStatus", {}).get("code") == 201:
            verbs.add("create")
    return rights


@pytest.fixture
def alone(operator: Operator) -> Iterator[None]:
    """Without the operator that the other tests share: it serves every namespace."""
    operator.terminate()
    yield
    operator.start()


@pytest.mark.usefixtures("alone")
def test_every_right_of_the_operator_is_used(
    plane: ControlPlane, api: Api, install: Callable[..., Installation], namespace: str
) -> None:
    """A life of an EventFederation with every kind of drift; what it does not need, the operator need not be given."""
    release = install({"operator": {"resync": 1, "withdrawal": 3, "namespaces": [namespace]}})
    lone = release.operator().start()
    eventually(lambda: lone.leads)
    run_pod(api, pod(namespace, "asterisk-0", port=5080), "10.1.0.1")  # without the port: worth an Event
    api.create(federation(namespace))
    settled(api, lone, namespace)
    address = api.get("Service", namespace, "pbx-agent")["spec"]["clusterIP"]
    for kind, name in OWNED:
        api.delete(kind, namespace, name)
    eventually(lambda: owned(api, namespace))
    made_again(api, namespace, address)
    settled(api, lone, namespace)
    api.delete("EventFederation", namespace, "pbx")
    eventually(lambda: api.find("EventFederation", namespace, "pbx") is None)
    time.sleep(3.5)  # the Lease is renewed
    lone.terminate()
    asked, rights = used(plane, release.user), granted(plane, release.user, namespace)
    rights |= granted(plane, release.user, release.namespace)
    # Nobody asks for this one; the API server looks at it where an owner's deletion may be blocked.
    assert rights.pop("eventfederations.eventfed.io/finalizers") == {"update"}
    assert asked == rights


def made_again(api: Api, namespace: str, address: str) -> None:
    """A Service in place of the agents' own, made by somebody else: it has to be deleted."""
    service = api.get("Service", namespace, "pbx-agent")
    metadata = {key: service["metadata"][key] for key in ("name", "namespace", "labels", "ownerReferences")}
    spec = {"selector": service["spec"]["selector"], "ports": [{"port": 5066, "protocol": "UDP"}]}
    for _ in range(50):
        api.delete("Service", namespace, "pbx-agent")
        try:
            api.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        except Refused:
            continue  # the operator was faster
        break
    else:
        pytest.fail("the operator was always faster")
    eventually(lambda: api.get("Service", namespace, "pbx-agent")["spec"]["clusterIP"] == address)


def test_without_the_right_on_finalizers_no_owner_could_be_named(
    plane: ControlPlane, api: Api, operator: Operator, installation: Installation, settled_namespace: str
) -> None:
    owner = api.get("ServiceAccount", settled_namespace, "pbx-agent")["metadata"]["ownerReferences"]
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "other", "namespace": settled_namespace, "ownerReferences": owner},
    }
    role = f"{installation.account}-{installation.namespace}"
    before = json.loads(plane.kubectl("get", "clusterrole", role, "-o", "json").stdout)
    without: dict[str, Any] = {
        **before,
        "rules": [one for one in before["rules"] if "eventfederations/finalizers" not in one["resources"]],
    }
    as_operator = Api(plane.url, plane.authorities, plane.token, impersonate=installation.user)
    path = f"/api/v1/namespaces/{settled_namespace}/serviceaccounts?dryRun=All"
    as_operator.ask("POST", path, account)
    try:
        plane.kubectl("replace", "-f", "-", text=json.dumps(without))

        def refused() -> str:
            try:
                as_operator.ask("POST", path, account)
            except Refused as error:
                return error.message
            return ""

        assert "cannot set blockOwnerDeletion" in eventually(refused)
    finally:
        del before["metadata"]["resourceVersion"]
        plane.kubectl("replace", "-f", "-", text=json.dumps(before))
        as_operator.close()
