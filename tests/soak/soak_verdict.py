"""What was found: whatever no change asked for, what is wrong at the end, and what grows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from soak_bus import ASKED_FOR
from soak_figures import MEBIBYTE, Counts, Reading
from soak_growth import FEWEST_SAMPLES, Growth, Series, growth

__all__ = ["Minute", "Phase", "unasked"]

SWEEP_EARLIEST = 0.9 * 3600
"""Seconds after which a member is asked for all its states without any evidence, at the earliest (`[timing] sweep`)."""


@dataclass(frozen=True, slots=True)
class Minute:
    """A minute of a phase, the last one perhaps shorter."""

    number: int
    began: Reading
    ended: Reading

    @property
    def counts(self) -> Counts:
        return self.ended.counts.since(self.began.counts)

    def processor(self, kind: str) -> float:
        """Per cent of a core that all processes of one kind used together."""
        used = sum(
            figures.processor_seconds - self.began.processes[name].processor_seconds
            for name, figures in self.ended.processes.items()
            if name.startswith(kind)
        )
        return 100 * used / (self.ended.at - self.began.at)


@dataclass(slots=True)
class Phase:
    """One of idle and load, with all that was read in it."""

    name: str
    servers: int
    sweeps_allowed: int = 0
    """How many dumps may be made without any evidence."""
    readings: list[Reading] = field(default_factory=list)
    minutes: list[Minute] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.readings[-1].at - self.readings[0].at

    @property
    def counts(self) -> Counts:
        """Over the whole phase."""
        return self.readings[-1].counts.since(self.readings[0].counts)

    def seen(self, minute: Minute) -> list[str]:
        """What was seen in a minute that only a change brings about."""
        return [what for one in self.readings if minute.began.at < one.at <= minute.ended.at for what in one.seen]

    def until(self, minute: Minute) -> Counts:
        """From the phase's begin to the minute's end."""
        return minute.ended.counts.since(self.readings[0].counts)

    def end_minute(self) -> Minute:
        """What was read since the last minute's end is a minute."""
        began = self.minutes[-1].ended if self.minutes else self.readings[0]
        minute = Minute(len(self.minutes) + 1, began, self.readings[-1])
        self.minutes.append(minute)
        return minute

    def findings(self) -> list[str]:
        """Everything that makes the soak fail, a line each; empty if it held."""
        found: list[str] = []
        for minute in self.minutes:
            lines = unasked(self, minute)
            found += [f"{self.name}, minute {minute.number}: {line}" for line in lines]
            if lines and (seen := self.seen(minute)):
                found.append(f"{self.name}, minute {minute.number}: seen last: {', '.join(seen[-4:])}")
        found += [f"{self.name}, at the end: {line}" for line in self.wrong]
        for one in self.growths():
            if one.exceeded:
                found.append(
                    f"{self.name}: {one.figure} of {one.process} rose by {one.rise:.1f} in the second half, "
                    f"{one.an_hour:.1f} an hour; at most {one.bound:.1f} is no growth"
                )
        return found

    def growths(self) -> list[Growth]:
        """What the second half says of each series that is long enough."""
        return [one for series in self.series() if (one := growth(series)) is not None]

    @property
    def too_short(self) -> bool:
        """Whether nothing can be said of growth."""
        return len(self.readings) < 2 * FEWEST_SAMPLES

    def series(self) -> list[Series]:
        """Each figure of each process over the phase."""
        result = []
        for name in self.readings[0].processes:
            of_process = [(one.at, one.processes[name]) for one in self.readings]
            figures: Mapping[str, list[tuple[float, float]]] = {
                "resident_mib": [(at, figures.resident_bytes / MEBIBYTE) for at, figures in of_process],
                "descriptors": [(at, float(figures.descriptors)) for at, figures in of_process],
                "threads": [(at, float(figures.threads)) for at, figures in of_process],
            }
            result += [Series(name, figure, tuple(samples)) for figure, samples in figures.items()]
        for name in self.readings[0].tasks:
            tasks = tuple((one.at, float(one.tasks[name])) for one in self.readings)
            result.append(Series(name, "tasks", tasks))
        return result


def unasked(phase: Phase, minute: Minute) -> list[str]:
    """What happened in a minute that no change asked for, in words.

    A change of a device asks for one message on the bus and for one injection into each other server; one of a mailbox
    for a message and for one injection into each server, its own too, whose slot has its own counts alone now. As a
    value may be on its way at the end of a minute, all is counted from the phase's begin.
    """
    now, so_far = minute.counts, phase.until(minute)
    found = []
    if now.asked:
        found.append(f"{_sum(now.asked)} dumps were asked for ({_list(now.asked)})")
    if now.dumps > 0 and not now.asked and so_far.dumps > phase.sweeps_allowed:
        found.append(f"{now.dumps} dumps were made without a reason, and no sweep is due")
    devices, mailboxes = so_far.bus["device states"], so_far.bus["mailbox states"]
    allowed = (phase.servers - 1) * devices + phase.servers * mailboxes
    if any(count < 0 for count in now.injected.values()):
        found.append("a server's injections were counted from the beginning again: it was identified again")
    elif now.injected and _sum(so_far.injected) > allowed:
        found.append(
            f"{_sum(now.injected)} injections ({_list(now.injected)}); "
            f"{_sum(so_far.injected)} since the phase began, at most {allowed} were asked for"
        )
    if now.bus["device states"] and devices > so_far.device_changes:
        found.append(f"{devices} device states on the bus since the phase began, of {so_far.device_changes} changes")
    if now.bus["mailbox states"] and mailboxes > so_far.mailbox_changes:
        found.append(
            f"{mailboxes} mailbox states on the bus since the phase began, of {so_far.mailbox_changes} changes"
        )
    others = {kind: now.bus[kind] for kind in ASKED_FOR[2:] if now.bus[kind]}
    if others:
        found.append(f"on the bus: {_list(others)}")
    if now.announced and not so_far.device_changes + so_far.mailbox_changes:
        found.append(f"the servers announced {now.announced} states to their modules")
    if now.notified and not so_far.mailbox_changes:
        found.append(f"lamps were told {now.notified} times")
    if now.faults:
        found.append(f"agents counted {_list(now.faults)}")
    return found


def _sum(counts: Mapping[str, int]) -> int:
    return sum(counts.values())


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
