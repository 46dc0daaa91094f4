"""Write events in the formats of other people's recorders, to be read back by tests."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tests.helpers.raw import HEIGHT, WIDTH, write_events

HEADER = f"% geometry {WIDTH}x{HEIGHT}\n"


def _interleave(*columns: tuple[np.ndarray, np.ndarray], dtype: str) -> np.ndarray:
    """Words of all events one after the other; each column is (is_present, word) per event."""
    present = np.stack([mask for mask, _ in columns], 1)
    return np.stack([words for _, words in columns], 1)[present].astype(dtype)


def _changes(values: np.ndarray) -> np.ndarray:
    return np.diff(values, prepend=-1) != 0


def evt2_words(events: dict[str, np.ndarray]) -> np.ndarray:
    t, x, y, p = (np.asarray(events[name], np.int64) for name in "txyp")
    high = (t >> 6) & 0xFFFFFFF
    event = p << 28 | (t & 0x3F) << 22 | x << 11 | y
    return _interleave(
        (_changes(high), 0x8 << 28 | high), (np.ones(len(t), bool), event), dtype="<u4"
    )


def evt21_words(events: dict[str, np.ndarray]) -> np.ndarray:
    """The bit of each event in its word of 32 pixels.

    Neighbours with the same time, row and polarity share a word.
    """
    t, x, y, p = (np.asarray(events[name], np.int64) for name in "txyp")
    high = (t >> 6) & 0xFFFFFFF
    event = (p << 28 | (t & 0x3F) << 22 | (x & ~31) << 11 | y) << 32 | 1 << (x & 31)
    return _interleave(
        (_changes(high), (0x8 << 28 | high) << 32), (np.ones(len(t), bool), event), dtype="<u8"
    )


def evt3_words(events: dict[str, np.ndarray]) -> np.ndarray:
    t, x, y, p = (np.asarray(events[name], np.int64) for name in "txyp")
    high, low = t >> 12, t & 0xFFF
    return _interleave(
        (_changes(high), 0x8000 | high & 0xFFF),
        (_changes(t), 0x6000 | low),
        (_changes(y), y),
        (np.ones(len(t), bool), 0x2000 | p << 11 | x),
        dtype="<u2",
    )


def write_raw(path: Path, words: np.ndarray, version: str) -> Path:
    path.write_bytes(f"% evt {version}\n{HEADER}% end\n".encode() + words.tobytes())
    return path


def write_evt2(path: Path, events: dict[str, np.ndarray]) -> Path:
    return write_raw(path, evt2_words(events), "2.0")


def write_evt21(path: Path, events: dict[str, np.ndarray]) -> Path:
    return write_raw(path, evt21_words(events), "2.1")


def write_evt3(path: Path, events: dict[str, np.ndarray]) -> Path:
    return write_raw(path, evt3_words(events), "3.0")


def write_dat(path: Path, events: dict[str, np.ndarray], event_type: int = 12) -> Path:
    t, x, y, p = (np.asarray(events[name], np.int64) for name in "txyp")
    records = np.stack([t & 0xFFFFFFFF, p << 28 | y << 14 | x], 1).astype("<u4")
    header = f"% Data file containing CD events.\n% Version 2\n% Height {HEIGHT}\n% Width {WIDTH}\n"
    path.write_bytes(header.encode() + bytes([event_type, 8]) + records.tobytes())
    return path


def structured(events: dict[str, np.ndarray], names: str = "t x y p") -> np.ndarray:
    table = np.empty(
        len(events["t"]), list(zip(names.split(), ("<i8", "<u2", "<u2", "u1"), strict=True))
    )
    for name, column in zip(names.split(), "txyp", strict=True):
        table[name] = events[column]
    return table


def write_npy(path: Path, events: dict[str, np.ndarray]) -> Path:
    np.save(path, structured(events, "timestamp x y polarity"))
    return path


def write_npz_table(path: Path, events: dict[str, np.ndarray]) -> Path:
    np.savez_compressed(path, events=structured(events, "ts x y p"))
    return path


def write_npz_columns(path: Path, events: dict[str, np.ndarray]) -> Path:
    np.savez(path, **{name: np.asarray(column) for name, column in events.items()})
    return path


def write_metavision(path: Path, events: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("CD/events", data=structured(events), compression="gzip", chunks=(50,))
        file.attrs["geometry"] = f"{WIDTH}x{HEIGHT}"
    return path


def write_dsec(path: Path, events: dict[str, np.ndarray], t_offset_us: int = 0) -> Path:
    write_events(path, events)
    with h5py.File(path, "r+") as file:
        file["t_offset"] = np.int64(t_offset_us)
        file["ms_to_idx"] = np.zeros(3, np.uint64)
    return path


def write_compound(path: Path, events: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        file["events"] = structured(events)
        file["events"].attrs["width"], file["events"].attrs["height"] = WIDTH, HEIGHT
    return path


def write_text(path: Path, events: dict[str, np.ndarray]) -> Path:
    """As event simulators and ROS tools do: seconds first."""
    lines = [
        f"{t / 1e6:.6f} {x} {y} {p}\n"
        for t, x, y, p in zip(*(events[name] for name in "txyp"), strict=True)
    ]
    path.write_text(f"{WIDTH} {HEIGHT}\n{''.join(lines)}")
    return path


def write_csv(path: Path, events: dict[str, np.ndarray]) -> Path:
    """As Metavision's software does: x,y,p,t."""
    lines = [
        f"{x},{y},{p},{t}\n" for t, x, y, p in zip(*(events[name] for name in "txyp"), strict=True)
    ]
    path.write_text(f"%geometry:{WIDTH},{HEIGHT}\n{''.join(lines)}")
    return path


def numbers(
    events: dict[str, np.ndarray], order: str, dtype: str, seconds: bool = False
) -> np.ndarray:
    """An array (N, 4) with the columns in this order.

    With ``seconds``, the polarity "off" is -1, as in v2e and MVSEC.
    """
    columns = {name: np.asarray(column, np.float64) for name, column in events.items()}
    if seconds:
        columns |= dict(t=columns["t"] / 1e6, p=columns["p"] * 2 - 1)
    return np.stack([columns[name] for name in order], 1).astype(dtype)


def write_v2e(path: Path, events: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "events", data=numbers(events, "txyp", "u4"), maxshape=(None, 4), compression="gzip"
        )
    return path


def write_short_names(path: Path, events: dict[str, np.ndarray]) -> Path:
    """HDF5 as tools write it that convert ROS bags.

    It has events/{xs,ys,ts,ps}, times in seconds, and the sensor as height, width.
    """
    with h5py.File(path, "w") as file:
        for name in "xyp":
            file[f"events/{name}s"] = events[name]
        file["events/ts"] = np.asarray(events["t"]) / 1e6
        file.attrs["sensor_resolution"] = np.array([HEIGHT, WIDTH])
    return path


def write_m3ed(path: Path, events: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, column in events.items():
            file[f"prophesee/left/{name}"] = column
        file["prophesee/left/calib/resolution"] = np.array([WIDTH, HEIGHT])
        file.create_group("prophesee/right")
    return path


def write_mvsec(path: Path, events: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        file["davis/left/events"] = numbers(events, "xytp", "f8", seconds=True)
    return path


def write_array(path: Path, events: dict[str, np.ndarray]) -> Path:
    """What v2e's emulator returns: seconds and -1 or 1."""
    np.save(path, numbers(events, "txyp", "f8", seconds=True))
    return path


def write_npz_array(path: Path, events: dict[str, np.ndarray]) -> Path:
    """Stored column by column, as ``np.stack(columns).T`` is, with the sensor beside it."""
    np.savez_compressed(
        path, events=np.asfortranarray(numbers(events, "xypt", "i8")), width=WIDTH, height=HEIGHT
    )
    return path


# Every way to write one recording: the suffix and the writer.
WRITERS = {
    "h5": (".h5", write_events),
    "h5 gzip": (
        ".h5",
        lambda path, events: write_events(path, events, compression="gzip", chunks=(300,)),
    ),
    "h5 compound": (".h5", write_compound),
    "Metavision h5": (".h5", write_metavision),
    "DSEC h5": (".h5", write_dsec),
    "v2e h5": (".h5", write_v2e),
    "xs ys ts ps h5": (".h5", write_short_names),
    "M3ED h5": (".h5", write_m3ed),
    "MVSEC h5": (".h5", write_mvsec),
    "EVT 2.0": (".raw", write_evt2),
    "EVT 2.1": (".raw", write_evt21),
    "EVT 3.0": (".raw", write_evt3),
    "DAT": (".dat", write_dat),
    "text": (".txt", write_text),
    "csv": (".csv", write_csv),
    "npy": (".npy", write_npy),
    "npz table": (".npz", write_npz_table),
    "npz columns": (".npz", write_npz_columns),
    "npy array": (".npy", write_array),
    "npz array": (".npz", write_npz_array),
}
