"""The soak as a program, for two full periods of a publication of 20 s. `make soak` runs it at length."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eventfed_lab import AsteriskRoot

SOAK = Path(__file__).resolve().parents[1] / "soak" / "soak.py"


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("storage", [(), ("--shared",)], ids=["separate", "shared"])
def test_an_idle_federation_is_idle_and_one_under_load_does_what_is_asked_for(
    asterisk_root: AsteriskRoot, storage: tuple[str, ...]
) -> None:
    command = [sys.executable, str(SOAK), "--json", "--expiration", "20", "--idle", "1", "--load", "0.5", *storage]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["held"]
    assert result["findings"] == []
    assert result["phases"]["idle"]["seconds"] >= 40
    load = result["phases"]["load"]["minutes"][0]["counts"]
    assert load["device_changes"] > 1000
    assert load["bus"]["mailbox states"] > 0
