"""What a part of the GPU check found, in a file of its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import write_json
from etram_mmdet.utils.json_files import read_json

UNFINISHED = "unfinished"
PASSED = "passed"
FAILED = "failed"
TIMED_OUT = "timed out"


@dataclass
class Result:
    """``rows``: figures by name, in the order in which they came. ``error``: the log's last lines where not passed."""

    part: str
    device: str
    size: str
    started: str = ""
    status: str = UNFINISHED
    seconds: float = 0.0
    limit_s: float = 0.0
    commit: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    error: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        write_json(result_file(folder, self.part), asdict(self))

    def is_done(self, device: str, size: str) -> bool:
        return (self.status, self.device, self.size) == (PASSED, device, size)


def result_file(folder: Path, part: str) -> Path:
    return folder / f"{part}.json"


def log_file(folder: Path, part: str) -> Path:
    return folder / f"{part}.log"


def read_result(folder: Path, part: str) -> Result | None:
    """``None`` where the part has none; raises ``InputError`` where its file holds something else."""
    path = result_file(folder, part)
    if not path.is_file():
        return None
    content = read_json(path, "delete it, and the part runs again")
    try:
        return Result(**content)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not the result of a part ({error}); delete it, and the part runs again"
        ) from error
