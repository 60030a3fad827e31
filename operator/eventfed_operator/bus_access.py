"""How the operator logs in to the NATS of one federation."""

import base64
import binascii
import ssl
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eventfed import Credentials, EventfedError

from .crd.resource import CredentialsSpec, SecretKey
from .resources import Resource, Settings

__all__ = ["AccessFiles", "BusAccess", "BusAccessError", "bus_access"]


class BusAccessError(EventfedError):
    """What an EventFederation says of its NATS cannot be used; the message says what to change."""


@dataclass(frozen=True, slots=True)
class BusAccess:
    """Servers, and what proves to them who we are. Two that are equal need one connection.

    Args:
        secrets: the values by their use: password, token, credentials_file, nkey_seed, ca, certificate, key.
    """

    servers: tuple[str, ...]
    user: str | None = None
    secrets: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    inbox_prefix: str = "_INBOX"
    tls_handshake_first: bool = False


def bus_access(
    resource: Resource, settings: Settings, chart: Credentials | None, secrets: Mapping[str, Mapping[str, Any] | None]
) -> BusAccess:
    """Where to log in, and as whom.

    Args:
        chart: how the operator logs in to the chart's NATS.
        secrets: the Secrets that the EventFederation names, as the API server gives them.

    Raises:
        BusAccessError: there is no NATS, or a Secret or a key of it is missing.
    """
    spec = resource.spec.nats
    if spec.servers is None:
        if settings.nats is None or chart is None or chart.password is None:
            raise BusAccessError("there is no NATS")
        password = (("password", chart.password.encode()),)
        # The chart's NATS lets each of its users see inboxes of a prefix of its own alone.
        return BusAccess(settings.nats.servers, chart.user, password, inbox_prefix=f"_INBOX_{chart.user}")
    found: dict[str, bytes] = {}
    credentials = spec.operator_credentials or spec.credentials
    for use, reference in _references(credentials).items():
        found[use] = _value(secrets, reference.name, reference.key)
    if spec.tls is not None:
        if spec.tls.authorities is not None:
            found["ca"] = _value(secrets, spec.tls.authorities.name, spec.tls.authorities.key)
        if spec.tls.certificate is not None:
            found["certificate"] = _value(secrets, spec.tls.certificate, "tls.crt")
            found["key"] = _value(secrets, spec.tls.certificate, "tls.key")
    user = credentials.user if credentials is not None else None
    first = spec.tls is not None and spec.tls.handshake_first
    return BusAccess(tuple(spec.servers), user, tuple(sorted(found.items())), tls_handshake_first=first)


def _references(credentials: CredentialsSpec | None) -> dict[str, SecretKey]:
    if credentials is None:
        return {}
    references = {
        "password": credentials.password,
        "token": credentials.token,
        "credentials_file": credentials.credentials_file,
        "nkey_seed": credentials.nkey_seed,
    }
    return {use: reference for use, reference in references.items() if reference is not None}


def _value(secrets: Mapping[str, Mapping[str, Any] | None], name: str, key: str) -> bytes:
    secret = secrets.get(name)
    try:
        return base64.b64decode(((secret or {}).get("data") or {})[key], validate=True)
    except (KeyError, binascii.Error):
        raise BusAccessError(f"Secret {name} has no key {key}") from None


class AccessFiles(AbstractContextManager[Credentials]):
    """`Credentials` for the client; what it wants as files stands in a private folder while the context is open.

    Raises:
        BusAccessError: on entering, for a value that is no certificate, key or text.
    """

    def __init__(self, access: BusAccess) -> None:
        self._access = access
        self._stack = ExitStack()

    def __enter__(self) -> Credentials:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="eventfed-")))
            credentials = _credentials(self._access, folder)
            self._stack = stack.pop_all()
        return credentials

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _credentials(access: BusAccess, folder: Path) -> Credentials:
    secrets, files = dict(access.secrets), {}
    for use, value in secrets.items():
        files[use] = folder / use
        files[use].touch(mode=0o600)
        files[use].write_bytes(value)
    context: ssl.SSLContext | None = None
    try:
        texts = {use: secrets[use].decode().strip() for use in ("password", "token") if use in secrets}
        if files.keys() & {"ca", "certificate"} or any(one.startswith(("tls:", "wss:")) for one in access.servers):
            context = ssl.create_default_context(cafile=files.get("ca"))
            if "certificate" in files:
                context.load_cert_chain(files["certificate"], files["key"])
    except UnicodeDecodeError:
        raise BusAccessError("a password or token for NATS is no text") from None
    except (OSError, ssl.SSLError) as error:
        raise BusAccessError(f"the Secrets of spec.nats.tls cannot be used: {error}") from None
    return Credentials(
        user=access.user,
        password=texts.get("password"),
        token=texts.get("token"),
        nkey_seed_file=files.get("nkey_seed"),
        creds_file=files.get("credentials_file"),
        tls=context,
        tls_handshake_first=access.tls_handshake_first,
        inbox_prefix=access.inbox_prefix,
    )
