"""What the answers of a server to our PUBLISH say of its configuration."""

from ..adapter import AdapterOutcome, Delivery

__all__ = ["outcome_of", "refusal_advice"]

_SNIPPET = "see `eventfed asterisk-config`"
_UNREADABLE = 500
"""Asterisk's word for one body that it cannot read (``res_pjsip_pubsub.c``, ``publish_request_initial``)."""


def outcome_of(
    delivery: Delivery, status: int | None, *, heard: bool = False, intrusion: bool = False
) -> AdapterOutcome:
    """The outcome of a PUBLISH that was answered with this status; None: not answered."""
    return AdapterOutcome(
        delivery,
        label=str(status) if status else "",
        advice=(refusal_advice(status, heard=heard) or "") if delivery is Delivery.REFUSED else "",
        unreadable=status == _UNREADABLE,
        intrusion=intrusion,
    )


def refusal_advice(status: int | None, *, heard: bool) -> str | None:
    """What a server lacks that answers our PUBLISH with this status (each tried on Asterisk 22.10); None: unknown.

    Args:
        heard: whether it publishes to us, so that it has the snippet's lines for that.
    """
    match status:
        case 401 if heard:
            return (
                "it publishes to us but answers our PUBLISH 401: its identify section lacks our header secret, or "
                "res_pjsip_endpoint_identifier_ip is not loaded: " + _SNIPPET
            )
        case 401:
            return (
                "it answers our PUBLISH 401: it does not know our header secret, or its pjsip.conf lacks the lines of "
                "`eventfed asterisk-config`"
            )
        case 403:
            return (
                "it answers our PUBLISH 403: another endpoint is identified before ours: put header first in "
                "endpoint_identifier_order of [global]"
            )
        case 404:
            return (
                "it answers our PUBLISH 404: it has no inbound-publication and asterisk-publication named eventfed: "
                + _SNIPPET
            )
        case 489:
            return (
                "it answers our PUBLISH 489: res_pjsip_publish_asterisk is not loaded (it needs "
                "res_pjsip_outbound_publish), or its inbound-publication lacks an event package: " + _SNIPPET
            )
        case 501:
            return "it answers our PUBLISH 501: res_pjsip_pubsub is not loaded"
    return None
