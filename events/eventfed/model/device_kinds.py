"""The kinds of device names that Asterisk has, and which of them cross between servers.

The one source: the agents' filter, the line ``@device_state_filter`` of ``pjsip.conf``, the operator and the table
in ``docs/asterisk.md`` are made from it.
"""

import enum
from dataclasses import dataclass

from .patterns import compile_pattern

__all__ = [
    "ANY_DEVICE",
    "DEFAULT_DEVICES",
    "DEVICE_KINDS",
    "LONGEST_ANNOUNCED",
    "OWN_ENDPOINT",
    "PROBE_PREFIX",
    "Crossing",
    "DeviceKind",
    "is_probably_cut",
    "is_set_by_hand",
]

PROBE_PREFIX = "Custom:eventfed-probe-"
"""Devices by which an agent marks the end of a dump; they never cross."""

OWN_ENDPOINT = "PJSIP/eventfed"
"""The device of the agent's own endpoint, which is UNAVAILABLE on every server."""

ANY_DEVICE = "."
"""The filter that lets every name pass."""

LONGEST_ANNOUNCED = 79
"""In bytes. ``ast_devstate_changed`` writes the name into ``char buf[AST_MAX_EXTENSION]``, 80 with the final NUL
(``main/devicestate.c``, ``include/asterisk/channel.h``), and cuts what does not fit."""


class Crossing(enum.Enum):
    """Whether names of a kind cross."""

    DEFAULT = "by default"
    INCLUDE = "with `include`"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """One kind of name.

    Args:
        example: a name of that kind.
        source: what announces it.
        crossing: whether it crosses.
        reason: why.
    """

    example: str
    source: str
    crossing: Crossing
    reason: str

    @property
    def prefix(self) -> str:
        """What such names begin with: ``PJSIP/``, ``Custom:``."""
        ends = [at for mark in "/:" if (at := self.example.find(mark)) >= 0]
        return self.example[: min(ends) + 1]


_PHONE = "a phone is registered on one server, and all want to see it"
_PORT = "a port of one server; where two servers have a port of that number, use `exclude`"
_SET = "set by hand; to be set on one server"
_COMPUTED = "each server computes it from its own side"
_PER_CALL = "known during a call only; UNKNOWN afterwards"
_HARDWARE = "hardware of one server, of the same name on each"
_SHORT = "such channels live for one call and are not kept"

DEVICE_KINDS: tuple[DeviceKind, ...] = (
    DeviceKind("PJSIP/1001", "`chan_pjsip`", Crossing.DEFAULT, _PHONE),
    DeviceKind("SIP/1001", "`chan_sip` (to 20)", Crossing.DEFAULT, _PHONE),
    DeviceKind("IAX2/1001", "`chan_iax2`", Crossing.DEFAULT, _PHONE),
    DeviceKind("SCCP/1001", "`chan_sccp` (chan-sccp.net)", Crossing.DEFAULT, _PHONE),
    DeviceKind("Skinny/1001", "`chan_skinny` (to 20)", Crossing.DEFAULT, _PHONE),
    DeviceKind("MGCP/aaln/1@gw", "`chan_mgcp` (to 20)", Crossing.DEFAULT, _PHONE),
    DeviceKind("DAHDI/1", "`chan_dahdi`; Sangoma's and Digium's cards", Crossing.DEFAULT, _PORT),
    DeviceKind("Custom:lamp", "`func_devstate`: dialplan, CLI, AMI", Crossing.DEFAULT, _SET),
    DeviceKind("Stasis:lamp", "`res_stasis_device_state`: ARI", Crossing.DEFAULT, _SET),
    DeviceKind("confbridge:4000", "`app_confbridge`", Crossing.DEFAULT, "a room of one server, busy or empty"),
    DeviceKind("meetme:4000", "`app_meetme`, rooms of `meetme.conf`", Crossing.DEFAULT, "a room, as `confbridge:`"),
    DeviceKind("Agent:7", "`app_agent_pool`", Crossing.DEFAULT, "an agent is logged in on one server"),
    DeviceKind(
        "Queue:sales_avail",
        "`app_queue`",
        Crossing.INCLUDE,
        "each server computes it: an idle replica says that nobody is there, which would close everybody's queue",
    ),
    DeviceKind("park:701@parkedcalls", "`res_parking`", Crossing.INCLUDE, _COMPUTED + "; the call cannot be fetched"),
    DeviceKind("ccss:SIP/1001", "`main/ccss.c`", Crossing.INCLUDE, _COMPUTED),
    DeviceKind("SLA:station_trunk", "`app_sla`", Crossing.INCLUDE, _COMPUTED),
    DeviceKind("Calendar:office", "`res_calendar`", Crossing.INCLUDE, "each server reads the calendar itself"),
    DeviceKind(
        "MWI:1001@default",
        "`res_mwi_devstate`",
        Crossing.INCLUDE,
        "derived from message counts, also from injected ones, and told as the server's own",
    ),
    DeviceKind("USTM/1001@phone", "`chan_unistim`", Crossing.INCLUDE, _PER_CALL),
    DeviceKind("OOH323/peer", "`chan_ooh323`", Crossing.INCLUDE, _PER_CALL),
    DeviceKind("H323/peer", "`chan_h323` (out of tree)", Crossing.INCLUDE, _PER_CALL),
    DeviceKind("Motif/user", "`chan_motif` (Google Talk, Jingle)", Crossing.INCLUDE, _PER_CALL),
    DeviceKind("XMPP/client/user", "`res_xmpp`", Crossing.INCLUDE, "each server hears the buddy itself"),
    DeviceKind("Console/dsp", "`chan_console`, `chan_oss`", Crossing.INCLUDE, _HARDWARE),
    DeviceKind("ALSA/default", "`chan_alsa` (to 18)", Crossing.INCLUDE, _HARDWARE),
    DeviceKind("Mobile/phone", "`chan_mobile` (Bluetooth)", Crossing.INCLUDE, _HARDWARE),
    DeviceKind("Dongle/dongle0", "`chan_dongle` (out of tree)", Crossing.INCLUDE, _HARDWARE),
    DeviceKind("Quectel/quectel0", "`chan_quectel` (out of tree)", Crossing.INCLUDE, _HARDWARE),
    DeviceKind("Khomp/B0C0", "`chan_khomp` (Khomp's boards)", Crossing.INCLUDE, _HARDWARE),
    DeviceKind("mISDN/1", "`chan_misdn` (to 16)", Crossing.INCLUDE, _HARDWARE),
    DeviceKind("Phone/phone0", "`chan_phone` (to 18)", Crossing.INCLUDE, _HARDWARE),
    DeviceKind("vpb/1-1", "`chan_vpb` (to 18)", Crossing.INCLUDE, _HARDWARE),
    DeviceKind("Local/1001@default", "`core_local`", Crossing.INCLUDE, _SHORT + "; passed on once"),
    DeviceKind("WebSocket/media", "`chan_websocket` (from 22)", Crossing.INCLUDE, _SHORT),
    DeviceKind("AudioSocket/host", "`chan_audiosocket`", Crossing.INCLUDE, _SHORT),
    DeviceKind("UnicastRTP/host", "`chan_rtp`, external media", Crossing.INCLUDE, _SHORT),
    DeviceKind("MulticastRTP/basic", "`chan_rtp`, paging groups by multicast", Crossing.INCLUDE, _SHORT),
    DeviceKind("CBAnn/4000", "`app_confbridge`, its announcer; so are `CBRec/`", Crossing.INCLUDE, _SHORT),
    DeviceKind("Announcer/ARI", "`chan_bridge_media`; so are `Recorder/`", Crossing.INCLUDE, _SHORT),
    DeviceKind("Snoop/1", "`res_stasis_snoop`; so are `Surrogate/`, `Message/`", Crossing.INCLUDE, _SHORT),
    DeviceKind(OWN_ENDPOINT, "the agent's own endpoint", Crossing.NEVER, "UNAVAILABLE on every server"),
    DeviceKind(PROBE_PREFIX + "1", "an agent", Crossing.NEVER, "marks the end of a dump"),
)
"""Asterisk's channel drivers and providers of device states (16 to 23), and the well-known ones from elsewhere."""


def _default_devices() -> str:
    names = [kind.prefix[:-1] for kind in DEVICE_KINDS if kind.crossing is Crossing.DEFAULT]
    return f"^({'|'.join(names)})[/:]"


DEFAULT_DEVICES = _default_devices()
"""The filter of devices that cross without being asked for, for agents and for ``@device_state_filter``."""

_SET_BY_HAND = compile_pattern("^(Custom|Stasis):")


def is_set_by_hand(device: str) -> bool:
    """Whether a device has no state but what somebody sets: one that two servers announce is contended."""
    return _SET_BY_HAND.search(device) is not None


def is_probably_cut(device: str) -> bool:
    """Whether Asterisk has probably cut the name: what a channel driver or provider announces has no more bytes.

    Hints and queues of other servers name the device in full, so they never see its state.
    """
    return len(device.encode("utf-8", "replace")) == LONGEST_ANNOUNCED
