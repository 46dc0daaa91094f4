"""Known files of event cameras that cannot be read, with advice for a conversion."""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.utils.errors import InputError

_TO_HDF5 = "and write them as HDF5 with events/{t,x,y,p} (t in microseconds), or as text t,x,y,p"
_AEDAT_1_TO_3 = (b"#!AER-DAT1", b"#!AER-DAT2", b"#!AER-DAT3")
_OF_ROS = f"read its events with the rosbags package {_TO_HDF5}"
_PARTIAL = (
    ".part",
    ".partial",
    ".filepart",
    ".crdownload",
    ".download",
    ".tmp",
    ".in_progress",
    ".aria2",
)
# First bytes of the file, its kind, advice.
_KNOWN = (
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the recording",
        "fetch the recording with: git lfs pull",
    ),
    (b"#ROSBAG V2", "a ROS 1 bag", _OF_ROS),
    (b"SQLite format 3", "an SQLite file, as ROS 2 bags are", _OF_ROS),
    (b"\x89MCAP", "an MCAP file, as ROS 2 bags are", _OF_ROS),
    (
        _AEDAT_1_TO_3,
        "AEDAT 1 to 3",
        "convert it to AEDAT 4 with DV, or export it as text from jAER",
    ),
    (
        b"Event Stream",
        "an Event Stream file (.es)",
        f"read its events with the faery package {_TO_HDF5}",
    ),
)


def refuse_partial(path: Path) -> None:
    """Raise ``InputError`` for a file name that marks an unfinished download or copy.

    Args:
        path: the file.
    """
    if path.suffix.lower() in _PARTIAL:
        raise InputError(
            f"{path}: its suffix marks an unfinished copy or download; wait until it is complete"
        )


def refuse_known(path: Path, head: bytes) -> None:
    """Raise ``InputError`` with advice for a format that is known but cannot be read.

    Args:
        path: the file, for the message.
        head: first bytes of the file.
    """
    for signature, what, advice in _KNOWN:
        if head.startswith(signature):
            raise InputError(f"{path}: {what}, which cannot be read directly; {advice}")
