"""An API server that refuses: the operator goes on asking, seldom, and acts again as soon as it is let."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from eventfed_operator.environment import ElectionSettings, OperatorConfiguration
from eventfed_operator.manager import Manager
from eventfed_operator.process import run_operator
from eventfed_operator.resources import Settings
from tests.ground.api_server import Server
from tests.ground.fixture_types import Measure

SECONDS = 10.0
LEASE = "/apis/coordination.k8s.io/"


def status(code: int, **headers: str) -> Callable[[web.Request], web.StreamResponse]:
    def refuse(request: web.Request) -> web.StreamResponse:
        body = {"kind": "Status", "status": "Failure", "message": f"refused with {code}", "code": code}
        return web.json_response(body, status=code, headers=headers)

    return refuse


def closed_at_once(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def no_json(request: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>a proxy's page</html>", content_type="text/html")


def watches(answer: str) -> Callable[[web.Request], web.StreamResponse | None]:
    """Watches are answered and closed at once; all else is let through."""

    def refuse(request: web.Request) -> web.StreamResponse | None:
        return web.Response(text=answer) if "watch" in request.query else None

    return refuse


INTERNAL = json.dumps({"type": "ERROR", "object": {"code": 500, "message": "etcdserver: leader changed"}}) + "\n"
REFUSALS: dict[str, Callable[[web.Request], web.StreamResponse | None]] = {
    **{str(code): status(code) for code in (400, 401, 403, 404, 409, 410, 422, 500, 503)},
    "429": status(429, **{"Retry-After": "4"}),
    "connection closed at once": closed_at_once,
    "an answer that is no JSON": no_json,
    "watches closed at once": watches(""),
    "watches that break with 500": watches(INTERNAL),
}


def all_but_leases(
    refuse: Callable[[web.Request], web.StreamResponse | None],
) -> Callable[[web.Request], web.StreamResponse | None]:
    return lambda request: None if request.path.startswith(LEASE) else refuse(request)


class Process:
    """An operator that leads, with one EventFederation, before an API server of its own."""

    def __init__(self, api: Any, server: Server, folder: Path) -> None:
        self.api, self.server, self.folder = api, server, folder
        self.process: asyncio.subprocess.Process | None = None
        self.errors = ""

    async def ended(self, within: float) -> None:
        """Wait until it ends by itself."""
        assert self.process is not None
        async with asyncio.timeout(within):
            await self.process.wait()

    async def run(self, story: Callable[[Process], Any]) -> None:
        async with self.server.serve_http(self.folder) as kubeconfig:
            environment = {
                **os.environ,
                "KUBECONFIG": str(kubeconfig),
                "EVENTFED_IMAGE": "eventfed:1",
                "EVENTFED_LEASE": "eventfed-operator",
                "EVENTFED_POD": "eventfed-operator-0",
                "EVENTFED_NAMESPACE": "voice",
                "EVENTFED_HTTP": "127.0.0.1:0",
                "EVENTFED_RESYNC": "600",
            }
            process = self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "eventfed_operator", env=environment, stderr=asyncio.subprocess.PIPE
            )
            try:
                self.api.federation()
                await self.until(lambda: self.api.condition("Ready").get("reason") == "NoNats")
                await story(self)
                assert process.returncode is None
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(20):
                    self.errors = (await process.communicate())[1].decode()
            finally:
                if process.returncode is None:
                    process.kill()
                self.errors = self.errors or (await process.communicate())[1].decode()
            assert process.returncode == 0, self.errors

    async def acts_on(self, name: str) -> float:
        """How long it takes until an EventFederation that is made now has a status, in seconds."""
        clock = asyncio.get_running_loop().time
        began = clock()
        while not self.api.condition("Ready", name) and clock() - began < 40:
            # The memory's watches begin with what happens now, whatever version they are asked to go on from.
            self.api.federation(name)
            with contextlib.suppress(TimeoutError):
                await self.until(lambda: self.api.condition("Ready", name), within=2)
        return clock() - began

    @property
    def holder(self) -> str:
        return str(self.api.objects["Lease", "voice", "eventfed-operator"]["spec"]["holderIdentity"])

    @staticmethod
    async def until(condition: Callable[[], object], within: float = 40.0) -> float:
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return asyncio.get_running_loop().time() - began


def question(method: str, path: str, query: dict[str, str], *_: Any) -> tuple[str, str]:
    """What is asked for, whether as a list or as a watch."""
    return f"{method} {path}", query.get("labelSelector", "")


@pytest.mark.long
@pytest.mark.parametrize("name", REFUSALS)
async def test_an_api_server_that_refuses_is_asked_seldom_and_acted_on_when_it_does_not(
    name: str, api: Any, tmp_path: Path, measure: Measure
) -> None:
    asked: Counter[tuple[str, str]] = Counter()
    again = 0.0

    async def story(process: Process) -> None:
        nonlocal again
        await asyncio.sleep(1)
        process.server.refuse_everything(all_but_leases(REFUSALS[name]))
        before = len(process.server.asked)
        await asyncio.sleep(SECONDS)
        refused = [one for one in process.server.asked[before:] if "watch" in one[2] or not name.startswith("watches")]
        asked.update(question(*one) for one in refused if not one[1].startswith(LEASE))
        process.server.accept()
        again = await process.acts_on("later")

    process = Process(api, Server(api), tmp_path)
    await process.run(story)
    measure(f"API server refuses with {name}: requests in 10 s", asked.total(), "requests")
    measure(f"API server refused with {name}, a change is acted on", again)
    assert again < 40
    assert process.holder == ""
    # The first of each question cannot know; all that follow are one a second at most, and fewer later.
    assert name.startswith("watches") or asked.total() - len(asked) <= SECONDS, asked
    assert all(count <= SECONDS / 2 for count in asked.values()), asked
    assert "Traceback" not in process.errors, process.errors
    assert len(process.errors.splitlines()) < 100


async def test_an_api_server_that_names_a_time_is_not_asked_before(api: Any, tmp_path: Path) -> None:
    asked: defaultdict[str, list[float]] = defaultdict(list)

    def refuse(request: web.Request) -> web.StreamResponse:
        asked[request.headers["User-Agent"]].append(asyncio.get_running_loop().time())
        return status(429, **{"Retry-After": "2"})(request)

    async def story(process: Process) -> None:
        process.server.refuse_everything(all_but_leases(refuse))
        await asyncio.sleep(6)
        process.server.accept()

    await Process(api, Server(api), tmp_path).run(story)
    assert len(asked) == 2, "kopf, and the operator's own requests"
    for times in asked.values():
        # What was under way when the first answer came is asked for no second time.
        pauses = [after - before for before, after in pairwise(times) if after - times[0] > 0.5]
        assert pauses
        assert min(pauses) > 1.9, times


@pytest.mark.parametrize("code", [401, *(pytest.param(code, marks=pytest.mark.long) for code in (403, 500))])
async def test_an_api_server_that_refuses_everything_for_four_seconds_ends_nothing(
    code: int, api: Any, tmp_path: Path
) -> None:
    """As kube-apiserver does for a moment while it starts, or cannot reach what checks tokens."""

    async def story(process: Process) -> None:
        process.server.refuse_everything(status(code))
        await asyncio.sleep(4)
        process.server.accept()
        assert await process.acts_on("later") < 20
        assert process.holder == "eventfed-operator-0"

    process = Process(api, Server(api), tmp_path)
    await process.run(story)
    assert process.holder == ""
    assert "Traceback" not in process.errors, process.errors
    assert "exception" not in process.errors


async def test_an_operator_that_loses_its_lease_ends_with_one_line(api: Any, tmp_path: Path) -> None:
    async def story(process: Process) -> None:
        process.server.refuse_everything(status(401))
        await process.ended(within=20)

    process = Process(api, Server(api), tmp_path)
    with pytest.raises(AssertionError):
        await process.run(story)
    last = [json.loads(line) for line in process.errors.splitlines()]
    assert [one["message"] for one in last if one["level"] == "error" and "kopf" not in one["logger"]] == [
        "Kubernetes API: Lease eventfed-operator could not be renewed for 10 s"
    ]
    assert "Traceback" not in process.errors


async def test_whatever_ends_the_operator_its_lease_is_given_back(
    api: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: Manager) -> None:
        await Process.until(lambda: ("Lease", "voice", "eventfed-operator") in api.objects)
        raise RuntimeError("a bug")

    monkeypatch.setattr(Manager, "run", fail)
    settings = ElectionSettings("eventfed-operator", "voice", "eventfed-operator-0")
    configuration = OperatorConfiguration(Settings("eventfed:1"), http=("127.0.0.1", 0), election=settings)
    with pytest.raises(ExceptionGroup):
        await run_operator(configuration)
    assert api.objects["Lease", "voice", "eventfed-operator"]["spec"]["holderIdentity"] == ""
