"""What the operator makes of an EventFederation, that it then writes nothing, and what a change of the spec changes."""

import base64
import time
from collections.abc import Callable
from typing import Any

import pytest

from eventfed_operator.resources import FINALIZER
from tests.ground.cluster_api import Api, eventually, federation
from tests.ground.federations import owned, rounds, says, settled, stream
from tests.ground.fixture_types import Measure
from tests.ground.installation import Installation, Operator

TEMPLATE_CHANGES: dict[str, dict[str, Any]] = {
    "image": {"agent": {"image": "eventfed:other"}},
    "log level": {"agent": {"logLevel": "debug"}},
    "resources": {"agent": {"resources": {"limits": {"memory": "1Gi"}}}},
    "placement": {"agent": {"placement": {"nodeSelector": {"pool": "voice"}}}},
}
LIVE_CHANGES: dict[str, dict[str, Any]] = {
    "selector": {"members": {"selector": {"matchLabels": {"app": "pbx"}}}},
    "port": {"members": {"port": 5070}},
    "filters": {"events": [{"type": "device_state", "include": ["^PJSIP/1"]}]},
    "event types": {"events": [{"type": "mwi", "voicemailStorage": "Shared"}]},
    "departure": {"departure": {"gracePeriod": 7}},
    "stream": {"nats": {"stream": {"maxBytes": 5_000_000}}},
}


def test_an_event_federation_becomes_agents_their_service_both_secrets_and_the_stream(
    api: Api, operator: Operator, installation: Installation, namespace: str, measure: Measure
) -> None:
    begin = time.monotonic()
    made = api.create(federation(namespace))
    objects = eventually(lambda: owned(api, namespace))
    measure("EventFederation applied, all objects made", time.monotonic() - begin)
    for one in objects.values():
        (owner,) = one["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (made["metadata"]["uid"], True, True)
    assert objects["ServiceAccount", "pbx-agent"]["automountServiceAccountToken"] is False
    service = objects["Service", "pbx-agent"]
    assert service["spec"]["internalTrafficPolicy"] == "Local"
    snippet = base64.b64decode(objects["Secret", "pbx-asterisk"]["data"]["pjsip_eventfed.conf"]).decode()
    assert f"{service['spec']['clusterIP']}:5066" in snippet
    assert FINALIZER in api.get("EventFederation", namespace, "pbx")["metadata"]["finalizers"]
    told = stream(installation, namespace)
    assert told is not None
    assert told.metadata is not None
    assert told.metadata["eventfed.io/owner"] == f"{namespace}/pbx"


def test_a_federation_that_is_as_it_should_be_is_written_no_more(api: Api, operator: Operator, namespace: str) -> None:
    api.create(federation(namespace))
    settled(api, operator, namespace)

    def versions() -> dict[Any, str]:
        found = {key: one["metadata"]["resourceVersion"] for key, one in owned(api, namespace).items()}
        return found | {"self": api.get("EventFederation", namespace, "pbx")["metadata"]["resourceVersion"]}

    before, actions = versions(), operator.actions()
    rounds(operator, 3)
    assert versions() == before
    assert operator.actions() == actions


def test_another_process_of_the_operator_changes_nothing_that_is_right(
    api: Api, operator: Operator, installation: Installation, namespace: str
) -> None:
    """What an upgrade of the operator would do to all agents of a cluster, were it not so."""
    api.create(federation(namespace))
    settled(api, operator, namespace)
    before = {key: one["metadata"]["resourceVersion"] for key, one in owned(api, namespace).items()}
    operator.terminate()
    operator.start()
    eventually(lambda: operator.leads)
    rounds(operator, 2)
    assert {key: one["metadata"]["resourceVersion"] for key, one in owned(api, namespace).items()} == before
    assert set(operator.actions()) <= {"WriteStatus", "EmitEvent"}


@pytest.mark.parametrize("change", LIVE_CHANGES)
def test_what_running_agents_take_over_does_not_roll_them(
    api: Api, operator: Operator, settled_namespace: str, change: str
) -> None:
    namespace = settled_namespace
    before = api.get("DaemonSet", namespace, "pbx-agent")
    secret = api.get("Secret", namespace, "pbx-agent")["data"]["agent.toml"]
    api.merge("EventFederation", namespace, "pbx", {"spec": LIVE_CHANGES[change]})
    settled(api, operator, namespace)
    after = api.get("DaemonSet", namespace, "pbx-agent")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    told = api.get("Secret", namespace, "pbx-agent")["data"]["agent.toml"] != secret
    assert told == (change in ("filters", "event types", "departure"))


@pytest.mark.parametrize("change", TEMPLATE_CHANGES)
def test_what_needs_another_process_rolls_the_agents(api: Api, operator: Operator, namespace: str, change: str) -> None:
    api.create(federation(namespace))
    settled(api, operator, namespace)
    before = api.get("DaemonSet", namespace, "pbx-agent")
    api.merge("EventFederation", namespace, "pbx", {"spec": TEMPLATE_CHANGES[change]})
    eventually(lambda: api.get("DaemonSet", namespace, "pbx-agent")["spec"]["template"] != before["spec"]["template"])
    after = api.get("DaemonSet", namespace, "pbx-agent")["spec"]
    assert after["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_a_paused_federation_is_left_alone_until_it_goes_on(api: Api, operator: Operator, namespace: str) -> None:
    api.create(federation(namespace))
    settled(api, operator, namespace)
    before = api.get("DaemonSet", namespace, "pbx-agent")
    api.merge("EventFederation", namespace, "pbx", {"spec": {"paused": True, "agent": {"logLevel": "debug"}}})
    api.delete("NetworkPolicy", namespace, "pbx-agent")
    eventually(lambda: api.get("EventFederation", namespace, "pbx")["status"]["observedGeneration"] == 2)
    rounds(operator, 2)
    assert api.get("DaemonSet", namespace, "pbx-agent")["spec"] == before["spec"]
    assert api.find("NetworkPolicy", namespace, "pbx-agent") is None
    api.merge("EventFederation", namespace, "pbx", {"spec": {"paused": False}})
    eventually(lambda: api.find("NetworkPolicy", namespace, "pbx-agent"))
    eventually(lambda: api.get("DaemonSet", namespace, "pbx-agent")["spec"] != before["spec"])


def test_a_rotation_keeps_the_old_secret_beside_the_new_one(api: Api, operator: Operator, namespace: str) -> None:
    api.create(federation(namespace))
    settled(api, operator, namespace)
    old = api.get("Secret", namespace, "pbx-agent")["data"]["token"]
    api.merge("EventFederation", namespace, "pbx", {"metadata": {"annotations": {"eventfed.io/rotate-token": "1"}}})
    eventually(lambda: api.get("Secret", namespace, "pbx-agent")["data"].get("previous-token") == old)
    settled(api, operator, namespace)
    token = api.get("Secret", namespace, "pbx-agent")["data"]["token"]
    assert token != old
    snippet = base64.b64decode(api.get("Secret", namespace, "pbx-asterisk")["data"]["pjsip_eventfed.conf"])
    assert base64.b64decode(token) in snippet
    assert base64.b64decode(old) in snippet


def test_two_federations_of_one_name_in_two_namespaces_share_nothing(
    api: Api, operator: Operator, installation: Installation, make_namespace: Callable[..., str]
) -> None:
    first, second = make_namespace(), make_namespace()
    for one in (first, second):
        api.create(federation(one))
        settled(api, operator, one)
        says(api, one, "BusReachable", "True", "Connected")
    tokens = {api.get("Secret", one, "pbx-agent")["data"]["token"] for one in (first, second)}
    addresses = {api.get("Service", one, "pbx-agent")["spec"]["clusterIP"] for one in (first, second)}
    assert len(tokens) == len(addresses) == 2
    streams = [stream(installation, one) for one in (first, second)]
    assert {one.name for one in streams if one} == {f"EVENTFED_{one}_pbx_local" for one in (first, second)}
    assert {tuple(one.subjects) for one in streams if one and one.subjects} == {
        tuple(_subjects(first)),
        tuple(_subjects(second)),
    }
    api.delete("EventFederation", first, "pbx")
    eventually(lambda: stream(installation, first) is None)
    rounds(operator, 1)
    assert stream(installation, second) is not None
    assert owned(api, second)


def _subjects(namespace: str) -> list[str]:
    return [f"eventfed.{namespace}_pbx.local.{kind}" for kind in ("state.>", "member.>", "roster.>")]
