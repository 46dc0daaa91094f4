"""Sentences for errors of the machine that no reader or writer has explained yet.

Without a sentence the error ends in a traceback.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

from etram_mmdet.utils.errors import InputError, without_traceback
from etram_mmdet.utils.files import because

# Errors that no fault of a program can cause.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_TOLD = re.compile(r"\[Errno (\d+)\] ([^:\n]+)(?:: '([^'\n]+)')?\s*$")
_LOADING = "a process that loads data"
_OUT_OF_MEMORY = "most often because memory ran out"
_SHM = "enlarge it (docker run --shm-size=8g) or"
_FEWER = "lower train_dataloader.num_workers, val_dataloader.num_workers or batch_size"


def sentence_of(error: Exception) -> str | None:
    """The error message for a user, or None for a fault of the program, which needs its traceback.

    There is a sentence for the errors that this package raises for users, for file-system errors
    that name a file, for a full, read-only or failing disk, and for the end of a process that was
    killed.

    Args:
        error: any error.
    """
    if isinstance(error, InputError | FloatingPointError):
        return str(error)
    if isinstance(error, OSError):
        return _of_system(error)
    if type(error).__name__ == "BrokenProcessPool":
        return f"a process was killed, {_OUT_OF_MEMORY}; run again with fewer --workers"
    return _of_pytorch(str(error)) if isinstance(error, RuntimeError) else None


def _of_system(error: OSError) -> str | None:
    told = _TOLD.search(without_traceback(str(error)))
    if error.errno is None and told:  # an error of a loading process comes as text
        error = OSError(int(told[1]), told[2], told[3])
    if error.errno == errno.ENOMEM and error.filename is None:
        return f"no memory is left for another process; {_FEWER}, or run again with fewer --workers"
    if "temporary directory" in str(error):
        return (
            f"no folder for temporary files can be written ({error.strerror}); "
            "free space on the disk, or set TMPDIR to a writable folder"
        )
    if error.filename is not None and error.errno:
        path = str(error.filename)
        return f"{path}: {because(error, Path(path))}"
    if error.errno in _OF_THE_DISK:
        return f"a file cannot be written: {because(error)}"
    return None


def _of_pytorch(text: str) -> str | None:
    if "DataLoader worker" in text and ("Bus error" in text or "shared memory" in text):
        return f"{_LOADING} found no room in shared memory (/dev/shm); {_SHM} {_FEWER}"
    if "unable to write to file </torch_" in text or "unable to allocate shared memory" in text:
        return f"shared memory (/dev/shm) is full; {_SHM} {_FEWER}"
    if "DataLoader worker" in text and (
        "killed by signal" in text or "exited unexpectedly" in text
    ):
        return f"{_LOADING} was killed, {_OUT_OF_MEMORY}; {_FEWER}"
    if "PytorchStreamWriter" in text:
        return (
            "a checkpoint could not be written, most often because the disk is full; "
            "free space on the disk, then run the same command again"
        )
    return None
