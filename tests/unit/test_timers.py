"""Every timer that two sides count: who renews is in time for who forgets, over two full periods of a fake clock.

``docs/architecture.md``, "Timers", has the table; the test at the end holds its numbers.
"""

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from eventfed import FederationSettings
from eventfed.core.departures import Departures
from eventfed.core.reports import Reports
from eventfed.jetstream.pull import PullConsumer, consumer_configuration
from eventfed.wire.report import AgentReport
from eventfed_agent import reporting
from eventfed_agent.configuration import TimingSection
from eventfed_agent.members import identity
from eventfed_agent.pjsip.sip import (
    Address,
    ClientTimers,
    CompositorSettings,
    OutboundPublication,
    PublishResult,
    Request,
    Response,
    UserAgentSettings,
)
from eventfed_operator import _kubernetes_client, builders, election, watch
from eventfed_operator.agent_configuration import HANDOVER
from eventfed_operator.environment import ElectionSettings
from eventfed_operator.health import Health
from eventfed_operator.kubernetes_api import KubernetesApi
from tests.ground import federation_world
from tests.ground.federation_world import EIDS, World, device

DOCUMENT = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
EXAMPLES = Path(__file__).parents[2] / "examples/kubernetes"
PRODUCTION = FederationSettings()
TIMING = TimingSection()
HOUR = 3600.0


def answer(request: Request, status: int, etag: str, expires: int) -> Response:
    return Response.answer(request, status, [("SIP-ETag", etag), ("Expires", str(expires))])


# --- our publications in Asterisk ---


def granted(publication: OutboundPublication, sent: float, answered: float, etag: str) -> None:
    request = publication.start(b"body", sent)
    assert isinstance(publication.answered(answer(request, 200, etag, 3600), answered), PublishResult)


@pytest.mark.parametrize("under_way", [0.0, 0.5, 31.5])
@pytest.mark.parametrize("early", [0.0, 1.0])
def test_a_publication_of_ours_that_ends_while_a_request_is_under_way_is_no_intrusion(
    under_way: float, early: float
) -> None:
    # The server counts from when it took the request, we from when its answer came.
    publication = OutboundPublication("asterisk-mwi", Address("10.0.0.7", 5060))
    at = 0.0
    for period in range(2):
        granted(publication, at, at + under_way, str(period))
        ended = at + HOUR
        request = publication.start(b"body", ended - early)
        if request.sip_if_match is not None:
            step = publication.answered(answer(request, 412, "", 0), ended + 0.001)
            assert isinstance(step, Request)
            assert step.sip_if_match is None
            request = step
        result = publication.answered(answer(request, 200, f"again {period}", 3600), ended + 0.002)
        assert isinstance(result, PublishResult)
        assert not result.out_of_turn
        at = ended + 0.002


def test_an_etag_that_is_lost_before_its_time_is_still_an_intrusion() -> None:
    publication = OutboundPublication("asterisk-mwi", Address("10.0.0.7", 5060))
    granted(publication, 0.0, 0.0, "1")
    request = publication.start(b"body", 0.99 * HOUR)
    step = publication.answered(answer(request, 412, "", 0), 0.99 * HOUR)
    assert isinstance(step, Request)
    result = publication.answered(answer(step, 200, "2", 3600), 0.99 * HOUR)
    assert isinstance(result, PublishResult)
    assert result.out_of_turn


# --- leases, states, tombstones ---


def left_alone(world: World, seconds: float) -> list[str]:
    """The subjects of what was written meanwhile, without leases."""
    written: list[str] = []
    world.server.listeners.append(lambda subject, stored: written.append(subject))
    world.run(seconds)
    return [subject for subject in written if ".member." not in subject]


def test_leases_and_states_outlive_two_ttls_with_nothing_lost() -> None:
    world = World(2)
    owner, reader = world.nodes
    claim = owner.claim(EIDS[0])
    claim.complete()
    for number in range(20):
        owner.ownership.publish(device(EIDS[0], number, 2))
    world.run(5)
    shown, revision, leases = reader.shown(), reader.view.revision, reader.view.lease_revision
    assert len(shown) == 20
    ttl = federation_world.SETTINGS.state_ttl
    renewed = left_alone(world, 2 * ttl)
    assert reader.shown() == shown
    assert (reader.view.revision, reader.view.lease_revision, reader.view.lapsed) == (revision, leases, 0)
    assert claim.held
    # Each state three times in a TTL.
    assert 20 * 5 <= len(renewed) <= 20 * 7


def test_a_lease_outlives_one_renewal_that_is_lost_in_each_ttl() -> None:
    world = World(2)
    owner, reader = world.nodes
    claim = owner.claim(EIDS[0])
    claim.complete()
    world.run(2)
    leases = reader.view.lease_revision
    for _ in range(2 * int(PRODUCTION.lease_ttl / 15)):
        world.run(8)
        owner.in_socket.clear()
        owner.outbox.give_up_all()
        world.run(7)
    assert (claim.held, reader.view.lease_revision) == (True, leases)


def test_a_ttl_that_grows_ends_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(2)
    owner, reader = world.nodes
    owner.claim(EIDS[0]).complete()
    for number in range(20):
        owner.ownership.publish(device(EIDS[0], number, 2))
    world.run(5)
    revision = reader.view.revision
    owner.ownership.configure(FederationSettings(state_ttl=6 * HOUR))
    world.run(2 * federation_world.SETTINGS.state_ttl)
    assert (reader.view.revision, len(reader.shown())) == (revision, 20)


def test_a_tombstone_ends_on_the_stream_and_in_the_view_without_another(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = FederationSettings(state_ttl=600.0, tombstone_ttl=60.0)
    monkeypatch.setattr(federation_world, "SETTINGS", quick)
    world = World(2)
    owner, reader = world.nodes
    for node in world.nodes:
        node.view.keep_tombstones(60.0)
    claim = owner.claim(EIDS[0])
    claim.complete()
    owner.ownership.publish(device(EIDS[0], 1, 2))
    world.run(5)
    claim.release()
    world.run(quick.grace_period + 3 * Departures._LOOK_AGAIN + 5)
    assert reader.shown() == {}
    revision = reader.view.revision
    for node in world.nodes:
        node.view.forget_old_tombstones()
    assert left_alone(world, 2 * quick.tombstone_ttl) == []
    assert reader.view.revision == revision


@pytest.mark.parametrize(("ttl", "renewal"), [(30.0, 5.0), (3.0, 1.0)])
def test_a_lease_is_renewed_three_times_in_its_ttl(ttl: float, renewal: float) -> None:
    TimingSection(lease_ttl=ttl, lease_renewal=renewal)
    with pytest.raises(ValueError, match="renew three times in a TTL"):
        TimingSection(lease_ttl=ttl, lease_renewal=ttl / 2)


# --- the reader's consumer ---


def test_a_consumer_is_asked_again_before_nats_deletes_it_and_heard_before_it_counts_as_silent() -> None:
    settings = PRODUCTION
    threshold = consumer_configuration("r", ["a.>"], inactive=settings.pull_inactive)["inactive_threshold"] / 1e9
    consumer = PullConsumer(
        pending=0, batch=settings.pull_batch, expires=settings.pull_expires, heartbeat=settings.heartbeat
    )
    asked_at = [0.0]
    assert consumer.request() is not None
    for second in range(1, int(2 * threshold) + 2):
        # NATS ends a request when its time is over, and says so; in between it sends heartbeats.
        if second % int(settings.pull_expires) == 0:
            headers = {"Status": "408", "Nats-Pending-Messages": str(settings.pull_batch)}
            consumer.receive("inbox", headers)
            assert consumer.request() is not None
            assert second - asked_at[-1] <= threshold - settings.pull_expires
            asked_at.append(float(second))
        else:
            consumer.receive("inbox", {"Status": "100", "Nats-Last-Consumer": "0"})
        consumer.tick()
    assert len(asked_at) >= 4


# --- reports ---


def test_a_report_that_is_repeated_in_time_counts_over_two_lifetimes_and_one_may_be_lost() -> None:
    now = [0.0]
    reports = Reports(PRODUCTION.report_lifetime, clock=lambda: now[0])
    report = AgentReport("agent", "i", "node", "1", (), ())
    period = reporting._REPEAT + reporting._LOOK
    lost = 1
    for second in range(int(2 * PRODUCTION.report_lifetime) + 1):
        now[0] = float(second)
        if second % period == 0 and second // period != lost:
            reports.put(report)
        reports.forget_old()
        assert reports.current() == [report], second


def test_reports_that_could_not_be_heard_do_not_lapse() -> None:
    now = [0.0]
    reports = Reports(PRODUCTION.report_lifetime, clock=lambda: now[0])
    report = AgentReport("agent", "i", "node", "1", (), ())
    reports.put(report)
    for _ in range(2):
        now[0] += 2 * PRODUCTION.report_lifetime
        reports.start_again()
        reports.forget_old()
        assert reports.current() == [report]


# --- the operator's Lease ---


async def test_a_leader_whose_renewal_is_answered_late_stops_before_another_may_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The API server writes the Lease, the answer comes 2.9 s later, and then none comes any more.
    now = [1000.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(election, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(election, "asyncio", SimpleNamespace(sleep=sleep, timeout=asyncio.timeout))
    settings = ElectionSettings("eventfed", "voice", "first")
    one: Any = election.Election(cast(KubernetesApi, SimpleNamespace()), settings, Health())
    written: list[float] = []

    async def take() -> bool:
        if len(written) < 2 * int(settings.duration / settings.renewal):
            written.append(now[0])
            now[0] += 2.9
            return True
        now[0] += settings.renewal
        return False

    one._take = take
    with pytest.raises(election.LeadershipLost):
        await one.keep()
    assert now[0] - written[-1] < settings.duration - 1


# --- what the table says ---


def test_a_request_that_waits_is_answered_before_its_server_gives_it_up() -> None:
    longest = TimingSection.model_json_schema()["properties"]["mailboxAnswer"]["maximum"]
    assert longest == 25
    assert TIMING.mailbox_answer + 17 == ClientTimers().timeout == UserAgentSettings().transaction_lifetime == 32


def test_the_table_of_timers_says_what_the_code_does() -> None:
    kopf = watch.kopf_settings()
    margin = CompositorSettings().margin
    leader = ElectionSettings("a", "b", "c")
    limit = leader.duration * election._RENEW_SHARE
    said = {
        "Server's publication": [f"asked time + {margin:.0f} s"],
        "Agent's publication": ["3600 s"],
        "Lease of a member": [f"{PRODUCTION.lease_renewal:.0f} s", f"{PRODUCTION.lease_ttl:.0f} s"],
        "State on the stream": ["2 h", f"{PRODUCTION.state_ttl / HOUR:.0f} h"],
        "Reader's consumer": [f"{PRODUCTION.pull_expires:.0f} s", f"{PRODUCTION.pull_inactive:.0f} s"],
        "Idle heartbeat": [f"{PRODUCTION.heartbeat:.0f} s"],
        "Report": [f"{reporting._REPEAT:.0f} s", f"{PRODUCTION.report_lifetime:.0f} s"],
        "Liveness": [f"{TIMING.keep_alive:.0f} s", f"{TIMING.keep_alive_misses} misses"],
        "Repetition after a takeover": ["32 s", f"{identity._RETRANSMISSIONS:.0f} s"],
        "Mailbox answer": [f"{TIMING.mailbox_answer:.0f} s", "32 s"],
        "TCP connection": ["90 s", f"{UserAgentSettings().idle_timeout:.0f} s"],
        "Operator's Lease": [f"{leader.renewal:.0f} s", f"{limit:.0f} s", f"{leader.duration:.0f} s"],
        "Watch of the operator": [
            f"{kopf.watching.server_timeout:.0f} s",
            f"{kopf.watching.client_timeout:.0f} s",
            f"{_kubernetes_client._SILENCE:.0f} s",
        ],
        "Handover of an agent": [f"{HANDOVER:.0f} s", f"{TIMING.shutdown:.0f} s", f"{builders._GRACE} s"],
    }
    pods = (EXAMPLES / "30-asterisk.yaml").read_text()
    (believed,) = re.findall(r'"\$gone" -lt (\d+) ', pods)
    said["Snippet that goes"] = ["90 s", f"{believed} s"]
    for row, values in said.items():
        (line,) = [line for line in DOCUMENT.splitlines() if line.startswith(f"| {row} |")]
        for value in values:
            assert value in line, f"{row}: {value} is not in {line}"
