"""What kopf is used for: it watches, and tells. It handles nothing, so it puts nothing of its own into any object."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, cast

import kopf

from .crd.resource import GROUP, PLURAL, VERSION
from .resources import FIELD_MANAGER

__all__ = ["Listener", "kopf_registry", "kopf_settings", "watch"]

_OURS = f"app.kubernetes.io/managed-by={FIELD_MANAGER}"
_OWNED = (("apps", "v1", "daemonsets"), ("", "v1", "services"))
"""What is watched beside EventFederations and pods: what changes by itself. Drift of the rest is found at the resync,
and so the operator needs no right to list Secrets."""


_IDENTITY = cast("Any", FIELD_MANAGER)
"""Who we are among kopf's peers, of which there are none."""


class Listener(Protocol):
    """Who is told; see `Supervisor`."""

    def heard(self, manifest: Mapping[str, Any], *, gone: bool) -> None: ...

    def concerns(self, namespace: str, name: str) -> None: ...


def kopf_registry(listener: Listener) -> kopf.OperatorRegistry:
    """The handlers: low-level ones only, which need neither finalizers nor annotations."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**known: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**known) or kopf.login_with_kubeconfig(**known)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def federation_changed(event: Mapping[str, Any], **_: Any) -> None:
        listener.heard(event["object"], gone=event["type"] == "DELETED")

    async def owned_changed(event: Mapping[str, Any], **_: Any) -> None:
        metadata = event["object"]["metadata"]
        name = (metadata.get("labels") or {}).get(f"{GROUP}/federation")
        if name:
            listener.concerns(metadata["namespace"], name)

    for group, version, plural in _OWNED:
        kopf.on.event(group, version, plural, registry=registry)(owned_changed)
    return registry


async def watch(
    listener: Listener, namespaces: Collection[str], *, stop: asyncio.Event, started: Callable[[], None] = lambda: None
) -> None:
    """Tell `listener` of what happens, until `stop` is set.

    In the end kopf cancels every task that began after itself, so others' have to be done before `stop` is set.

    Args:
        namespaces: which ones are watched; empty: all.
        started: called when kopf has taken the process's signals to itself, so that they can be taken back.
    """
    others = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=kopf_registry(listener),
        settings=kopf_settings(),
        # Else kopf asks for the name of the user that we run as, and a container's may have none.
        identity=_IDENTITY,
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )
    started()
    await kopf.run_tasks(tasks, ignored=others)


def kopf_settings() -> kopf.OperatorSettings:
    """How kopf watches: filtered by the server, and with limits on every silence."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.process.ultimate_exiting_timeout = 25
    for group, version, plural in _OWNED:
        settings.watching.label_selectors[group, version, plural] = _OURS
    return settings
