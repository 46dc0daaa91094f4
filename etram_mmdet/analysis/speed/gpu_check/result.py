"""The result of one part of the GPU check, in a file of its own."""

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
    """The result of one part of the GPU check.

    Attributes:
        part: name of the part.
        device: "cuda" or "cpu".
        size: name of the size.
        started: date and time of the start.
        status: one of `UNFINISHED`, `PASSED`, `FAILED` and `TIMED_OUT`.
        seconds: time that the part took.
        limit_s: seconds that it was allowed to take.
        commit: commit of the repository.
        machine: properties of the machine and the GPU.
        rows: figures by name, in the order in which they were measured.
        error: last lines of the log if the part did not pass.
    """

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
        """Writes the result into its file in ``folder``."""
        write_json(result_file(folder, self.part), asdict(self))

    def is_done(self, device: str, size: str) -> bool:
        """Says whether the part passed on this device and at this size."""
        return (self.status, self.device, self.size) == (PASSED, device, size)


def result_file(folder: Path, part: str) -> Path:
    """Returns the path of a part's result.

    Args:
        folder: folder of the results.
        part: name of the part.
    """
    return folder / f"{part}.json"


def log_file(folder: Path, part: str) -> Path:
    """Returns the path of a part's log.

    Args:
        folder: folder of the results.
        part: name of the part.
    """
    return folder / f"{part}.log"


def read_result(folder: Path, part: str) -> Result | None:
    """Reads the result of a part; ``None`` if it has none.

    Args:
        folder: folder of the results.
        part: name of the part.

    Raises:
        InputError: the file is not the result of a part.
    """
    path = result_file(folder, part)
    if not path.is_file():
        return None
    content = read_json(path, "delete it, then the part runs again")
    try:
        return Result(**content)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not the result of a part ({error}); delete it, then the part runs again"
        ) from error
