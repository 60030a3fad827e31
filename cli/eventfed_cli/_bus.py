"""From the options to a client of the federation."""

import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from eventfed import Federation, FederationSettings, Storage
from eventfed.refusals import Writing, refusals
from eventfed.spec import Spec
from eventfed_agent.configuration import (
    AgentConfiguration,
    ConfigurationError,
    FederationSection,
    NatsSection,
    load_configuration,
)
from eventfed_agent.nats_access import credentials_source, federation_settings

from ._bus_options import BusOptions
from ._exits import BusUnreachable

__all__ = ["AGENT_NAME", "BusTarget", "connect", "resolve"]

AGENT_NAME = "eventfed-cli"
"""What we call ourselves in leases and towards NATS."""

_SECRETS = ("user", "password_file", "token_file", "credentials_file", "nkey_seed_file")
_TLS = ("ca_file", "certificate_file", "key_file")
_OPTION_NAMES = {"name": "--federation", "servers": "--server", "token_file": "--nats-token-file"}
_Section = TypeVar("_Section", bound=Spec)


@dataclass(frozen=True)
class BusTarget:
    """Where the federation is, checked."""

    federation: FederationSection
    nats: NatsSection
    settings: FederationSettings
    timeout: float


def resolve(options: BusOptions) -> BusTarget:
    """What the options and the file that they name say together; an option wins over the file.

    Raises:
        ConfigurationError: when something is missing or wrong.
    """
    file = load_configuration(options.config) if options.config is not None else None
    federation = _given(options, {"name": "federation", "site": "site"})
    nats = _given(
        options, {"servers": "server", "subject_prefix": "prefix", **{name: name for name in (*_SECRETS, *_TLS)}}
    )
    nats_of_file = file.nats.model_dump() if file else {}
    if any(name in nats for name in _SECRETS):
        nats_of_file = {name: value for name, value in nats_of_file.items() if name not in _SECRETS}
    federation_of_file = file.federation.model_dump() if file else {}
    return BusTarget(
        _section(FederationSection, {**federation_of_file, **federation}),
        _section(NatsSection, {**nats_of_file, **nats}),
        _settings(file),
        options.timeout,
    )


def _given(options: BusOptions, names: Mapping[str, str]) -> dict[str, Any]:
    values = {field: getattr(options, name) for field, name in names.items()}
    return {field: value for field, value in values.items() if value not in (None, [])}


def _section(model: type[_Section], values: dict[str, Any]) -> _Section:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        mistakes = []
        for one in refusals(error, model, Writing.TOML):
            option = _option(one.where.partition(".")[0]) if one.where else "options"
            mistakes.append(f"give {option}, or --config" if one.missing else f"{option}: {_of_options(one.message)}")
        raise ConfigurationError("; ".join(mistakes)) from None


def _option(field: str) -> str:
    return _OPTION_NAMES.get(field, "--" + field.replace("_", "-"))


def _of_options(message: str) -> str:
    """A message about fields of a file, about options."""
    for field in (*_SECRETS, *_TLS):
        message = re.sub(rf"\b{field}\b", _option(field), message)
    return message


def _settings(file: AgentConfiguration | None) -> FederationSettings:
    if file is not None:
        return federation_settings(file)
    return FederationSettings(create_stream=False, storage=Storage.FILE)


@asynccontextmanager
async def connect(access: BusTarget, *, create_stream: bool = False) -> AsyncIterator[Federation]:
    """A client that has read everything. With `create_stream`, one that may make the stream, where the file says so.

    Raises:
        BusUnreachable: when that does not come about within `access.timeout` seconds.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # problems are told by the exception
    settings = replace(access.settings, deputy=False, create_stream=create_stream and access.settings.create_stream)
    async with Federation.connect(
        access.nats.servers,
        federation=access.federation.name,
        site=access.federation.site,
        agent=AGENT_NAME,
        prefix=access.nats.subject_prefix,
        settings=settings,
        credentials=credentials_source(access.nats),
    ) as federation:
        if not await federation.wait_synced(access.timeout):
            raise BusUnreachable(explain(federation.problem, access))
        yield federation


def explain(problem: str | None, access: BusTarget) -> str:
    """A problem of the client with what may be done about it."""
    if problem is None:
        return f"no answer from {', '.join(access.nats.servers)} within {access.timeout:g} s"
    if "stream not found" in problem:
        return (
            f"{problem}: no agent of federation {access.federation.name}, site {access.federation.site}, has run here "
            "yet; check --federation, --site and --prefix, or start an agent"
        )
    return f"{problem} ({', '.join(access.nats.servers)})"
