"""The doctor's look at NATS: reachable, JetStream, the stream, the clock."""

import json
import time
from datetime import datetime
from typing import Any

import nats.errors

from eventfed import FederationSettings, Subjects, stream_configuration
from eventfed.jetstream.connection import Client, ConnectionLost, open_connection
from eventfed.jetstream.stream import MATTERS, stream_faults
from eventfed_agent.configuration import AgentConfiguration, ConfigurationError
from eventfed_agent.nats_access import credentials, federation_settings

from ._bus import AGENT_NAME
from ._findings import Finding, not_checked, ok, problem

__all__ = ["check_nats", "clock_finding", "stream_finding"]

_OLDEST = (2, 11)
_SKEW = 1.0
"""Seconds: epochs are times, and latencies compare two hosts' clocks."""
_STREAM_NOT_FOUND = 10059


async def check_nats(configuration: AgentConfiguration, timeout: float) -> list[Finding]:  # noqa: ASYNC109
    """Reachable and letting us in, new enough, JetStream with our stream, its clock ours."""
    subject, servers = "nats", ", ".join(configuration.nats.servers)
    refused: list[str] = []
    try:
        async with open_connection(
            configuration.nats.servers,
            name=AGENT_NAME,
            settings=FederationSettings(connect_timeout=timeout),
            credentials=credentials(configuration.nats),
            on_problem=refused.append,
        ) as (client, _):
            server = client.connected_server_version
            version = f"nats-server {server.major}.{server.minor}.{server.patch}"
            found = [ok(subject, "connection", f"connected to {servers}, {version}")]
            if (server.major, server.minor) < _OLDEST:
                found.append(problem(subject, "version", f"{version} knows no message TTLs", "run 2.11 or later"))
            return found + await _check_stream(client, configuration, timeout, refused)
    except (ConnectionLost, ConfigurationError) as error:
        return [problem(subject, "connection", str(error), f"check [nats] of the file: {servers}")]


async def _check_stream(
    client: Client,
    configuration: AgentConfiguration,
    timeout: float,  # noqa: ASYNC109
    refused: list[str],
) -> list[Finding]:
    federation, nats_section = configuration.federation, configuration.nats
    subjects = Subjects(federation.name, federation.site, prefix=nats_section.subject_prefix)
    asked = time.time()
    try:
        reply = await client.request(f"$JS.API.STREAM.INFO.{subjects.stream}", b"", timeout=timeout)
        answered, answer = time.time(), json.loads(reply.data)
    except nats.errors.NoRespondersError:
        return [problem("nats", "JetStream", "NATS runs without JetStream", "put jetstream {} into nats-server.conf")]
    except (nats.errors.Error, TimeoutError, ValueError) as error:
        why = refused[-1] if refused else f"no answer about stream {subjects.stream}: {type(error).__name__}"
        return [
            problem("nats", "JetStream", why, f"allow this user to publish to $JS.API.STREAM.INFO.{subjects.stream}")
        ]
    found = [ok("nats", "JetStream", "on")]
    if (refusal := answer.get("error")) is not None:
        return [*found, _without_stream(subjects.stream, refusal, create=nats_section.create_stream)]
    expected = stream_configuration(subjects, federation_settings(configuration))
    found.append(stream_finding(expected, answer.get("config") or {}))
    found.append(clock_finding(answer.get("ts"), asked, answered))
    return found


def _without_stream(stream: str, error: dict[str, Any], *, create: bool) -> Finding:
    if error.get("err_code") != _STREAM_NOT_FOUND:
        return problem("nats", "stream", f"{stream}: {error.get('description')}", "see the log of nats-server")
    if create:
        return not_checked("nats", "stream", f"{stream} does not exist yet", "start an agent: the first one makes it")
    return problem(
        "nats", "stream", f"{stream} does not exist", "make it, or set create_stream = true in [nats] of one agent"
    )


def stream_finding(expected: dict[str, Any], seen: dict[str, Any]) -> Finding:
    """Whether a stream's configuration (of STREAM.INFO) is one that eventfed can work with."""
    faults = stream_faults(expected, seen)
    name = expected["name"]
    if faults:
        wanted = json.dumps({key: expected[key] for key in MATTERS})
        return problem(
            "nats", "stream", f"{name}: {'; '.join(faults)}", f"edit it (nats stream edit {name}) to {wanted}"
        )
    storage, replicas = seen.get("storage"), seen.get("num_replicas")
    return ok("nats", "stream", f"{name}: as expected, {storage} storage, {replicas} replica{'s' * (replicas != 1)}")


def clock_finding(stamp: object, asked: float, answered: float) -> Finding:
    """How far our clock is from the server's, which wrote `stamp` (RFC 3339) between `asked` and `answered`."""
    try:
        server = datetime.fromisoformat(_microseconds(str(stamp))).timestamp()
    except ValueError:
        return not_checked("nats", "clock", "this nats-server does not tell its time")
    skew = (asked + answered) / 2 - server
    margin = (answered - asked) / 2
    text = f"{abs(skew):.3f} s {'ahead of' if skew > 0 else 'behind'} NATS's (within {margin:.3f} s)"
    if abs(skew) - margin > _SKEW:
        return problem(
            "nats", "clock", f"this machine's clock is {text}", "keep both by NTP (chrony, systemd-timesyncd)"
        )
    return ok("nats", "clock", text)


def _microseconds(stamp: str) -> str:
    """The stamp without its nanoseconds, which Python cannot read."""
    whole, dot, fraction = stamp.removesuffix("Z").partition(".")
    return f"{whole}.{fraction[:6]}+00:00" if dot else f"{whole}+00:00"
