"""Where configs and tools are: beside the package in a checkout, in its folder ``.mim`` in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
ROOT = _PACKAGE / ".mim" if (_PACKAGE / ".mim").is_dir() else _PACKAGE.parent


def find_config(path: str | Path) -> Path:
    """``path`` where there is such a file, else the config of this name that comes with the package."""
    bundled = ROOT / path
    return bundled if bundled.is_file() and not Path(path).is_file() else Path(path)
