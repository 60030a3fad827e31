"""An adapter to servers that exist in this process alone."""

from eventfed import EID, DeviceState, Event, EventType
from eventfed_agent.adapter import Adapter, AdapterFactory, AdapterOutcome, Delivery, Host, Premises
from eventfed_agent.configuration import MemberConfiguration

__all__ = ["Toy", "ToyServer"]


class ToyServer(Adapter):
    lanes = 1

    def __init__(self, name: str) -> None:
        self.eid = EID.derive(name)
        self.own: dict[str, Event] = {}
        self.given: dict[str, DeviceState] = {}
        self._host: Host | None = None

    def attach(self, host: Host) -> None:
        self._host = host

    def detach(self) -> None:
        self._host = None

    def set_device(self, name: str, state: DeviceState) -> None:
        self.own[name] = Event.device(name, state, self.eid)
        self._tell(self.own[name])

    def _tell(self, event: Event) -> None:
        if self._host is not None and self._host.open and self._host.identified(self.eid) and self._host.spoke():
            self._host.heard(event)

    async def inject(self, event: Event, lane: int) -> AdapterOutcome:
        self.given[event.key] = event.device_state
        return AdapterOutcome(Delivery.ACCEPTED)

    async def request_dump(self, kind: EventType) -> AdapterOutcome:
        for event in list(self.own.values()):
            self._tell(event)
        return AdapterOutcome(Delivery.ACCEPTED)

    async def probe(self, event: Event) -> AdapterOutcome:
        self._tell(event)
        return AdapterOutcome(Delivery.ACCEPTED)

    async def is_alive(self, within: float) -> bool:
        return True


class Toy(AdapterFactory):
    def __init__(self, premises: Premises) -> None:
        self.servers: dict[str, ToyServer] = {}

    def serves(self, member: MemberConfiguration) -> bool:
        return member.name.startswith("toy")

    def make(self, member: MemberConfiguration) -> Adapter:
        return self.servers.setdefault(member.name, ToyServer(member.name))
