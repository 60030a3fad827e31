"""An agent that notes in which turn of its event loop a message came in, and in which one it went out.

A program for `bench_latency.py`: `python tests/bench/traced_agent.py --trace FILE --config FILE`. What was noted is
written to the trace's file at the end, as JSON. Nothing of the agent is changed: its loop counts its
turns, and its sockets are listened in on. With `--calls` it also notes what the loop called, which costs time.
"""

import argparse
import asyncio
import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventfed_agent.process.run import run_agent

MARK = re.compile(rb"Custom:turns(\d+)")
"""The name of a device whose way is traced."""
_MOST = 1_000_000


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts its turns."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0

    def _run_once(self) -> None:
        self.turn += 1
        super()._run_once()  # type: ignore[misc]


class Trace:
    """What passed through the process's sockets, and what its loop called."""

    def __init__(self, loop: CountingLoop) -> None:
        self.notes: list[tuple[int, float, str, list[int]]] = []
        """Turn, time (``time.monotonic()``), where, and the numbers of the devices."""
        self.calls: list[tuple[int, str]] = []
        self._loop = loop

    def listen_in(self) -> None:
        """Note each piece of data that any socket takes or gives from now on, if it names a device of the `MARK`."""
        kind: Any = socket.socket
        for name, where in (("recv", "stream in"), ("recvfrom", "datagram in")):
            setattr(kind, name, self._noting_what_came(where, getattr(kind, name)))
        for name, where in (("send", "stream out"), ("sendto", "datagram out")):
            setattr(kind, name, self._noting_what_goes(where, getattr(kind, name)))

    def note_calls(self) -> None:
        """Note each callback that the loop runs from now on, by its turn."""
        kind: Any = asyncio.events.Handle
        run = kind._run

        def noting(handle: Any) -> None:
            if len(self.calls) < _MOST:
                self.calls.append((self._loop.turn, repr(handle)))
            run(handle)

        kind._run = noting

    def _noting_what_came(self, where: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any) -> Any:
            came = call(*args)
            self._note(where, came[0] if isinstance(came, tuple) else came)
            return came

        return noting

    def _noting_what_goes(self, where: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(sender: Any, data: Any, *args: Any) -> Any:
            self._note(where, data)
            return call(sender, data, *args)

        return noting

    def _note(self, where: str, data: Any) -> None:
        if (found := MARK.findall(data)) and len(self.notes) < _MOST:
            self.notes.append((self._loop.turn, time.monotonic(), where, sorted(set(map(int, found)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the agent's file")
    parser.add_argument("--trace", type=Path, required=True, help="where to write what was noted")
    parser.add_argument("--calls", action="store_true", help="note each callback as well")
    arguments = parser.parse_args()
    loop = CountingLoop()
    trace = Trace(loop)
    trace.listen_in()
    if arguments.calls:
        trace.note_calls()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(run_agent(arguments.config))
    arguments.trace.write_text(json.dumps({"notes": trace.notes, "calls": trace.calls}))


if __name__ == "__main__":
    main()
