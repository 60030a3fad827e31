"""The examples are right, and documents tell of what there is."""

import configparser
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from eventfed.spec import VoicemailStorage
from eventfed_agent.configuration import AgentConfiguration, load_configuration, parse_configuration
from eventfed_agent.process.metrics import METRICS
from eventfed_operator.operator_metrics import METRICS as OPERATOR_METRICS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
GENERATED = {"reference/library.md", "reference/resource.md"}
"""Pages that exist in the site alone (docs/site/hooks.py)."""
EXAMPLE = ROOT / "examples" / "agent.toml"


def test_the_example_configuration_is_valid() -> None:
    configuration = load_configuration(EXAMPLE)
    assert [event.type for event in configuration.events] == ["mwi", "device_state"]
    assert configuration.events[0].voicemail_storage is VoicemailStorage.SEPARATE
    assert [member.name for member in configuration.members] == ["pbx-a"]


def test_every_setting_that_is_commented_out_is_one() -> None:
    section, known = AgentConfiguration.model_fields, {"federation": "federation", "nats": "nats", "agent": "agent"}
    fields: set[str] = set()
    for line in EXAMPLE.read_text().splitlines():
        if heading := re.fullmatch(r"\[+(\w+)\]+", line):
            annotation = section[known[heading[1]]].annotation if heading[1] in known else None
            assert annotation is None or (isinstance(annotation, type) and issubclass(annotation, BaseModel))
            fields = set(annotation.model_fields) if annotation is not None else set()
        elif fields and (commented := re.match(r"# (\w+) = ", line)):
            assert commented[1] in fields, line


def test_the_unit_starts_commands_that_exist() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "examples" / "eventfed-agent.service")
    assert unit["Service"]["ExecStart"].split()[1:] == ["agent", "--config", "/etc/eventfed/agent.toml"]
    assert unit["Service"]["ExecStartPre"].split()[1] == "validate"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", document.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith("https://") and target not in GENERATED:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_configuration_that_a_document_shows_is_valid(document: Path) -> None:
    for text in re.findall(r"```toml\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
        parse_configuration(text, document.name)


def test_every_metric_is_documented_from_the_code() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- metrics:begin -->\n(.*?)<!-- metrics:end -->", text, re.DOTALL)
    assert table is not None
    rows = "".join(f"| `{name}` | {description} |\n" for name, description in METRICS.items())
    assert table[1] == f"| metric | meaning |\n| --- | --- |\n{rows}"


def test_every_metric_of_the_operator_is_documented_from_the_code() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- operator-metrics:begin -->\n(.*?)<!-- operator-metrics:end -->", text, re.DOTALL)
    assert table is not None
    rows = "".join(f"| `{name}` | {description} |\n" for name, description in OPERATOR_METRICS.items())
    assert table[1] == f"| metric | meaning |\n| --- | --- |\n{rows}"


def test_no_document_tells_of_a_metric_that_does_not_exist() -> None:
    for document in [*DOCUMENTS, EXAMPLE]:
        for name in re.findall(
            r"\beventfed_(?!agent\b|cli\b|lab\b|operator\b)[a-z_]+", document.read_text(encoding="utf-8")
        ):
            assert name.removesuffix("_bucket") in METRICS.keys() | OPERATOR_METRICS, (document.name, name)
