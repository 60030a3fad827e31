"""A SIP user agent for publications: RFC 3903 PUBLISH in both directions, over UDP and TCP.

It knows SIP and nothing of what is published. The protocol parts do no I/O and take the time as an argument
(`loop.time()` under the user agent); `UserAgent` and `Publisher` are the asyncio shell.

Receiving, in a handler that returns at once::

    compositor = EventStateCompositor()

    def handle(request: Request, source: Address) -> Response | Later | None:
        if source.host not in members:
            return None                          # silence: the server asks again, and is handled afresh
        response, publication = compositor.receive(request, source.host, loop.time())
        if publication is not None:              # accepted: INITIAL, MODIFY, REFRESH or REMOVE
            take_in(publication)                 # .body (bytes or None), .event, .cseq_gap, .expires
        return response                          # or a Later(), and later.answer(response) when it is known

    async with UserAgent([Bind("0.0.0.0", 5066)], handle, on_malformed=log_once) as user_agent:
        ...

`Response.answer(request, 403)` makes any other answer. Retransmissions never reach the handler twice.

Sending to a server, one `Publisher` per lane::

    member = Address("10.0.0.7", 5060)           # UDP unless transport=Transport.TCP
    publication = OutboundPublication("asterisk-devicestate", member, secret=SecretHeader(token))
    publisher = Publisher(user_agent, member, publication)
    result = await publisher.publish(body)       # a PublishResult: .outcome, .status, .out_of_turn
    await publisher.keep_alive()                 # by publication.refresh_at, when there is nothing to publish
    publication.expect_unknown_etag()            # the member announced a restart: the next is initial
    publication.secret = SecretHeader(other)     # a token was rotated
    response = await user_agent.request(build_options(member), member)   # RequestTimeout, TransportFailed
"""

from ._addresses import Address, Bind, Transport
from ._client_transactions import ClientTimers, ClientTransactions, Due
from ._errors import RequestTimeout, SipError, SipSyntaxError, TransportFailed
from ._messages import MAX_HEAD_BYTES, MAX_HEADERS, MAX_MESSAGE_BYTES, Request, Response, parse_message
from ._options import build_options
from ._outbound_publication import OutboundPublication, PublishCounters, PublishOutcome, PublishResult, SecretHeader
from ._publications import Beginning, CompositorSettings, EventStateCompositor, Publication, PublicationKind
from ._publisher import Publisher
from ._routes import Route, find_route
from ._server_transactions import Arrival, ServerTransactions
from ._settings import Counters, UserAgentSettings
from ._stream import StreamFramer
from ._user_agent import Handler, Later, MalformedHook, UserAgent
from ._via import Via

__all__ = [
    "MAX_HEADERS",
    "MAX_HEAD_BYTES",
    "MAX_MESSAGE_BYTES",
    "Address",
    "Arrival",
    "Beginning",
    "Bind",
    "ClientTimers",
    "ClientTransactions",
    "CompositorSettings",
    "Counters",
    "Due",
    "EventStateCompositor",
    "Handler",
    "Later",
    "MalformedHook",
    "OutboundPublication",
    "Publication",
    "PublicationKind",
    "PublishCounters",
    "PublishOutcome",
    "PublishResult",
    "Publisher",
    "Request",
    "RequestTimeout",
    "Response",
    "Route",
    "SecretHeader",
    "ServerTransactions",
    "SipError",
    "SipSyntaxError",
    "StreamFramer",
    "Transport",
    "TransportFailed",
    "UserAgent",
    "UserAgentSettings",
    "Via",
    "build_options",
    "find_route",
    "parse_message",
]
