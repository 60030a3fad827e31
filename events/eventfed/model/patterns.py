"""The regular expressions that choose names: those that Asterisk and Python read alike.

Asterisk compiles its filters with ``regcomp(REG_EXTENDED | REG_ICASE | REG_NOSUB)``
(``build_regex`` in ``res/res_pjsip_publish_asterisk.c``): POSIX extended syntax, without case. Python has other syntax
and compares case. So a pattern is checked here against what both have in common, and is then compiled with Asterisk's
meaning. What one of the two would refuse, or read in another way, is refused with what to write instead.
"""

import re
from functools import lru_cache

from .errors import EventfedError

__all__ = ["MAX_PATTERN", "PatternError", "compile_pattern"]

MAX_PATTERN = 256
"""In characters."""

_MOST_REPEATS = 255
"""``RE_DUP_MAX`` that POSIX guarantees (``limits.h``)."""
_ESCAPABLE = frozenset(r""".[]()*+?{}^$|\/:-@#_&%,"!=~;""")
_INTERVAL = re.compile(r"\{(\d{1,5})(,(\d{1,5})?)?\}", re.ASCII)
_SHORTHANDS = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "w": "[A-Za-z0-9_]",
    "W": "[^A-Za-z0-9_]",
    "s": "a blank",
    "S": "[^ ]",
    "A": "^",
    "Z": "$",
}
_AMBIGUOUS_IN_SET = ("--", "&&", "~~", "||")


class PatternError(EventfedError, ValueError):
    """A regular expression that Asterisk and Python do not read alike, or one that is not valid; says what to write."""


@lru_cache(maxsize=1024)
def compile_pattern(text: str) -> re.Pattern[str]:
    """A pattern to be searched for in names, with Asterisk's meaning: letters of both cases are the same.

    Args:
        text: POSIX extended syntax as Python has it too: ``. [] [^] ^ $ | () * + ? {2} {2,} {2,5}``, and a backslash
            before one of these characters.

    Raises:
        PatternError: for anything else.
    """
    if not 0 < len(text) <= MAX_PATTERN:
        raise PatternError(f"{text!r:.60}: a regular expression has 1 to {MAX_PATTERN} characters")
    if "\0" in text:
        raise PatternError(f"{text!r:.60}: a regular expression must not hold NUL")
    translated = _Translation(text).run()
    try:
        return re.compile(translated, re.IGNORECASE | re.DOTALL | re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(f"{text!r} is no regular expression: {error}") from None


class _Translation:
    """Reads a pattern once, from left to right; what it makes is Python's."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._made: list[str] = []
        self._repeatable = False
        """Whether what stands before may be followed by a repetition."""
        self._empty = True
        """Whether the alternative that is being read has nothing yet."""
        self._groups = 0

    def run(self) -> str:
        while self._at < len(self._text):
            self._step(self._text[self._at])
        if self._groups:
            raise self._error("a bracket ( is not closed", "close it, or write \\( for the character")
        if self._empty:
            raise self._error("an alternative is empty", "remove the | or what follows it")
        return "".join(self._made)

    def _step(self, character: str) -> None:
        match character:
            case "\\":
                self._escape()
            case "[":
                self._set()
            case "(":
                self._open()
            case ")":
                self._close()
            case "|":
                self._alternative()
            case "*" | "+" | "?" | "{":
                self._repeat(character)
            case "^" | "$":
                # Python's $ would let a line's end pass.
                self._take(1, "^" if character == "^" else r"\Z", repeatable=False)
            case ".":
                self._take(1, ".")
            case _:
                self._take(1, re.escape(character))

    def _take(self, length: int, made: str, *, repeatable: bool = True) -> None:
        self._at += length
        self._made.append(made)
        self._repeatable, self._empty = repeatable, False

    def _escape(self) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        if following in _ESCAPABLE and following:
            self._take(2, re.escape(following))
            return
        instead = _SHORTHANDS.get(following)
        if instead is not None:
            raise self._error(f"Asterisk has no \\{following}", f"write {instead}")
        if following.isdigit():
            raise self._error(f"\\{following} refers to a group", "write out what it stands for")
        raise self._error(f"\\{following} is not read alike by Asterisk and Python", "leave the backslash out")

    def _set(self) -> None:
        """``[...]``: a backslash is an ordinary character in Asterisk's, and an escape in Python's."""
        text, begin = self._text, self._at
        end = begin + (2 if text.startswith("[^", begin) else 1)
        end = text.find("]", end + 1)
        if end < 0:
            raise self._error("a set [ is not closed", "close it with ], or write \\[ for the character")
        inside = text[begin + 1 : end].removeprefix("^")
        if any(opening in inside for opening in ("[:", "[.", "[=")):
            raise self._error("Python has no character classes [[:…:]]", "write the characters, such as [A-Za-z0-9]")
        if "\\" in inside:
            raise self._error("a backslash in a set is not read alike", "put \\ outside of the set: (\\\\|[abc])")
        if not inside.isascii():
            raise self._error("a set holds other characters than ASCII", "write alternatives: (ä|ö)")
        if "[" in inside or any(pair in inside for pair in _AMBIGUOUS_IN_SET):
            raise self._error("a set holds [, --, &&, ~~ or ||", "write such characters outside of it: (\\[|[abc])")
        self._check_ranges(inside)
        self._take(end + 1 - begin, text[begin : end + 1])

    def _check_ranges(self, inside: str) -> None:
        at = 0
        while at < len(inside):
            if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside):
                if inside[at] > inside[at + 2]:
                    raise self._error(f"the range {inside[at : at + 3]} runs backwards", "swap its ends")
                at += 3
                if inside[at : at + 1] == "-" and at + 1 < len(inside):
                    raise self._error("a range begins where another ends", "put - at the end of the set")
            else:
                at += 1

    def _open(self) -> None:
        if self._text.startswith("(?", self._at):
            raise self._error("Asterisk has no (?…)", "write ( alone (case is ignored), and use exclude for (?!…)")
        self._at += 1
        self._groups += 1
        self._made.append("(?:")
        self._repeatable, self._empty = False, True

    def _close(self) -> None:
        if not self._groups:
            raise self._error("a bracket ) has no beginning", "write \\) for the character")
        if self._empty:
            raise self._error("a group or an alternative is empty", "write something into it, or ? behind a group")
        self._groups -= 1
        self._take(1, ")")

    def _alternative(self) -> None:
        if self._empty:
            raise self._error("an alternative is empty", "write something on both sides of |, or \\| for the character")
        self._at += 1
        self._made.append("|")
        self._repeatable, self._empty = False, True

    def _repeat(self, character: str) -> None:
        length = 1
        if character == "{":
            found = _INTERVAL.match(self._text, self._at)
            if found is None:
                raise self._error("{ begins no repetition", "write {2}, {2,} or {2,5}, or \\{ for the character")
            low, high = int(found[1]), int(found[3] or found[1])
            if low > high or high > _MOST_REPEATS:
                raise self._error(f"{found[0]} is no repetition", f"write {{2,5}}, with at most {_MOST_REPEATS}")
            length = len(found[0])
        if not self._repeatable:
            raise self._error(
                f"{self._text[self._at : self._at + length]} repeats nothing", f"write \\{character} for the character"
            )
        self._take(length, self._text[self._at : self._at + length], repeatable=False)

    def _error(self, what: str, advice: str) -> PatternError:
        return PatternError(f"{self._text!r} is no regular expression, at character {self._at + 1}: {what}; {advice}")
