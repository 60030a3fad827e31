"""Reads Asterisk's configuration files as Asterisk does (``main/config.c``). No I/O: the caller finds the files."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["AsteriskFile", "Section", "Source", "read_asterisk_file"]

Source = Callable[[str], Sequence[tuple[str, str]]]
"""From what ``#include`` names (it may hold wildcards) to the paths that are there and their texts."""

_DEEPEST_INCLUDE = 10
_MOST_LINES = 200_000
_MOST_SETTINGS = 10_000
"""Of one section, templates included: chains of templates could otherwise double them at each step."""
_HEADER = re.compile(r"\[([^\]]*)\]\s*(?:\((.*)\))?")
_INCLUDE = re.compile(r"#\s*(include|tryinclude|exec)\b\s*(.*)", re.I)
_BLANK = " \t\r\n\f\v"


@dataclass
class Section:
    """``[name]`` and its settings, those of its templates first, as Asterisk applies them."""

    name: str
    template: bool = False
    settings: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """All values of a setting; names are compared without case."""
        return [value for key, value in self.settings if key.lower() == name.lower()]

    def get(self, name: str, default: str = "") -> str:
        """The value that counts: the last one."""
        values = self.all(name)
        return values[-1] if values else default

    def yes(self, name: str) -> bool:
        """Whether a setting is true (``ast_true`` in ``main/utils.c``)."""
        return self.get(name).lower() in ("yes", "true", "y", "t", "1", "on")


@dataclass
class AsteriskFile:
    """What a file and all that it includes say. Where `problems` has any, Asterisk may refuse the whole file."""

    sections: list[Section] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """``path:line: what``."""
    unread: list[str] = field(default_factory=list)
    """What Asterisk reads there and this reader does not (``#exec``)."""

    def of_type(self, kind: str) -> Iterator[Section]:
        """Sections with ``type = <kind>``, templates left out (``pjsip.conf``)."""
        return (s for s in self.sections if not s.template and s.get("type").lower() == kind.lower())

    def named(self, name: str) -> Iterator[Section]:
        """Sections of that name, templates left out; names are compared without case."""
        return (s for s in self.sections if not s.template and s.name.lower() == name.lower())


def read_asterisk_file(name: str, source: Source) -> AsteriskFile:
    """The file `name` with its includes, templates and additions. Never raises for what the files hold."""
    reader = _Reader(source)
    reader.include(name, "", required=True, depth=0)
    return reader.file


class _Reader:
    def __init__(self, source: Source) -> None:
        self.file = AsteriskFile()
        self._source = source
        self._by_name: dict[str, list[Section]] = {}
        self._section: Section | None = None
        self._lines = 0

    def include(self, name: str, where: str, *, required: bool, depth: int) -> None:
        if depth > _DEEPEST_INCLUDE:
            self._problem(where, f"#include goes deeper than {_DEEPEST_INCLUDE} files")
            return
        found = self._source(name)
        if not found and required:
            self._problem(where or name, f"{name} does not exist, or cannot be read")
        for path, text in found:
            comment = 0
            for number, raw in enumerate(text.split("\n"), 1):
                self._lines += 1
                if self._lines > _MOST_LINES:
                    if self._lines == _MOST_LINES + 1:
                        self._problem(f"{path}:{number}", f"more than {_MOST_LINES} lines: the rest is not read")
                    return
                line, comment = _strip_comments(raw, comment)
                if line:
                    self._line(line, f"{path}:{number}", depth)
            if comment:
                self._problem(path, "a comment that begins with ;-- does not end")

    def _line(self, line: str, where: str, depth: int) -> None:
        if line.startswith("["):
            self._header(line, where)
        elif line.startswith("#"):
            match = _INCLUDE.fullmatch(line)
            if match is None:
                self._problem(where, f"{line:.60} is no directive")
            elif match[1].lower() == "exec":
                self.file.unread.append(f"{where}: #exec is not run here")
            else:
                name = match[2].strip(_BLANK).strip('"<>')
                self.include(name, where, required=match[1].lower() == "include", depth=depth + 1)
        else:
            self._setting(line, where)

    def _header(self, line: str, where: str) -> None:
        self._section = None
        match = _HEADER.match(line)
        if match is None:
            self._problem(where, f"{line:.60} has no closing bracket")
            return
        name, options = match[1], [option.strip() for option in (match[2] or "").split(",") if option.strip()]
        additions = [option[1:] for option in options if option.startswith("+")]
        section = self._existing(name, additions[0]) if additions else Section(name)
        if section is None:
            self._problem(where, f"[{name}](+) adds to a section that does not exist")
            return
        for option in options:
            if option == "!":
                section.template = True
            elif not option.startswith("+"):
                self._inherit(section, option, where)
        self._section = section
        if not additions:
            self.file.sections.append(section)
            self._by_name.setdefault(name.lower(), []).append(section)

    def _inherit(self, section: Section, name: str, where: str) -> None:
        template = self._existing(name, "")
        if template is None:
            self._problem(where, f"[{section.name}] inherits from [{name}], which does not exist")
            return
        for key, value in template.settings[:]:
            self._add(section, key, value, where)

    def _existing(self, name: str, conditions: str) -> Section | None:
        """The first section of that name which fulfils ``type=endpoint&...``; ``TEMPLATES=`` is not looked at."""
        wanted = [condition.partition("=")[::2] for condition in conditions.split("&") if condition]
        for section in self._by_name.get(name.lower(), ()):
            if all(
                value.strip().lower() in (found.lower() for found in section.all(key.strip()))
                for key, value in wanted
                if key.strip().upper() != "TEMPLATES"
            ):
                return section
        return None

    def _setting(self, line: str, where: str) -> None:
        key, equals, value = line.partition("=")
        appends = key.endswith("+")
        key, value = key.removesuffix("+").strip(_BLANK), value.removeprefix(">").strip(_BLANK)
        if not equals:
            self._problem(where, f"{line:.60} is neither a section nor a setting")
        elif self._section is None:
            self._problem(where, f"{key:.60} belongs to no section")
        else:
            self._add(self._section, key, (self._section.get(key) if appends else "") + value, where)

    def _add(self, section: Section, key: str, value: str, where: str) -> None:
        if len(section.settings) < _MOST_SETTINGS:
            section.settings.append((key, value))
        elif len(section.settings) == _MOST_SETTINGS:
            section.settings.append(("", ""))
            self._problem(where, f"[{section.name}] has more than {_MOST_SETTINGS} settings: the rest is not read")

    def _problem(self, where: str, text: str) -> None:
        self.file.problems.append(f"{where}: {text}")


def _strip_comments(line: str, depth: int) -> tuple[str, int]:
    """The line without comments and outer blanks, and how deep in ``;-- --;`` the next line begins."""
    kept: list[str] = []
    position = 0
    while position < len(line):
        if depth:
            end = line.find("--;", position)
            begin = line.find(";--", position)
            if 0 <= begin < (end if end >= 0 else len(line)) and line[begin + 3 : begin + 4] != "-":
                depth, position = depth + 1, begin + 3
            elif end >= 0:
                depth, position = depth - 1, end + 3
            else:
                break
        elif line.startswith("\\;", position):
            kept.append(";")
            position += 2
        elif line.startswith(";--", position) and line[position + 3 : position + 4] != "-":
            depth, position = 1, position + 3
        elif line[position] == ";":
            break
        else:
            kept.append(line[position])
            position += 1
    return "".join(kept).strip(_BLANK), depth
