"""Import where neither package nor home can be written, as in another user's container."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.helpers.paths import ROOT

# Numba then keeps nothing beside the source and nothing in the home.
READ_ONLY = dict(NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator", HOME="/nonexistent")
SHOW = "import etram_mmdet.events.time_stamps, os; print(os.environ.get('NUMBA_CACHE_DIR'))"


def imported(code: str, **env: str) -> subprocess.CompletedProcess:
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    }
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=ROOT, env=kept | env, capture_output=True, text=True, timeout=120
    )


def test_a_read_only_installation_works_and_leaves_nothing():
    done = imported(f"import os; os.access = lambda *_: False; {SHOW}", **READ_ONLY)
    assert done.returncode == 0, done.stderr
    folder = done.stdout.strip()
    assert folder.startswith("/") and not os.path.exists(folder)
    assert "to keep it, set NUMBA_CACHE_DIR" in done.stderr


def test_without_a_home_the_package_keeps_its_own(tmp_path):
    done = imported(
        f"import os; os.access = lambda path, _: 'etram_mmdet' in str(path); {SHOW}", **READ_ONLY
    )
    assert (
        done.stdout.strip() == str(ROOT / "etram_mmdet" / "__pycache__" / "numba")
        and not done.stderr
    )


def test_a_home_or_a_named_folder_stays(tmp_path):
    assert imported(SHOW, HOME=str(tmp_path)).stdout.strip() == "None"
    assert imported(SHOW, **READ_ONLY | dict(NUMBA_CACHE_DIR=str(tmp_path))).stdout.strip() == str(
        tmp_path
    )
