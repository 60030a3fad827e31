"""Hypothesis profiles: EVENTFED_EXAMPLES sets how many examples each property gets (default 2,000, `quick` 200, `full`
100,000)."""

from __future__ import annotations

import copy
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from eventfed.wire.report import MemberState
from eventfed_operator.actions import (
    Action,
    AddFinalizer,
    Apply,
    Delete,
    DeleteStream,
    EmitEvent,
    EnsureStream,
    PublishRoster,
    RemoveFinalizer,
    WriteStatus,
)
from eventfed_operator.conditions import KubernetesEvent
from eventfed_operator.crd.status import Condition, ConditionType, EventFederationStatus
from eventfed_operator.reconcile import reconcile
from eventfed_operator.resources import FINALIZER, ChartNats, Resource, Settings, read_resource
from eventfed_operator.snapshot import AgentPod, BusSnapshot, MemberReport, ObjectKey, Pod, Rival, Snapshot, Stream
from tests.ground.sip_peer import Peer

for _name, _examples in (("quick", 200), ("default", 2_000), ("full", 100_000)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )

settings.register_profile(
    "chosen", settings.get_profile("default"), max_examples=int(os.environ.get("EVENTFED_EXAMPLES", "2000"))
)
settings.load_profile("chosen")


class OperatorWorld:
    """A cluster and a NATS in memory: carries out what `reconcile` asks for, and shows it what came of that."""

    def __init__(self, **spec: Any) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.settings = Settings("registry.example/eventfed:1", ChartNats(("nats://nats:4222",), "agent", "s3cret"))
        self.manifest: dict[str, Any] = {
            "metadata": {
                "name": "pbx",
                "namespace": "voice",
                "uid": "uid-pbx",
                "generation": 1,
                "creationTimestamp": "2026-03-01T11:00:00Z",
            },
            "spec": {
                "members": {"selector": {"matchLabels": {"app": "asterisk"}}},
                "events": [{"type": "mwi", "voicemailStorage": "Separate"}, {"type": "device_state"}],
                **spec,
            },
        }
        self.objects: dict[ObjectKey, dict[str, Any]] = {}
        self.secrets: dict[str, Any] = {}
        self.pods: list[Pod] = []
        self.agents: list[AgentPod] = []
        self.rivals: list[Rival] = []
        self.bus = BusSnapshot(connected=True)
        self.notices: list[KubernetesEvent] = []
        self.tokens = 0
        self.address_refused = ""

    @property
    def resource(self) -> Resource:
        return read_resource(self.manifest)

    @property
    def observed(self) -> Snapshot:
        self.tokens += 1
        return Snapshot(
            now=self.now,
            fresh_token=f"token-number-{self.tokens}",
            objects=copy.deepcopy(self.objects),
            secrets=self.secrets,
            pods=tuple(self.pods),
            agents=tuple(self.agents),
            rivals=tuple(self.rivals),
            bus=self.bus,
            address_refused=self.address_refused,
        )

    @property
    def status(self) -> EventFederationStatus:
        return self.resource.status

    def condition(self, kind: str) -> Condition:
        found = self.status.condition(ConditionType(kind))
        assert found is not None
        return found

    def change(self, **spec: Any) -> None:
        """`kubectl apply` with other fields."""
        self.manifest["spec"] = {**self.manifest["spec"], **spec}
        self.manifest["metadata"]["generation"] += 1

    def actions(self) -> tuple[Action, ...]:
        return reconcile(self.resource, self.settings, self.observed)

    def step(self) -> tuple[Action, ...]:
        """Reconcile once and carry out what is asked for."""
        actions = self.actions()
        for action in actions:
            self._carry_out(action)
        return actions

    def settle(self, rounds: int = 8) -> None:
        """Reconcile until nothing is left to do; fails if that never comes."""
        for _ in range(rounds):
            if not self.step():
                return
        raise AssertionError(f"there is still to do: {self.actions()}")

    def run(self, nodes: int = 2, members: int = 2, state: MemberState = MemberState.SYNCED) -> None:
        """Pods on nodes, an agent on each, and all members in a state."""
        self.agents = [AgentPod(f"pbx-agent-{i}", f"node-{i}", ready=True) for i in range(nodes)]
        self.pods = [self.pod(i, node=f"node-{i % nodes}") for i in range(members)]
        self.report(*((pod.uid, state) for pod in self.pods))
        self.settle()
        self.schedule(nodes)
        self.settle()

    def schedule(self, desired: int, ready: int | None = None) -> None:
        """What the DaemonSet controller writes."""
        daemon_set = self.objects[ObjectKey("DaemonSet", "pbx-agent")]
        daemon_set["status"] = {
            "observedGeneration": daemon_set["metadata"]["generation"],
            "desiredNumberScheduled": desired,
            "numberReady": desired if ready is None else ready,
            "updatedNumberScheduled": desired,
        }

    def report(self, *states: tuple[str, MemberState], **more: Any) -> None:
        """What the agents tell of members, by UID."""
        reports = {uid: MemberReport(uid, state, **more) for uid, state in states}
        self.bus = replace(self.bus, reports={**self.bus.reports, **reports})

    @staticmethod
    def pod(number: int, **more: Any) -> Pod:
        given = {"node": "node-0", "address": f"10.1.0.{number + 1}", "labels": {"app": "asterisk"}, "ready": True}
        return Pod(name=f"asterisk-{number}", uid=f"uid-{number}", **{**given, **more})

    def _carry_out(self, action: Action) -> None:
        metadata = self.manifest["metadata"]
        match action:
            case AddFinalizer():
                metadata["finalizers"] = [FINALIZER]
            case RemoveFinalizer():
                metadata["finalizers"] = []
            case Apply():
                self._apply(action)
            case Delete():
                assert self.objects.pop(action.key)["metadata"]["uid"] == action.uid
            case EnsureStream():
                stream = Stream(action.configuration["metadata"]["eventfed.io/owner"], action.configuration)
                self.bus = replace(self.bus, stream=stream)
            case DeleteStream():
                self.bus = replace(self.bus, stream=None)
            case PublishRoster():
                rosters = {node: one for node, one in self.bus.rosters.items() if node != action.node}
                self.bus = replace(
                    self.bus, rosters={**rosters, **({action.node: action.roster} if action.roster else {})}
                )
            case WriteStatus():
                self.manifest["status"] = action.status.model_dump(mode="json", by_alias=True, exclude_none=True)
            case EmitEvent():
                self.notices.append(action.notice)

    def _apply(self, action: Apply) -> None:
        """The API server adds what it adds; what was asked for before and is no longer goes."""
        manifest = copy.deepcopy(dict(action.manifest))
        before = self.objects.get(action.key)
        generation = before["metadata"]["generation"] + 1 if before else 1
        manifest["metadata"] |= {"uid": f"uid-{action.key.kind}-{self.tokens}", "generation": generation}
        if action.key.kind == "Service":
            manifest["spec"].setdefault("clusterIP", f"10.96.0.{self.tokens}")
            manifest["spec"]["sessionAffinity"] = "None"
        if before and "status" in before:
            manifest["status"] = before["status"]
        self.objects[action.key] = manifest


@pytest.fixture(scope="session")
def operator_world() -> type[OperatorWorld]:
    """Makes a cluster with one EventFederation; its arguments are fields of the spec."""
    return OperatorWorld


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    yield made
    made.socket.close()
