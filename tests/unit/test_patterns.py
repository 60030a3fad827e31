"""Regular expressions for names mean in the agent what they mean in Asterisk, which asks the C library."""

import ctypes
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from eventfed.model.patterns import MAX_PATTERN, PatternError, compile_pattern
from eventfed.spec import EventSpec

_EXTENDED, _ICASE, _NOSUB = 1, 2, 8


class _Regex(ctypes.Structure):
    """Room for a ``regex_t``."""

    _fields_ = [("room", ctypes.c_char * 256)]


def asterisk_finds(pattern: str, name: str) -> bool | None:
    """What ``build_regex`` and ``regexec`` of ``res_pjsip_publish_asterisk.c`` answer; None for a refused pattern."""
    libc, regex = ctypes.CDLL(None), _Regex()
    if libc.regcomp(ctypes.byref(regex), pattern.encode(), _EXTENDED | _ICASE | _NOSUB):
        return None
    try:
        return bool(libc.regexec(ctypes.byref(regex), name.encode(), 0, None, 0) == 0)
    finally:
        libc.regfree(ctypes.byref(regex))


PIECES = st.sampled_from(
    [
        *"aAbZ19/:@-_ .^$|()[]*+?{},\\",
        *("{2}", "{1,2}", "{,2}", "[a-c]", "[^a]", "[]a]", "[[:alpha:]]", "(?i)", "\\d", "\\.", "\\/", "\\|"),
        *("(a|b)", "PJSIP/", "^(", ")$", "x*", "[\\.]", "[a-]", "[z-a]", "\\1", "*?", "++", "\\<"),
    ]
)


@given(st.lists(PIECES, min_size=1, max_size=8).map("".join), st.text("aAbBzZ129/:@-_.xX |^${}[]\\", max_size=8))
@example("^(PJSIP|SIP)[/:]", "pjsip/1001")
@example("a$", "a\n")
@example("a.b", "a\nb")
@example("x^|$y", "xy")
def test_what_is_accepted_means_the_same_to_asterisk(pattern: str, name: str) -> None:
    try:
        compiled = compile_pattern(pattern)
    except PatternError:
        assume(False)
        return
    assert (compiled.search(name) is not None) is asterisk_finds(pattern, name), (pattern, name)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"^PJSIP/\d+$", r"Asterisk has no \\d; write \[0-9\]"),
        (r"\w", r"write \[A-Za-z0-9_\]"),
        (r"\bx", r"leave the backslash out"),
        (r"(a)\1", "refers to a group"),
        (r"a\ b", "leave the backslash out"),
        ("a\\", "backslash"),
        ("(?i)pjsip", "case is ignored"),
        ("^(?!Queue:)", "use exclude"),
        ("(?:a)", r"write \( alone"),
        ("a*?", r"\? repeats nothing"),
        ("a++", r"\+ repeats nothing"),
        ("*", r"\* repeats nothing"),
        ("(*a)", r"\* repeats nothing"),
        ("^*", r"\* repeats nothing"),
        ("a{2", r"\{ begins no repetition"),
        ("a{,2}", r"\{ begins no repetition"),
        ("a{3,2}", "is no repetition"),
        ("a{256}", "at most 255"),
        ("[[:alpha:]]", "write the characters"),
        (r"[\d]", "backslash in a set"),
        ("[é]", "write alternatives"),
        ("[a[b]", "outside of it"),
        ("[a--b]", "outside of it"),
        ("[z-a]", "runs backwards"),
        ("[a-c-e]", "end of the set"),
        ("[a", "is not closed"),
        ("[]", "is not closed"),
        ("(a", "is not closed"),
        ("a)", "has no beginning"),
        ("()", "is empty"),
        ("a|", "is empty"),
        ("|a", "is empty"),
        ("(a||b)", "is empty"),
        ("a\0b", "NUL"),
        ("", "1 to 256 characters"),
        ("a" * (MAX_PATTERN + 1), "1 to 256 characters"),
    ],
)
def test_what_asterisk_or_python_would_not_read_is_refused_with_what_to_write(pattern: str, message: str) -> None:
    with pytest.raises(PatternError, match=message) as caught:
        compile_pattern(pattern)
    assert len(str(caught.value)) < 500
    if 0 < len(pattern) <= MAX_PATTERN:
        with pytest.raises(ValueError, match=message):
            EventSpec.model_validate({"type": "device_state", "exclude": [pattern]})


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "^(a+)+$",
        "(a*)*b",
        ".*.*.*x",
        "^.*.*.*x",
        "(a|aa)+$",
        "^(a?){40}b",
        "a?" * 30 + "a{30}",
        "(.*-)+x",
        "(x+x+)+y",
        "^(ab|a|b){2,}c",
        ".*a.*b.*c",
        "^PJSIP/(([0-9]+-?)+)$",
    ],
)
def test_a_pattern_that_could_take_seconds_for_one_name_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match=r"busy for seconds with one long name: begin it with \^"):
        compile_pattern(pattern)
    with pytest.raises(ValueError, match="busy for seconds"):
        EventSpec.model_validate({"type": "device_state", "include": [pattern]})


@pytest.mark.parametrize(
    "pattern",
    [
        "^(PJSIP|SIP|IAX2|SCCP)[/:]",
        "^PJSIP/.*-.*-x?$",
        ".*lamp.*",
        "^Custom:(DND|CF|CFU|CFB)[0-9]+$",
        "^Custom:(ä|ö|ü)+$",
        "^(PJSIP|SIP)/[0-9]{2,6}(-[a-z]+)?$",
        "@(default|sales)$",
        "^PJSIP/([0-9a-f][0-9a-f]:){5}[0-9a-f]+$",
        "|".join(f"^PJSIP/{number}[0-9]*" for number in range(12)),
    ],
)
def test_a_pattern_as_people_write_them_is_accepted(pattern: str) -> None:
    assert compile_pattern(pattern)


def test_names_of_other_characters_than_ascii_are_compared_as_characters() -> None:
    assert compile_pattern("^Custom:t.r$").search("custom:tür")
    assert compile_pattern("^Custom:(ä|ü)+$").search("Custom:äüä")


def test_a_pattern_may_have_everything_that_both_have() -> None:
    pattern = r"^(PJSIP|SIP)[/:][^a-c.]+x?(y{2}|y{3,}|y{4,5})\.\$\/@\|$"
    assert compile_pattern(pattern).search("sip/dexyy.$/@|")
    assert asterisk_finds(pattern, "sip/dexyy.$/@|") is True
    assert re.compile(pattern, re.IGNORECASE).search("sip/dexyy.$/@|")
