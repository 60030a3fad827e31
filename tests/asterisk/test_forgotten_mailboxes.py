"""A mailbox that was taken out of ``voicemail.conf`` is forgotten by command, until its server names it again."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from eventfed_lab import AsteriskRoot, AsteriskServer, MailboxCounts, Pbx

BOX = "1001@default"
NONE, ONE = MailboxCounts(0, 0), MailboxCounts(1, 0)
DEVICES = {"type": "device_state"}


def events(storage: str, **more: str) -> Sequence[Mapping[str, object]]:
    return [{"type": "mwi", "voicemail_storage": storage, **more}, DEVICES]


async def command(pbx: Pbx, *arguments: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "eventfed_cli", *arguments,
        "--server", pbx.nats.url, "--federation", "lab", "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b""), err
    return json.loads(out)


async def forget(pbx: Pbx, name: str) -> Any:
    return await command(pbx, "mailbox", "forget", BOX, "--eid", str(pbx.servers[name].eid))


async def counting(pbx: Pbx) -> set[str]:
    """The servers that say anything of the mailbox."""
    found = await command(pbx, "state", "list", "--type", "mwi", "--name", f"^{BOX}$")
    return {str(one["eid"]) for one in found}


async def set_mailboxes(server: AsteriskServer, *mailboxes: str) -> None:
    server.configuration = replace(server.configuration, mailboxes=mailboxes)
    server.write_configuration()
    await server.cli("module reload app_voicemail.so")


async def restart_agent(pbx: Pbx, name: str) -> None:
    """What an agent asks a server for when it starts is everything that Asterisk remembers."""
    await pbx.agents[name].stop()
    await pbx.agents[name].start()
    await pbx.wait_synced(name)
    await pbx.wait_quiet(still=1.0)


async def refresh(pbx: Pbx) -> None:
    """All owners are asked for everything, as each does by itself once an hour."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "eventfed_cli", "refresh", "--server", pbx.nats.url, "--federation", "lab"
    )
    assert await process.wait() == 0
    await pbx.wait_quiet(still=1.0)


async def test_a_mailbox_without_an_owner_in_voicemail_conf_is_forgotten_until_it_is_named_again(
    asterisk_root: AsteriskRoot,
) -> None:
    async with Pbx(asterisk_root, ("a", "b"), events=events("Separate")) as pbx:
        a = pbx.asterisk("a")
        await a.leave_voicemail(BOX, by="spool")
        await pbx.wait_mailbox(BOX, ONE)
        await set_mailboxes(a, "1002@default")
        await pbx.wait_quiet(still=1.0)
        assert await pbx.servers["b"].mailbox_counts(BOX) == ONE, "nothing but the command takes it back"
        document = await forget(pbx, "a")
        assert (document["member"], document["forgot"]) == ("a", {"new": 1, "old": 0})
        await pbx.wait_mailbox(BOX, NONE)
        assert await counting(pbx) == {str(pbx.servers["b"].eid)}
        await refresh(pbx)
        await restart_agent(pbx, "a")
        await restart_agent(pbx, "b")
        await pbx.wait_mailbox(BOX, NONE)
        assert str(a.eid) not in await counting(pbx)
        await set_mailboxes(a, BOX, "1002@default")
        await pbx.wait_mailbox(BOX, ONE)
        assert str(a.eid) in await counting(pbx)
        await a.leave_voicemail(BOX, by="spool")
        await pbx.wait_mailbox(BOX, MailboxCounts(2, 0))


@pytest.mark.long
@pytest.mark.parametrize("injection", ["InPlace", "Beside"])
async def test_an_empty_count_is_forgotten_as_well_and_no_dump_names_it_again(
    injection: str, asterisk_root: AsteriskRoot
) -> None:
    """Nothing but the injection of another's zero keeps Asterisk from telling its own zero, or its one, again."""
    async with Pbx(asterisk_root, ("a", "b"), events=events("Separate", injection=injection)) as pbx:
        a = pbx.asterisk("a")
        a_eid = str(a.eid)
        for count in (0, 1):
            await (a.leave_voicemail(BOX, by="spool") if count else a.refresh_voicemail(BOX))
            await pbx.wait_quiet(still=1.0)
            assert a_eid in await counting(pbx)
            await forget(pbx, "a")
            await a.wait_mailbox(BOX, NONE)
            await refresh(pbx)
            await restart_agent(pbx, "a")
            assert a_eid not in await counting(pbx)


@pytest.mark.long
async def test_with_one_spool_each_server_s_word_is_forgotten_by_itself(asterisk_root: AsteriskRoot) -> None:
    async with Pbx(asterisk_root, ("a", "b"), events=events("Shared"), shared_spool=True) as pbx:
        a, b = pbx.asterisk("a"), pbx.asterisk("b")
        await a.leave_voicemail(BOX, by="spool")
        await pbx.wait_mailbox(BOX, ONE)
        await b.hear_voicemail(BOX, by="spool")
        await pbx.wait_mailbox(BOX, MailboxCounts(0, 1))
        for server in (a, b):
            await set_mailboxes(server, "1002@default")
        await pbx.wait_quiet(still=1.0)
        assert await counting(pbx) == {str(a.eid), str(b.eid)}
        await forget(pbx, "b")
        await pbx.wait_mailbox(BOX, ONE)  # the latest news of those who are left
        await forget(pbx, "a")
        await pbx.wait_mailbox(BOX, NONE)
        for name in ("a", "b"):
            await restart_agent(pbx, name)
        await refresh(pbx)
        await pbx.wait_mailbox(BOX, NONE)
        assert await counting(pbx) == set()
        await set_mailboxes(b, BOX, "1002@default")
        await pbx.wait_mailbox(BOX, MailboxCounts(0, 1))


@pytest.mark.long
async def test_a_mailbox_of_a_server_that_is_gone_is_forgotten(asterisk_root: AsteriskRoot) -> None:
    async with Pbx(asterisk_root, ("a", "b", "c"), events=events("Separate")) as pbx:
        a = pbx.asterisk("a")
        await a.leave_voicemail(BOX, by="spool")
        await pbx.wait_mailbox(BOX, ONE)
        a.kill()
        await pbx.agents["a"].stop()
        await asyncio.sleep(5)  # longer than the grace
        assert await pbx.servers["b"].mailbox_counts(BOX) == ONE
        document = await forget(pbx, "a")
        assert (document["member"], document["agent"]) == (None, None)
        await pbx.wait_mailbox(BOX, NONE, on=("b", "c"))
        assert str(a.eid) not in await counting(pbx)
