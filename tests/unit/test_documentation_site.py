"""The site is built without a warning, and each public name and each field has its place in it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import eventfed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


def test_each_public_name_of_the_library_has_a_place(site: Path) -> None:
    page = (site / "reference/library/index.html").read_text(encoding="utf-8")
    placed = {found.rpartition(".")[2] for found in re.findall(r'id="(eventfed\.[\w.]+)"', page)}
    assert set(eventfed.__all__) <= placed


def test_each_field_of_the_custom_resource_has_a_row(site: Path) -> None:
    page = (site / "reference/resource/index.html").read_text(encoding="utf-8")
    definition = yaml.safe_load((ROOT / "charts/eventfed/files/eventfederations.yaml").read_text(encoding="utf-8"))
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert spec["properties"]
    for name in spec["properties"]:
        assert f"<code>spec.{name}</code>" in page


def test_the_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert pages
    for page in pages:
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text(encoding="utf-8")
        )
        assert not loaded, page
