"""The regular expressions that choose names: those that Asterisk and Python read alike.

Asterisk compiles its filters with ``regcomp(REG_EXTENDED | REG_ICASE | REG_NOSUB)``
(``build_regex`` in ``res/res_pjsip_publish_asterisk.c``): POSIX extended syntax, without case. Python has other syntax
and compares case. So a pattern is checked here against what both have in common, and is then compiled with Asterisk's
meaning. What one of the two would refuse, or read in another way, is refused with what to write instead.

Python looks for a match by trying one way after the other. A pattern such as ``(a+)+$`` has more ways through a long
name than there is time for. So the ways are counted here, at most, and a pattern with too many is refused.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from .errors import EventfedError

__all__ = ["MAX_PATTERN", "PatternError", "compile_pattern"]

MAX_PATTERN = 256
"""In characters."""

_MOST_WAYS = 500_000
"""Through the longest name. Two open repetitions have 65,536: milliseconds. Three can take seconds."""
_LONGEST = 256
"""Characters of the longest name (`eventfed.model.event.MAX_NAME`, in bytes)."""
_TOO_MANY = 10**9

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


@dataclass
class _Ways:
    """How many ways there are, at most, to match a group, or the whole: as far as it was read."""

    before: int = 0
    """Of the alternatives before this one."""
    so_far: int = 1
    """Of this alternative, its last item left out."""
    last: int = 1
    """Of its last item."""
    last_is_group: bool = False
    items: int = 0
    """Of this alternative."""
    anchored: bool = False
    """Whether this alternative begins with ^, so that it is tried at one place alone."""
    plain: bool = True
    """Whether each alternative is one character: of these, one at most matches."""

    def take(self, ways: int = 1, *, plain: bool = False, anchor: bool = False, group: bool = False) -> None:
        """An item was read."""
        self.anchored = self.anchored or (anchor and not self.items)
        self.so_far = min(self.so_far * self.last, _TOO_MANY)
        self.last, self.last_is_group = ways, group
        self.items += 1
        self.plain = self.plain and plain and self.items == 1

    def repeat(self, low: int, high: int) -> None:
        """The last item may stand from `low` to `high` times."""
        self.plain = False
        ways, of_times = 0, 1
        for times in range(high + 1):
            ways += of_times if times >= low else 0
            of_times = min(of_times * self.last, _TOO_MANY)
        self.last = min(ways, _TOO_MANY)

    def alternative(self, *, outermost: bool) -> None:
        """A new alternative begins."""
        self.before = self.total(outermost=outermost)
        self.so_far, self.last, self.last_is_group, self.items, self.anchored = 1, 1, False, 0, False

    def total(self, *, outermost: bool) -> int:
        """Of all alternatives."""
        # Behind the last item nothing can fail any more, so that one way of it is enough, if it is no group.
        last = 1 if outermost and not self.last_is_group else self.last
        places = _LONGEST if outermost and not self.anchored else 1
        return min(self.before + min(self.so_far * last, _TOO_MANY) * places, _TOO_MANY)

    def of_group(self) -> int:
        """Of all alternatives of a group that ends here."""
        return 1 if self.plain else self.total(outermost=False)


class _Translation:
    """Reads a pattern once, from left to right; what it makes is Python's."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._made: list[str] = []
        self._repeatable = False
        """Whether what stands before may be followed by a repetition."""
        self._ways = [_Ways()]
        """Of the whole, and of each group that is open."""

    @property
    def _empty(self) -> bool:
        """Whether the alternative that is being read has nothing yet."""
        return not self._ways[-1].items

    def run(self) -> str:
        while self._at < len(self._text):
            self._step(self._text[self._at])
        if len(self._ways) > 1:
            raise self._error("a bracket ( is not closed", "close it, or write \\( for the character")
        if self._empty:
            raise self._error("an alternative is empty", "remove the | or what follows it")
        if self._ways[0].total(outermost=True) > _MOST_WAYS:
            raise PatternError(
                f"{self._text!r} could keep the agent busy for seconds with one long name: begin it with ^, use fewer "
                "of * + ? {2,5}, and write sets such as [ab]+ for (a|b)+"
            )
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
                self._ways[-1].take(anchor=character == "^")
            case ".":
                self._take(1, ".")
                self._ways[-1].take()
            case _:
                self._take(1, re.escape(character))
                self._ways[-1].take(plain=True)

    def _take(self, length: int, made: str, *, repeatable: bool = True) -> None:
        self._at += length
        self._made.append(made)
        self._repeatable = repeatable

    def _escape(self) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        if following in _ESCAPABLE and following:
            self._take(2, re.escape(following))
            self._ways[-1].take(plain=True)
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
        self._ways[-1].take()

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
        self._ways.append(_Ways())
        self._made.append("(?:")
        self._repeatable = False

    def _close(self) -> None:
        if len(self._ways) == 1:
            raise self._error("a bracket ) has no beginning", "write \\) for the character")
        if self._empty:
            raise self._error("a group or an alternative is empty", "write something into it, or ? behind a group")
        group = self._ways.pop()
        self._ways[-1].take(group.of_group(), group=not group.plain)
        self._take(1, ")")

    def _alternative(self) -> None:
        if self._empty:
            raise self._error("an alternative is empty", "write something on both sides of |, or \\| for the character")
        self._at += 1
        self._ways[-1].alternative(outermost=len(self._ways) == 1)
        self._made.append("|")
        self._repeatable = False

    def _repeat(self, character: str) -> None:
        length = 1
        low, high = {"*": (0, _LONGEST), "+": (1, _LONGEST), "?": (0, 1)}.get(character, (0, 0))
        if character == "{":
            found = _INTERVAL.match(self._text, self._at)
            if found is None:
                raise self._error("{ begins no repetition", "write {2}, {2,} or {2,5}, or \\{ for the character")
            low, high = int(found[1]), int(found[3] or found[1])
            if low > high or high > _MOST_REPEATS:
                raise self._error(f"{found[0]} is no repetition", f"write {{2,5}}, with at most {_MOST_REPEATS}")
            high = _LONGEST if found[2] and not found[3] else high
            length = len(found[0])
        if not self._repeatable:
            raise self._error(
                f"{self._text[self._at : self._at + length]} repeats nothing", f"write \\{character} for the character"
            )
        self._take(length, self._text[self._at : self._at + length], repeatable=False)
        self._ways[-1].repeat(low, high)

    def _error(self, what: str, advice: str) -> PatternError:
        return PatternError(f"{self._text!r} is no regular expression, at character {self._at + 1}: {what}; {advice}")
