"""The operator takes what was replaced in the Secrets that an EventFederation names, on a real nats-server."""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventfed_lab import NatsServer
from eventfed_operator.bus_access import bus_access
from eventfed_operator.federation_bus import open_nats_bus
from eventfed_operator.reconciler import BusLink
from eventfed_operator.resources import Settings, read_resource
from tests.ground.fixture_types import Until
from tests.ground.nats_secrets import SECRETS, Secret

_REFERENCES = {
    "password_file": ("credentials", "password"),
    "token_file": ("credentials", "token"),
    "credentials_file": ("credentials", "credentialsFile"),
    "nkey_seed_file": ("credentials", "nkeySeed"),
    "ca_file": ("tls", "authorities"),
}
"""Fields of an agent's file, and where an EventFederation names the same."""


def resource(secret: Secret, url: str) -> Any:
    nats: dict[str, Any] = {"servers": [url]}
    for name in secret.fields:
        if name in _REFERENCES:
            section, field = _REFERENCES[name]
            nats.setdefault(section, {})[field] = {"name": "nats", "key": name}
    if "user" in secret.fields:
        nats["credentials"]["user"] = secret.fields["user"]
    if "certificate_file" in secret.fields:
        nats.setdefault("tls", {})["certificate"] = "certificate"
    return read_resource(
        {
            "metadata": {
                "name": "pbx",
                "namespace": "voice",
                "uid": "u",
                "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {
                "members": {"selector": {"matchLabels": {"app": "asterisk"}}},
                "events": [{"type": "device_state"}],
                "nats": nats,
            },
        }
    )


def in_kubernetes(secret: Secret) -> dict[str, dict[str, Any]]:
    """The files as Secrets."""
    data = {
        name: base64.b64encode(path.read_bytes()).decode()
        for name, path in secret.fields.items()
        if isinstance(path, Path)
    }
    certificate = {"tls.crt": data.get("certificate_file"), "tls.key": data.get("key_file")}
    return {"nats": {"data": data}, "certificate": {"data": certificate}}


@pytest.mark.parametrize("kind", SECRETS)
async def test_the_operator_is_back_once_secret_and_server_are_replaced(
    kind: Callable[[Path], Secret], tmp_path: Path, until: Until
) -> None:
    secret = kind(tmp_path)
    async with NatsServer(configuration=secret.configuration) as server:
        url = server.url.replace("nats://", f"{secret.scheme}://")
        federation = resource(secret, url)
        link = BusLink(open_nats_bus, federation.subjects, lambda: None)
        running = asyncio.create_task(link.run())

        async def connected() -> bool:
            return link.bus is not None and (await link.bus.observe(mark="")).connected

        async def becomes(wanted: bool) -> None:
            async with asyncio.timeout(10):
                while await connected() is not wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

        try:
            link.want(bus_access(federation, Settings("eventfed:1"), None, in_kubernetes(secret)))
            await becomes(True)
            old = in_kubernetes(secret)
            server.configuration = secret.replace()
            await server.restart()
            link.want(bus_access(federation, Settings("eventfed:1"), None, old))
            await becomes(False)
            link.want(bus_access(federation, Settings("eventfed:1"), None, in_kubernetes(secret)))
            await becomes(True)
        finally:
            running.cancel()
            await asyncio.wait([running])
