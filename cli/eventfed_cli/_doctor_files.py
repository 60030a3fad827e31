"""The doctor's look into a server's ``/etc/asterisk``. Pure: files come in as text."""

import ipaddress
import re
from dataclasses import dataclass

from pydantic import SecretStr

from eventfed import EID, EventType, MalformedEntityID
from eventfed.asterisk_config import RESOURCE, identifier_order_line
from eventfed.model.device_kinds import DEVICE_KINDS, PROBE_PREFIX
from eventfed.model.patterns import PatternError, compile_pattern
from eventfed.spec import VoicemailStorage
from eventfed_agent.members.names import PROBE_MAILBOX, Filters

from ._asterisk_files import AsteriskFile, Section, Source, read_asterisk_file
from ._distributions import Distribution, recognise
from ._findings import Finding, not_checked, ok, problem

__all__ = ["ServerFiles", "poll_finding", "read_server_files"]

_DEFAULT_ORDER = "ip,username,anonymous"
_DEFAULT_IDENTIFY_BY = "username,ip"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
_DEVICES = ("asterisk-devicestate", "@device_state_filter")
_MAILBOXES = ("asterisk-mwi", "@mailbox_state_filter")
_ANY = ("", ".", ".*")
_YES = ("yes", "true", "y", "t", "1", "on")


@dataclass(frozen=True)
class ServerFiles:
    """The files that matter here, read."""

    pjsip: AsteriskFile
    voicemail: AsteriskFile
    asterisk: AsteriskFile
    distribution: Distribution | None = None
    """The one that writes ``pjsip.conf``, if it was recognised."""

    @property
    def open_endpoints(self) -> list[str]:
        """Endpoints without auth, ours left out, whose name can stand in a From header."""
        ours = self._our_endpoint_name
        return [
            endpoint.name
            for endpoint in self.pjsip.of_type("endpoint")
            if not endpoint.get("auth") and endpoint.name != ours and _PLAIN_NAME.fullmatch(endpoint.name)
        ]

    @property
    def entity_id(self) -> str:
        """``entityid`` of ``asterisk.conf``; empty where none is set."""
        return next((value for section in self.asterisk.named("options") if (value := section.get("entityid"))), "")

    def _state_filters(self, package: str, option: str) -> list[str]:
        """Of each publication of that event package; an empty text where it publishes all."""
        return [
            section.get(option)
            for section in self.pjsip.of_type("outbound-publish")
            if section.get("event").lower() == package
        ]

    @property
    def _our_endpoint_name(self) -> str:
        return next(
            (
                section.get("endpoint")
                for section in self.pjsip.of_type("inbound-publication")
                if section.name == RESOURCE
            ),
            "",
        )

    def findings(
        self,
        member: str,
        *,
        tokens: list[SecretStr],
        agent_host: str | None,
        storage: VoicemailStorage | None,
        filters: Filters,
    ) -> list[Finding]:
        """Everything that the files alone tell.

        Args:
            agent_host: the address that the agent sends from, if known.
            storage: where mailboxes cross.
            filters: the agent's.
        """
        found = [self._readable(member)]
        found.append(self._snippet(member, tokens))
        found.append(self._order(member, agent_host, tokens))
        found.append(self._publishers(member))
        found.append(self._entity_id(member))
        if EventType.DEVICE_STATE_CHANGE in filters.types():
            found.append(device_filter_finding(member, self._state_filters(*_DEVICES), filters))
        if storage is VoicemailStorage.SHARED:
            found.append(mailbox_filter_finding(member, self._state_filters(*_MAILBOXES)))
        if storage is not None:
            found.append(self._polling(member, storage))
        return found

    def _readable(self, member: str) -> Finding:
        check = "files"
        mistakes = [text for file in (self.pjsip, self.voicemail, self.asterisk) for text in file.problems]
        if mistakes:
            return problem(member, check, "; ".join(mistakes[:5]), "correct them: Asterisk may refuse the whole file")
        unread = [text for file in (self.pjsip, self.voicemail, self.asterisk) for text in file.unread]
        if unread:
            return not_checked(member, check, "; ".join(unread[:5]))
        return ok(member, check, "pjsip.conf, voicemail.conf and asterisk.conf are readable")

    def _snippet(self, member: str, tokens: list[SecretStr]) -> Finding:
        check, name = "pjsip.conf", self._our_endpoint_name
        command = _snippet_command(member)
        advice = f"include what `{command}` prints at the end of pjsip.conf"
        if (writer := self.distribution) is not None:
            advice = f"install what `{command} --for {writer.key}` prints; {writer.advice}"
        if not name:
            return problem(member, check, f"there is no inbound-publication {RESOURCE}", advice)
        endpoint = next((section for section in self.pjsip.of_type("endpoint") if section.name == name), None)
        if endpoint is None:
            return problem(member, check, f"there is no endpoint {name} for inbound-publication {RESOURCE}", advice)
        identify_by = _words(endpoint.get("identify_by", _DEFAULT_IDENTIFY_BY))
        if not endpoint.get("auth") and "username" in identify_by:
            return problem(
                member,
                check,
                f"endpoint {name} is identified by user name and has no auth: anyone who sends that name is let in",
                f"put this into [{name}] type=endpoint: identify_by = header",
            )
        if tokens:
            header = [
                value.partition(":")[2].strip()
                for section in self.pjsip.of_type("identify")
                if section.get("endpoint") == name
                for value in section.all("match_header")
            ]
            if not header:
                return problem(member, check, f"no identify section with match_header for endpoint {name}", advice)
            if tokens[0].get_secret_value() not in header:
                return problem(member, check, "its header secret is not that of agent.token_file", advice)
        return ok(member, check, f"endpoint {name} and inbound-publication {RESOURCE} are there")

    def _order(self, member: str, agent_host: str | None, tokens: list[SecretStr]) -> Finding:
        check = "identifier order"
        if not tokens:
            return ok(member, check, "the agent is known by its address")
        section = next(self.pjsip.of_type("global"), None)
        order = _words(section.get("endpoint_identifier_order") if section else "") or _words(_DEFAULT_ORDER)
        before = order[: order.index("header")] if "header" in order else order
        rivals = []
        if "anonymous" in before:
            rivals += [e.name for e in self.pjsip.of_type("endpoint") if e.name.lower().split("@")[0] == "anonymous"]
        if "ip" in before:
            rivals += [
                f"{section.get('endpoint')} (identify {section.name})"
                for section in self.pjsip.of_type("identify")
                if section.get("endpoint") != self._our_endpoint_name and _matches(section, agent_host)
            ]
        if not rivals:
            return ok(member, check, f"{','.join(order)}: no other endpoint is identified before the agent's")
        place = (
            "put this into the section [global] of pjsip.conf"
            if section
            else "add to pjsip.conf: [global], type = global"
        )
        change = f"{place}: {identifier_order_line()}"
        if self.distribution is not None:
            change = self.distribution.order_advice
        return problem(
            member,
            check,
            f"{','.join(order)}: {', '.join(rivals)} may be identified before the agent",
            change,
        )

    def _publishers(self, member: str) -> Finding:
        """Inbound publications other than ours."""
        check = "other inbound-publications"
        open_ones = []
        for publication in self.pjsip.of_type("inbound-publication"):
            endpoint = next((e for e in self.pjsip.of_type("endpoint") if e.name == publication.get("endpoint")), None)
            if publication.name != RESOURCE and (endpoint is None or not endpoint.get("auth")):
                open_ones.append(f"{publication.name} (endpoint {publication.get('endpoint') or 'any'})")
        if open_ones:
            return problem(
                member,
                check,
                f"take PUBLISH from endpoints without auth: {', '.join(open_ones)}",
                "give their endpoints auth, or remove them",
            )
        return ok(member, check, "none without auth")

    def _entity_id(self, member: str) -> Finding:
        check = "entityid"
        try:
            eid = EID.parse(self.entity_id)
        except MalformedEntityID:
            detail = f"{self.entity_id!r} is no EID" if self.entity_id else "not set: it comes from a MAC address"
            return problem(
                member, check, detail, f"put this into [options] of asterisk.conf: entityid = {EID.derive(member)}"
            )
        return ok(member, check, str(eid))

    def _polling(self, member: str, storage: VoicemailStorage) -> Finding:
        general = next(self.voicemail.named("general"), Section("general"))
        return poll_finding(member, general.get("pollmailboxes").lower() in _YES, storage)


def poll_finding(member: str, polls: bool, storage: VoicemailStorage) -> Finding:
    """What ``pollmailboxes`` means for a federation."""
    check = "pollmailboxes"
    if not polls:
        return ok(member, check, "no")
    if storage is VoicemailStorage.SHARED:
        return ok(member, check, "yes, which is right where all servers share one spool")
    return problem(
        member,
        check,
        "yes: it answers every injected count with its own, so lamps of other servers' messages go out again",
        "put this into [general] of voicemail.conf: pollmailboxes = no",
    )


def device_filter_finding(member: str, texts: list[str], filters: Filters) -> Finding:
    """Whether the server publishes the devices that are to cross, and the agent's probe.

    Args:
        texts: ``@device_state_filter`` of each of its publications.
        filters: the agent's.
    """
    check, kind = "device filter", EventType.DEVICE_STATE_CHANGE
    if not texts:
        return problem(member, check, "no outbound-publish has event = asterisk-devicestate", _snippet_advice(member))
    if any(text in _ANY for text in texts):
        return ok(member, check, "every device is published; the agent chooses")
    try:
        patterns = [compile_pattern(text) for text in texts]
    except PatternError as error:
        return not_checked(member, check, str(error))
    wanted = [example.example for example in DEVICE_KINDS if filters.publishes(kind, example.example)]
    held_back = [
        name for name in [f"{PROBE_PREFIX}1", *wanted] if not any(pattern.search(name) for pattern in patterns)
    ]
    if held_back:
        names = ", ".join(held_back[:5])
        return problem(member, check, f"{' '.join(texts)} holds back {names}", _snippet_advice(member))
    if not wanted:
        return not_checked(member, check, f"{' '.join(texts)}: see whether it lets out what include names")
    return ok(member, check, f"{' '.join(texts)} lets out what crosses")


def mailbox_filter_finding(member: str, texts: list[str]) -> Finding:
    """Whether the server publishes the mailbox with which an agent marks the end of a dump of a shared spool.

    Args:
        texts: ``@mailbox_state_filter`` of each of its publications.
    """
    check = "mailbox filter"
    if not texts:
        return problem(member, check, "no outbound-publish has event = asterisk-mwi", _snippet_advice(member))
    if any(text in _ANY for text in texts):
        return ok(member, check, "every mailbox is published; the agent chooses")
    try:
        lets_out = any(compile_pattern(text).search(PROBE_MAILBOX) for text in texts)
    except PatternError as error:
        return not_checked(member, check, str(error))
    if not lets_out:
        change = f"let @mailbox_state_filter pass {PROBE_MAILBOX}, and restart Asterisk"
        return problem(member, check, f"{' '.join(texts)} holds back {PROBE_MAILBOX}", change)
    return ok(member, check, f"{' '.join(texts)} lets out {PROBE_MAILBOX}")


def _snippet_advice(member: str) -> str:
    return f"install what `{_snippet_command(member)}` prints, and restart Asterisk"


def _snippet_command(member: str) -> str:
    return f"eventfed asterisk-config --config FILE --member {member}"


def read_server_files(source: Source) -> ServerFiles:
    """Read the three files; `source` finds them by name."""
    return ServerFiles(
        pjsip=read_asterisk_file("pjsip.conf", source),
        voicemail=read_asterisk_file("voicemail.conf", source),
        asterisk=read_asterisk_file("asterisk.conf", source),
        distribution=next((found for _, text in source("pjsip.conf") if (found := recognise(text))), None),
    )


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",") if word.strip()]


def _matches(identify: Section, host: str | None) -> bool:
    """Whether an identify section may match the agent's address; yes where that cannot be told."""
    texts = [text.strip() for value in identify.all("match") for text in value.split(",")]
    if host is None:
        return bool(texts)
    for text in texts:
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(text.lstrip("!"), strict=False):
                return True
        except ValueError:
            continue  # a host name: Asterisk asks the DNS, we do not
    return False
