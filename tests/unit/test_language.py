"""The language of the repository: plain technical English, and documents that wrap at 100 columns."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("agent", "charts", "cli", "docs", "events", "examples", "lab", "operator", "release", "tests")
KINDS = {".md", ".py", ".sh", ".tpl", ".txt", ".toml", ".yaml"}
MADE = ("build", "dist", "node_modules", "__pycache__")
FORBIDDEN = (
    r"(?:\b|_)for[ _]ever(?:\b|_)",
    r"(?:\b|_)anew(?:\b|_)",
    r"\bof ours\b",
    r"\bwhoever\b",
    r"\bthat is none\b",
    r"\blet be\b",
    r"\bof (?:no )?use\b",
)
PATTERN = re.compile("|".join(FORBIDDEN), re.IGNORECASE)
COLUMNS = 100
WHOLE = re.compile(r"\s*(?:\||!\[|(?:\* )?(?:[^`]{0,40}`[^`]*`|[^ ]+)[,.;]?$)")
"""A row of a table, a picture, or a line that one word or code span makes long."""


def texts() -> Iterator[Path]:
    """Code and documents, without what is made of them and without this list."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            parts = path.relative_to(ROOT).parts
            if path.suffix in KINDS and path.is_file() and path != Path(__file__) and not set(MADE) & set(parts):
                yield path
    yield from sorted(ROOT.glob("*.md"))


def documents() -> list[Path]:
    return [path for path in texts() if path.suffix == ".md" and path.relative_to(ROOT).parts[0] in ("charts", "docs")]


def too_long(text: str) -> list[int]:
    """The numbers of the lines that are too long; indented code, tables, code blocks and pictures may be."""
    found, fenced = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif len(line) > COLUMNS and not fenced and not WHOLE.match(line) and not line.startswith("    "):
            found.append(number)
    return found


@pytest.mark.parametrize(
    "line",
    [
        "it is made anew",
        "def report_for_ever()",
        "An ETag of ours",
        "Whoever asks",
        "a port that is none",
        "are let be",
    ],
)
def test_each_phrase_of_the_list_is_found(line: str) -> None:
    assert PATTERN.search(line)


def test_no_text_uses_a_forbidden_phrase() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if PATTERN.search(line)
    ]
    assert found == []


def test_a_long_line_is_found_but_in_tables_and_code() -> None:
    long = "word " * 30
    assert too_long(f"{long}\n| {long} |\n```\n{long}\n```\n* {long}\n") == [1, 6]


def test_documents_wrap_at_100_columns() -> None:
    paths = [*documents(), *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"))]
    found = [f"{path.relative_to(ROOT)}:{number}" for path in paths for number in too_long(path.read_text("utf-8"))]
    assert found == []
