"""Writes charts/eventfed/README.md from the comments of values.yaml.

``python release/chart_readme.py`` writes it again; a test fails when it is not current. A comment stands on the lines
above its value, at the same depth; what a comment says of a section becomes the section's text.
"""

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["CHART", "Entry", "chart_readme", "entries"]

CHART = Path(__file__).resolve().parents[1] / "charts" / "eventfed"
_KEY = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):(?: (.*))?$")
_HEAD = """\
# eventfed

{description}.

```sh
helm install eventfed charts/eventfed --namespace eventfed --create-namespace \\
  --set image.registry=registry.example
```

[docs/kubernetes.md](../../docs/kubernetes.md) says what it installs, how it is upgraded and
removed, and what your Asterisk pods need. It wants Kubernetes {kubernetes}.

## Values

This table is made from the comments of [values.yaml](values.yaml) by `release/chart_readme.py`.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One value, or a section of values.

    Args:
        path: its name with those of the sections above it.
        text: its comment as one line; empty if there is none.
        default: None for a section.
    """

    path: str
    text: str
    default: str | None


def entries(text: str, values: Any) -> Iterator[Entry]:
    """What values.yaml has, in its order.

    Args:
        text: of the file.
        values: the same, loaded.
    """
    comment: list[str] = []
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
            continue
        found = _KEY.match(line)
        if found is not None:
            depth = len(found[1])
            above = [one for one in above if one[0] < depth]
            path = [*(name for _, name in above), found[2]]
            value = values
            for name in path:
                value = value[name]
            section = isinstance(value, dict) and not found[3]
            if section:
                above.append((depth, found[2]))
            yield Entry(".".join(path), " ".join(comment), None if section else json.dumps(value))
        comment = []


def chart_readme() -> str:
    """The whole document."""
    text = (CHART / "values.yaml").read_text()
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    lines = [_HEAD.format(description=chart["description"], kubernetes=chart["kubeVersion"].removesuffix("-0"))]
    section, open_table = "", False
    for one in entries(text, yaml.safe_load(text)):
        head, dot, _ = one.path.partition(".")
        if one.default is None and not dot:
            lines.append(f"\n### {head}\n" + (f"\n{textwrap.fill(_escaped(one.text), 100)}\n" if one.text else ""))
            section, open_table = head, False
            continue
        if section and head != section:
            # A value of its own after a section.
            lines.append("\n### Others\n")
            section, open_table = "", False
        if one.default is None and not one.text:
            continue
        if not open_table:
            lines.append("\n| value | default | meaning |\n| --- | --- | --- |\n")
            open_table = True
        default = "" if one.default is None else f"`{one.default}`"
        lines.append(f"| `{one.path}` | {default} | {_escaped(one.text)} |\n")
    return "".join(lines)


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


def main() -> int:
    """Exit code: 0 written."""
    (CHART / "README.md").write_text(chart_readme())
    return 0


if __name__ == "__main__":
    sys.exit(main())
