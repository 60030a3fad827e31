"""Asterisk's configuration files, read as ``main/config.c`` reads them."""

import string
from collections.abc import Sequence
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventfed_cli._asterisk_files import AsteriskFile, read_asterisk_file


def read(**files: str) -> AsteriskFile:
    """Read ``main``; the other keyword arguments are files that it may include as ``<keyword>.conf``."""

    def source(name: str) -> Sequence[tuple[str, str]]:
        text = files.get(name.removesuffix(".conf"))
        return [] if text is None else [(name, text)]

    return read_asterisk_file("main.conf", source)


def settings_of(file: AsteriskFile) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(section.name, section.settings) for section in file.sections]


def test_sections_settings_and_comments() -> None:
    file = read(main="; a comment\n[a]\nkey = value ; said twice\n arrow => 1 = 2\n[b] ; and more\nempty =\n")
    assert settings_of(file) == [("a", [("key", "value"), ("arrow", "1 = 2")]), ("b", [("empty", "")])]
    assert file.problems == []


def test_an_escaped_semicolon_is_one() -> None:
    file = read(main="[a]\nuri = sip:x@10.0.0.1\\;transport=tcp ; but this goes\n")
    assert file.sections[0].get("uri") == "sip:x@10.0.0.1;transport=tcp"


def test_block_comments_end_where_they_should() -> None:
    file = read(main="[a]\none = 1 ;-- gone --; two\n;-- all\n[b]\n;-- nested --; still\n--;three = 3\n;--- a rule\n")
    assert settings_of(file) == [("a", [("one", "1  two"), ("three", "3")])]
    assert file.problems == []


def test_a_block_comment_without_end_is_told() -> None:
    assert read(main="[a]\n;-- begins\nkey = 1\n").problems == [
        "main.conf: a comment that begins with ;-- does not end"
    ]


def test_templates_are_inherited_in_their_order_and_the_last_value_counts() -> None:
    file = read(main="[t](!)\na = 1\nb = 1\n[u](!,t)\nb = 2\n[x](t,u)\nc = 3\n")
    (section,) = file.named("X")
    assert section.settings == [("a", "1"), ("b", "1"), ("a", "1"), ("b", "1"), ("b", "2"), ("c", "3")]
    assert (section.get("B"), section.all("a")) == ("2", ["1", "1"])
    assert not list(file.named("t"))


def test_an_addition_goes_to_the_first_section_of_that_name_and_kind() -> None:
    file = read(main="[x]\ntype = endpoint\n[x]\ntype = aor\n[x](+)\na = 1\n[x](+type=aor)\nb = 2\n")
    endpoint, aor = file.sections
    assert (endpoint.get("a"), aor.get("b"), aor.get("a")) == ("1", "2", "")
    assert [section.name for section in file.of_type("AOR")] == ["x"]


def test_plus_equals_appends_to_the_value() -> None:
    (section,) = read(main="[a]\nallow = ulaw\nallow += ,alaw\n").sections
    assert section.get("allow") == "ulaw,alaw"


def test_includes_stand_where_they_are_written() -> None:
    file = read(main='[a]\n#include "more.conf"\nlast = 1\n#tryinclude <absent.conf>\n', more="key = 1\n[b]\n")
    assert settings_of(file) == [("a", [("key", "1")]), ("b", [("last", "1")])]
    assert file.problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("#include absent.conf", "main.conf:1: absent.conf does not exist, or cannot be read"),
        ("#include main.conf", "main.conf:1: #include goes deeper than 10 files"),
        ("[a", "main.conf:1: [a has no closing bracket"),
        ("[global](+)\n", "main.conf:1: [global](+) adds to a section that does not exist"),
        ("[a](t)\n", "main.conf:1: [a] inherits from [t], which does not exist"),
        ("key = 1\n", "main.conf:1: key belongs to no section"),
        ("[a]\nnothing\n", "main.conf:2: nothing is neither a section nor a setting"),
        ("#frob x\n", "main.conf:1: #frob x is no directive"),
    ],
)
def test_what_asterisk_refuses_is_told_with_its_place(text: str, problem: str) -> None:
    assert read(main=text).problems == [problem]


def test_a_program_is_not_run_but_told() -> None:
    file = read(main="[a]\n#exec /bin/true\nkey = 1\n")
    assert file.unread == ["main.conf:2: #exec is not run here"]
    assert file.problems == []


def test_a_missing_file_is_told() -> None:
    assert read().problems == ["main.conf: main.conf does not exist, or cannot be read"]


NAMES = st.text(string.ascii_letters + string.digits + "_-@.", min_size=1, max_size=12)
VALUES = st.text(string.ascii_letters + string.digits + " :/@,.\\()[]<>;=", max_size=30).map(str.strip)
SECTIONS = st.lists(st.tuples(NAMES, st.lists(st.tuples(NAMES, VALUES), max_size=5)), max_size=6)


def _clean(value: str) -> str:
    """A value that can be written so that it is read back: blanks around it and backslashes are the format's own."""
    return value.replace("\\", "/").strip()


def _written(sections: list[tuple[str, list[tuple[str, str]]]]) -> str:
    lines = []
    for name, entries in sections:
        lines.append(f"[{name}]")
        lines += [f"{key} = {_clean(value)}".replace(";", "\\;") for key, value in entries]
    return "\n".join(lines)


@given(SECTIONS)
@example([("a", [("arrow", ">"), ("arrows", ">>")])])
@settings(max_examples=200)
def test_what_is_written_is_read_back(sections: list[tuple[str, list[tuple[str, str]]]]) -> None:
    file = read(main=_written(sections))
    expected = [(name, [(key, _clean(value)) for key, value in es]) for name, es in sections]
    assert settings_of(file) == expected
    assert file.problems == []


@given(SECTIONS, SECTIONS)
@settings(max_examples=200)
def test_an_included_file_reads_as_if_it_stood_there(
    before: list[tuple[str, list[tuple[str, str]]]], after: list[tuple[str, list[tuple[str, str]]]]
) -> None:
    first, second = _written(before), _written(after)
    included = read(main=f"{first}\n#include rest.conf", rest=second)
    assert settings_of(included) == settings_of(read(main=f"{first}\n{second}"))


HEADERS = ("[a]", "[b](!)", "[c](a,b)", "[a](+)", "[a](+type=x)", "[", "](")
DIRECTIVES = ("#include main.conf", "#tryinclude other.conf", "#exec x")
SIGNS = ("key = value", "type = x", ";--", "--;", "\\;", ";", "=", "+=", "=>", " ", "\t", "\x00", "é", "\r")
PIECES = st.sampled_from((*HEADERS, *DIRECTIVES, *SIGNS))


@pytest.mark.parser
@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=25), st.sampled_from(["\n", "", "\r\n"]))
def test_no_file_whatever_raises(pieces: list[str], joint: str) -> None:
    text = joint.join(pieces)
    # A file that includes itself twice is read up to that limit, which would take seconds each time.
    with patch("eventfed_cli._asterisk_files._MOST_LINES", 500):
        file = read(main=text, other=text[::-1])
    assert all(isinstance(section.get("type"), str) for section in file.sections)
