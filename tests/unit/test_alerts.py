"""The chart's alerts: what makes each fire, and that each leads to a heading of the document on operations.

Scrapes are what operator and agent expose. What it looks after is set here; tests/api has a real one, and
tests/bus/test_agent_alerts.py real agents.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from eventfed_operator.crd.status import Condition, ConditionType, EventFederationStatus
from eventfed_operator.health import Health
from eventfed_operator.manager import Manager
from eventfed_operator.operator_metrics import METRICS, render_metrics
from eventfed_operator.reconciler import ReconcilerCounters, Seen
from eventfed_operator.snapshot import Stream
from tests.ground.alert_rules import Scrape, firing, seconds

ROOT = Path(__file__).resolve().parents[2]
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / "charts/eventfed/files/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


class Operator:
    """What an operator looks after, as its metrics see it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.health = Health(leading=True)
        self.counters = ReconcilerCounters()
        self.reconciler = SimpleNamespace(
            seen=Seen(self.now, status(), Stream("voice/pbx", {"max_bytes": 1_000_000}, 5, 1_000))
        )

    def scrape(self) -> str:
        supervisor = SimpleNamespace(
            health=self.health, counters=self.counters, reconcilers={("voice", "pbx"): self.reconciler}
        )
        return render_metrics(cast(Manager, supervisor), lambda: self.now).decode()


def status(**statuses: str) -> EventFederationStatus:
    """Of a federation where all is well, but for some conditions."""
    every = {one.value: "False" if one is ConditionType.STALLED else "True" for one in ConditionType} | statuses
    return EventFederationStatus(
        conditions=tuple(
            Condition.model_validate(
                {
                    "type": kind,
                    "status": value,
                    "reason": "Reason",
                    "message": "",
                    "observedGeneration": 1,
                    "lastTransitionTime": "2026-03-01T11:00:00Z",
                }
            )
            for kind, value in every.items()
        )
    )


def without_leader(operator: Operator) -> None:
    operator.health.leading = False


def refused(operator: Operator) -> None:
    operator.counters.failures += 2


def stands(operator: Operator) -> None:
    operator.reconciler.seen.at = operator.now - 301


def not_ready(operator: Operator) -> None:
    operator.reconciler.seen.status = status(Ready="False")


def not_known(operator: Operator) -> None:
    operator.reconciler.seen.status = status(Ready="Unknown")


def stalled(operator: Operator) -> None:
    operator.reconciler.seen.status = status(Stalled="True")


def without_nats(operator: Operator) -> None:
    operator.reconciler.seen.status = status(BusReachable="False")


def nearly_full(operator: Operator) -> None:
    operator.reconciler.seen.stream = Stream("voice/pbx", {"max_bytes": 1_000_000}, 5, 800_001)


FAULTS = [
    ("EventfedOperatorWithoutLeader", without_leader),
    ("EventfedOperatorFails", refused),
    ("EventfedOperatorStands", stands),
    ("EventfedFederationNotReady", not_ready),
    ("EventfedFederationNotReady", not_known),
    ("EventfedFederationStalled", stalled),
    ("EventfedNatsUnreachable", without_nats),
    ("EventfedStreamNearlyFull", nearly_full),
]


def over_time(operator: Operator, fault: Any, length: float, pause: float = 30.0) -> Iterator[Scrape]:
    """Scrapes of an operator to which something happens before each but the first."""
    begin = operator.now
    while True:
        yield operator.now, operator.scrape()
        if operator.now - begin >= length:
            return
        operator.now += pause
        operator.reconciler.seen.at = operator.now
        fault(operator)


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=lambda one: one if isinstance(one, str) else one.__name__)
def test_an_alert_of_the_operator_fires_once_its_fault_has_lasted(name: str, fault: Any) -> None:
    rule = RULES[name]
    pending = seconds(rule.get("for", "0s"))
    # Of increases, as many have to be seen within the window as the rule asks for.
    scrapes = list(over_time(Operator(), fault, pending + 120))
    assert firing(rule, scrapes)
    before = [one for one in scrapes if one[0] <= scrapes[0][0] + pending]
    assert not firing(rule, before), "not before its time"
    labels = firing(rule, scrapes)[0]
    if "resource" in str(rule["annotations"]):
        assert (labels["resource_namespace"], labels["resource"]) == ("voice", "pbx")


@pytest.mark.parametrize("name", sorted({name for name, _ in FAULTS}))
def test_no_alert_of_the_operator_fires_where_all_is_well(name: str) -> None:
    assert not firing(RULES[name], list(over_time(Operator(), lambda _: None, 1200)))


def test_a_stream_without_a_limit_has_none_in_its_metrics() -> None:
    operator = Operator()
    operator.reconciler.seen.stream = Stream("voice/pbx", {"max_bytes": -1}, 5, 10**9)
    assert "eventfed_stream_bytes{" in operator.scrape()
    assert "eventfed_stream_limit_bytes{" not in operator.scrape()


def test_every_metric_of_the_operator_is_there_and_those_of_the_process() -> None:
    text = Operator().scrape()
    assert not [name for name in METRICS if f"\n{name}" not in text and "actions" not in name]
    assert re.search(r'^eventfed_build_info\{python="3\.[0-9.]+",version="[0-9.]+"\} 1\.0$', text, re.MULTILINE)
    assert re.search(r"^process_resident_memory_bytes [0-9.e+]+$", text, re.MULTILINE)
    assert 'type="Ready"} 1.0' in text.replace('status="True",', "")


@pytest.mark.parametrize("name", RULES)
def test_an_alert_leads_to_a_heading_that_says_what_it_means(name: str) -> None:
    rule = RULES[name]
    anchor = rule["annotations"]["runbook_url"].removeprefix("RUNBOOKS#")
    headings = {
        re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-"): one
        for one in re.findall(r"^#+ (.*)$", OPERATIONS, re.MULTILINE)
    }
    assert headings[anchor] == name
    section = OPERATIONS.partition(f"#### {name}\n")[2].partition("\n#")[0]
    pending = f"For {rule['for'].removesuffix('m')} min" if "for" in rule else "At once"
    assert section.strip().startswith(f"{pending}, {rule['labels']['severity']}: `{rule['expr']}`")
    _, _, meaning = section.strip().partition("\n\n")
    assert len(meaning.split()) > 8


def test_the_document_tells_of_no_alert_that_does_not_exist() -> None:
    assert re.findall(r"^#### (Eventfed\w+)$", OPERATIONS, re.MULTILINE) == list(RULES)


@pytest.mark.parametrize(
    ("expression", "scrapes", "fires"),
    [
        ("increase(a_total[1m]) > 0", ["a_total 1", "a_total 1", "a_total 2"], True),
        ("increase(a_total[1m]) > 0", ["a_total 1", "a_total 2", "a_total 2", "a_total 2", "a_total 2"], False),
        ("increase(a_total[1m]) > 0", ["", "", "a_total 5"], False),
        ("sum(a) == 0", ['a{b="1"} 0\na{b="2"} 0'], True),
        ("sum(a) == 0", ['a{b="1"} 0\na{b="2"} 1'], False),
        ("sum(a) == 0", [""], False),
        ('a{b="1"} == 1', ['a{b="1"} 1'], True),
        ('a{b="1"} == 1', ['a{b="2"} 1'], False),
        ("a / b > 0.5", ['a{x="1"} 6\nb{x="1"} 10'], True),
        ("a / b > 0.5", ['a{x="1"} 6\nb{x="2"} 10'], False),
        ("max by (x) (a) == 1", ['a{x="1",y="1"} 0\na{x="1",y="2"} 1'], True),
        ("max by (x) (a) == 1 unless on (x) b == 0", ['a{x="1"} 1\nb{x="1"} 1'], True),
        ("max by (x) (a) == 1 unless on (x) b == 0", ['a{x="1"} 1\nb{x="1"} 0'], False),
        ("max by (x) (a) == 1 unless on (x) b == 0", ['a{x="1"} 1\nb{x="2"} 0'], True),
        ("max_over_time(a[1m]) == 0", ["a 1", "a 0"], False),
        ("max_over_time(a[1m]) == 0", ["a 1", "a 0", "a 0"], True),
    ],
)
def test_expressions_mean_what_prometheus_means_by_them(expression: str, scrapes: list[str], fires: bool) -> None:
    recorded = [(30.0 * index, f"{text}\n") for index, text in enumerate(scrapes)]
    assert bool(firing({"expr": expression}, recorded)) is fires


def test_an_expression_of_another_form_is_refused() -> None:
    for expression in ("rate(a[5m]) > 0", "a", "a unless b == 0"):
        with pytest.raises(NotImplementedError):
            firing({"expr": expression}, [(0.0, "a 1\n")])
