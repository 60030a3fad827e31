"""SIP PUBLISH to and from ``res_pjsip_publish_asterisk``."""

import asyncio
import itertools

from eventfed import EID, KINDS, DeviceState, Event, EventType, kind_of
from eventfed.model.device_kinds import PROBE_PREFIX
from eventfed.wire.report import token_mark

from ..adapter import Adapter, AdapterOutcome, Delivery, DumpSource, Host, Tokens
from .payloads import CODECS, DEVICE_STATE_PACKAGE, build_payload, build_refresh
from .refusals import outcome_of
from .sip import (
    Address,
    OutboundPublication,
    Publisher,
    PublishOutcome,
    SecretHeader,
    SipError,
    UserAgent,
    build_options,
)
from .sources import Sources

__all__ = ["PjsipAdapter", "answers"]

_COUNTED_LANES = 2
_HANDOVER = f"{PROBE_PREFIX}handover"
_KNOWS_US = (200, 404)
"""How Asterisk answers OPTIONS of an endpoint that it identified: 404 where the dialplan lacks the user. It challenges
all others with 401."""
_OUTCOMES = {
    PublishOutcome.ACCEPTED: Delivery.ACCEPTED,
    PublishOutcome.REFUSED: Delivery.REFUSED,
    PublishOutcome.TIMED_OUT: Delivery.SILENT,
    PublishOutcome.UNREACHABLE: Delivery.SILENT,
}


class PjsipAdapter(Adapter, DumpSource):
    """One Asterisk server behind SIP.

    Args:
        user_agent: the agent's SIP user agent.
        destination: the server's own address and SIP port, never the source port of its requests.
        federation_eid: the EID that names us in refresh requests.
        tokens: secret header values.
        sources: where the server is known by its address while a member is attached.
        lanes: publications for each kind with a value per server; counted ones have two each.
    """

    def __init__(
        self,
        user_agent: UserAgent,
        destination: Address,
        *,
        federation_eid: EID,
        tokens: Tokens,
        resource: str = "eventfed",
        lanes: int = 8,
        sources: Sources,
    ) -> None:
        self._sources = sources
        self._host: Host | None = None
        self._user_agent = user_agent
        self._destination = destination
        self._federation_eid = federation_eid
        self._resource = resource
        self._taken: SecretHeader | None = None
        self._outlived: SecretHeader | None = None
        self._headers = _headers(tokens)
        self._header = self._headers[0]
        self._lanes: list[Publisher] = []
        self._lanes_of: dict[EventType, range] = {}
        for kind in KINDS.values():
            if kind.package in CODECS:
                self._add_lanes(kind.type, kind.package, _COUNTED_LANES if kind.is_counted else lanes)
        self._nudger: Publisher | None = None
        self._nudging = asyncio.Lock()
        self._control = {package: self._publisher(package) for package in CODECS}

    def _add_lanes(self, kind: EventType, package: str, count: int) -> None:
        first = len(self._lanes)
        self._lanes += [self._publisher(package) for _ in range(count)]
        self._lanes_of[kind] = range(first, first + count)

    def _publisher(self, package: str) -> Publisher:
        publication = OutboundPublication(package, self._destination, resource=self._resource, secret=self._header)
        return Publisher(self._user_agent, self._destination, publication)

    def attach(self, host: Host) -> None:
        self._host = host
        self._sources.add(host, self)

    def detach(self) -> None:
        if self._host is not None:
            self._sources.forget(self._host)
        self._host = None

    @property
    def lanes(self) -> int:
        return len(self._lanes)

    def lane_of(self, kind: EventType, key: str) -> int:
        """The hash need not be the same in another process."""
        lanes = self._lanes_of[kind]
        return lanes[hash(key) % len(lanes)]

    async def inject(self, event: Event, lane: int) -> AdapterOutcome:
        return await self._publish(self._lanes[lane], build_payload(event))

    async def request_dump(self, kind: EventType) -> AdapterOutcome:
        return await self._publish(self._control[kind_of(kind).package or ""], build_refresh(self._federation_eid))

    async def probe(self, event: Event) -> AdapterOutcome:
        # Under the server's own EID it takes the state for local and publishes it back.
        return await self._publish(self._control[kind_of(event.type).package or ""], build_payload(event))

    async def give_way(self, eid: EID) -> None:
        if self._nudging.locked():
            return
        async with self._nudging:
            if self._nudger is None:
                self._nudger = self._publisher(DEVICE_STATE_PACKAGE)
            event = Event.device(_HANDOVER, DeviceState.NOT_INUSE, eid, cachable=False)
            await self._publish(self._nudger, build_payload(event))

    async def is_alive(self, within: float) -> bool:
        # The question carries the current secret, so an idle server too shows whether it knows it by now.
        current = self._headers[0]
        status = await _ask(self._user_agent, self._destination, within, current)
        if status in _KNOWS_US and current is self._headers[0]:
            self._header = self._taken = current
            self._outlived = None
        return status is not None

    def use_tokens(self, tokens: Tokens) -> None:
        present = self._header
        self._headers = _headers(tokens)
        # What the server takes today it takes until it is told otherwise; `is_alive` finds out when.
        self._header = next((header for header in self._headers if header == present), self._headers[0])
        if present is not None and present == self._taken and present not in self._headers:
            # Nobody told us both: the Secrets were lost, or changed twice. The server learns the new one in a minute.
            self._header = self._outlived = present

    @property
    def token_taken(self) -> str:
        return token_mark(self._taken.value) if self._taken is not None else ""

    def expect_restart(self) -> None:
        for publisher in itertools.chain(self._lanes, self._control.values()):
            publisher.publication.expect_unknown_etag()
        self._user_agent.give_up(self._destination)

    async def _publish(self, publisher: Publisher, body: bytes) -> AdapterOutcome:
        publisher.publication.secret = self._header
        result = await publisher.publish(body)
        if result.status == 401:
            # While a token is being replaced, servers that were restarted meanwhile have the new one already.
            for header in (*self._headers, *filter(None, [self._outlived])):
                if header is publisher.publication.secret:
                    continue
                publisher.publication.secret = header
                result = await publisher.publish(body)
                if result.status != 401:
                    self._header = header
                    break
        if result.outcome is PublishOutcome.ACCEPTED:
            self._taken = publisher.publication.secret
        heard = self._host is not None and self._host.eid is not None
        return outcome_of(_OUTCOMES[result.outcome], result.status, heard=heard, intrusion=result.out_of_turn)


def _headers(tokens: Tokens) -> tuple[SecretHeader | None, ...]:
    """What to try, in order; without any token one request goes without the header."""
    return tuple(SecretHeader(value.get_secret_value()) for value in tokens.values) or (None,)


async def answers(user_agent: UserAgent, destination: Address, within: float) -> bool:
    """Whether a SIP server at that address answers OPTIONS, with whatever status, within `within` seconds."""
    return await _ask(user_agent, destination, within, None) is not None


async def _ask(user_agent: UserAgent, destination: Address, within: float, secret: SecretHeader | None) -> int | None:
    """The status with which a server answers OPTIONS; None without an answer."""
    try:
        async with asyncio.timeout(within):
            return (await user_agent.request(build_options(destination, secret=secret), destination)).status
    except (SipError, TimeoutError):
        return None
