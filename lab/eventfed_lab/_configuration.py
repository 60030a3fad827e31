"""The files of a lab server's ``/etc/asterisk``."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from eventfed import EID, DeviceState

from ._addresses import Allotment
from ._rootfs import AsteriskRoot

__all__ = [
    "AMI_SECRET",
    "AMI_USER",
    "AsteriskConfiguration",
    "configuration_files",
    "last_state",
    "pod_configuration_files",
    "watch_aor",
]

AMI_USER = "lab"
AMI_SECRET = "lab-on-loopback"


@dataclass(frozen=True, kw_only=True)
class AsteriskConfiguration:
    """What one server is set up with. Change it by ``dataclasses.replace``; it takes effect at the next start."""

    pjsip_snippet: str = ""
    """eventfed's own part of ``pjsip.conf``, as ``eventfed.asterisk_config.pjsip_snippet`` writes it."""
    pjsip_extra: str = ""
    """More sections for ``pjsip.conf``."""
    phones: Mapping[str, str] = field(default_factory=lambda: {"1001": "1001@default", "1002": "1002@default"})
    """Endpoint (and AOR, and extension to call it) → its ``mailboxes=``."""
    mailboxes: tuple[str, ...] = ("1001@default", "1002@default")
    """Those in ``voicemail.conf``."""
    watched_mailboxes: tuple[str, ...] = ("1003@default",)
    """Mailboxes in no ``voicemail.conf`` here that ``mailbox_counts`` can ask for all the same."""
    hints: Mapping[str, str] = field(
        default_factory=lambda: {
            "1001": "PJSIP/1001",
            "1002": "PJSIP/1002",
            "2000": "Custom:lamp1",
            "2001": "PJSIP/remoteonly",
        }
    )
    """Extension of context ``default`` → device; ``PJSIP/remoteonly`` is no endpoint of this server."""
    queues: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"support": ("PJSIP/1001", "Custom:lamp1", "PJSIP/remoteonly")}
    )
    """Queue → state interfaces of its members."""
    poll_mailboxes: bool = False
    poll_frequency: int = 3
    """Seconds; only with `poll_mailboxes`."""
    identifier_order: str = "header,ip,username,anonymous"


def watch_aor(mailbox: str) -> str:
    """The AOR by which ``mailbox_counts`` subscribes to a mailbox."""
    return "watch-" + mailbox.replace("@", "-at-")


def configuration_files(
    configuration: AsteriskConfiguration,
    *,
    name: str,
    eid: EID,
    address: Allotment,
    root: AsteriskRoot,
    folder: str,
    spool: str,
    data: str,
) -> dict[str, str]:
    """File name → text. `folder`, `spool` and `data` (sounds) are directories as seen from inside the root."""
    return {
        "asterisk.conf": _ASTERISK.format(
            folder=folder, spool=spool, modules=root.modules, data=data, name=name, eid=eid
        ),
        "logger.conf": _LOGGER.format(file="messages"),
        "manager.conf": _MANAGER.format(host=address.host, port=address.ami_port, user=AMI_USER, secret=AMI_SECRET),
        "pjsip.conf": _pjsip(configuration, name, f"{address.netloc}:{address.sip_port}", address.host),
        **_shared_files(configuration),
    }


def pod_configuration_files(configuration: AsteriskConfiguration, *, ami_secret: str) -> dict[str, str]:
    """File name → text, the same for all pods. ``asterisk.conf`` is not among them: that is the pods' own.

    Args:
        ami_secret: the AMI is open to anyone who reaches the pod, so this has to be a secret indeed.
    """
    return {
        "logger.conf": _LOGGER.format(file="/dev/stdout"),
        "manager.conf": _MANAGER.format(host="0.0.0.0", port=5038, user=AMI_USER, secret=ami_secret),
        "pjsip.conf": _pjsip(configuration, "pod", "0.0.0.0:5060", None),
        **_shared_files(configuration),
    }


def _shared_files(configuration: AsteriskConfiguration) -> dict[str, str]:
    return {
        "modules.conf": "[modules]\nautoload = yes\n"
        + "".join(f"noload = {module}.so\n" for module in _NOT_LOADED.split()),
        "rtp.conf": "[general]\nrtpstart = 10000\nrtpend = 19998\n",
        "voicemail.conf": _voicemail(configuration),
        "queues.conf": _queues(configuration),
        "confbridge.conf": _CONFBRIDGE,
        "extensions.conf": _extensions(configuration),
    }


def last_state(count: int, devices: int, number: int) -> DeviceState:
    """What the dialplan's loop leaves device `number` in."""
    rounds = (count - 1 - number) // devices
    return DeviceState.INUSE if (rounds + number) % 2 == 0 else DeviceState.NOT_INUSE


def _pjsip(configuration: AsteriskConfiguration, name: str, bind: str, media: str | None) -> str:
    parts = [
        "[global]\ntype = global",
        f"user_agent = Asterisk-{name}",
        f"endpoint_identifier_order = {configuration.identifier_order}",
    ]
    for protocol in ("udp", "tcp"):
        parts.append(f"\n[{protocol}]\ntype = transport\nprotocol = {protocol}\nbind = {bind}")
    parts.append("\n[phone](!)\ntype = endpoint\ncontext = default\ndisallow = all\nallow = ulaw\ndirect_media = no")
    if media is not None:
        parts.append(f"media_address = {media}\nbind_rtp_to_media_address = yes")
    for phone, mailboxes in configuration.phones.items():
        parts.append(f"\n[{phone}](phone)\naors = {phone}")
        parts.append(f"[{phone}]\ntype = aor\nmax_contacts = 5\nmailboxes = {mailboxes}")
    parts.append("\n[watcher](phone)")
    for mailbox in dict.fromkeys((*configuration.mailboxes, *configuration.watched_mailboxes)):
        parts.append(f"[{watch_aor(mailbox)}]\ntype = aor\nmailboxes = {mailbox}")
    return "\n".join([*parts, "", configuration.pjsip_extra, configuration.pjsip_snippet, ""])


def _voicemail(configuration: AsteriskConfiguration) -> str:
    parts = ["[general]", "format = wav", "attach = no", "maxmsg = 9999", "minsecs = 0", "envelope = no"]
    parts += ["saycid = no", f"pollmailboxes = {'yes' if configuration.poll_mailboxes else 'no'}"]
    parts.append(f"pollfreq = {configuration.poll_frequency}")
    contexts: dict[str, list[str]] = {}
    for mailbox in configuration.mailboxes:
        number, _, context = mailbox.partition("@")
        contexts.setdefault(context, []).append(number)
    for context, numbers in contexts.items():
        parts += [f"[{context}]", *(f"{number} => 1234,Owner of {number}" for number in numbers)]
    return "\n".join([*parts, ""])


def _queues(configuration: AsteriskConfiguration) -> str:
    parts = ["[general]", "persistentmembers = no"]
    for queue, devices in configuration.queues.items():
        parts += [f"[{queue}]", "strategy = ringall", "ringinuse = no", "joinempty = yes", "timeout = 15"]
        for number, device in enumerate(devices):
            parts.append(f"member => Local/{number}@queue-members/n,0,{device},{device}")
    return "\n".join([*parts, ""])


def _extensions(configuration: AsteriskConfiguration) -> str:
    parts = ["[default]"]
    for phone in configuration.phones:
        parts.append(f"exten => {phone},1,Dial(PJSIP/{phone},60)")
    for extension, device in configuration.hints.items():
        if extension not in configuration.phones:
            parts.append(f"exten => {extension},1,NoOp()")
        parts.append(f"exten => {extension},hint,{device}")
    return "\n".join([*parts, _DIALPLAN])


_ASTERISK = """\
[directories]
astcachedir => {folder}/cache
astetcdir => {folder}/etc
astmoddir => {modules}
astvarlibdir => {folder}/varlib
astdbdir => {folder}/varlib
astkeydir => {folder}/varlib
astdatadir => {data}
astagidir => {data}/agi-bin
astspooldir => {spool}
astrundir => {folder}/run
astlogdir => {folder}/log
astsbindir => /usr/sbin

[options]
systemname = {name}
entityid = {eid}
verbose = 0
"""

_LOGGER = """\
[general]
dateformat = %F %T.%3q
[logfiles]
{file} => notice,warning,error
"""

_MANAGER = """\
[general]
enabled = yes
webenabled = no
bindaddr = {host}
port = {port}

[{user}]
secret = {secret}
read = call,reporting,system,user,agent,dialplan
write = all
writetimeout = 1000
eventfilter(action(exclude),name(VarSet)) =
eventfilter(action(exclude),name(Newexten)) =
"""

_CONFBRIDGE = """\
[general]
[default_bridge]
type = bridge
[default_user]
type = user
quiet = yes
"""

_DIALPLAN = """
[lab]
; Anyone who leaves a message: VoiceMail() needs sound on the other leg.
exten => speak,1,Answer()
 same => n,Wait(0.2)
 same => n,Playback(vm-goodbye&vm-goodbye)
 same => n,Hangup()
; Anyone who hears a message: VoiceMailMain() plays the first new one by option a(0) and makes it old at the end.
exten => listen,1,Answer()
 same => n,Wait(2.5)
 same => n,Hangup()
exten => talk,1,Answer()
 same => n,Wait(3600)
 same => n,Hangup()
; COUNT changes over DEVICES devices. Odd and even devices end in different states.
exten => loop,1,Set(i=0)
 same => n,While($[${i} < ${COUNT}])
 same => n,Set(d=${MATH(${i}%${DEVICES},int)})
 same => n,Set(DEVICE_STATE(${PREFIX}${d})=${IF($[(${MATH(${i}/${DEVICES},int)} + ${d}) % 2 = 0]?INUSE:NOT_INUSE)})
 same => n,Set(i=$[${i} + 1])
 same => n,EndWhile()
 same => n,UserEvent(LoopDone,Run: ${RUN})
 same => n,Hangup()

[queue-members]
exten => _X!,1,UserEvent(MemberCalled,Member: ${EXTEN})
 same => n,Ringing()
 same => n,Wait(60)
"""

_NOT_LOADED = """
chan_sip chan_iax2 chan_unistim chan_motif chan_console chan_dahdi chan_mgcp chan_skinny chan_ooh323 chan_mobile
pbx_dundi pbx_ael pbx_lua res_xmpp res_snmp res_hep res_hep_pjsip res_hep_rtcp res_config_ldap res_config_pgsql
res_config_odbc res_odbc res_odbc_transaction func_odbc cdr_odbc cdr_adaptive_odbc cdr_pgsql cdr_radius cdr_tds
cdr_sqlite3_custom cel_odbc cel_pgsql cel_radius cel_tds cel_sqlite3_custom app_voicemail_odbc app_voicemail_imap
app_festival app_jack res_calendar res_calendar_caldav res_calendar_ews res_calendar_exchange
res_calendar_icalendar res_phoneprov res_pjsip_phoneprov_provider res_smdi res_adsi res_fax_spandsp res_fax
app_minivm res_resolver_unbound res_geolocation res_pjsip_geolocation res_stir_shaken res_pjsip_stir_shaken
res_corosync res_mwi_external res_mwi_external_ami res_ari_mailboxes res_stasis_mailbox
"""
