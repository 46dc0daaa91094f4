"""Ways to damage a file: bytes in, other bytes out, chosen by a random generator.

Some know nothing of the file. Others know what it is made of (NumPy's header, zip archives, JSON,
HDF5, checkpoints), so that the damage lies behind the first check that a reader makes.
"""

from __future__ import annotations

import copy
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache

import h5py
import numpy as np
import torch

Random = np.random.Generator
Mutation = Callable[[bytes, Random], bytes]

_NUMBERS = [
    0,
    1,
    2,
    255,
    256,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**64 - 1,
]
_TEXT_NUMBERS = [
    *_NUMBERS,
    -1,
    -(2**63),
    10**30,
    "1e999",
    "nan",
    "60000",
    "9" * 5000,
    "",
    "0x10",
    "1.5",
]
_DTYPES = [
    "<U8",
    "S3",
    "M8[us]",
    "m8[s]",
    "c16",
    "V8",
    "f2",
    "f8",
    ">i4",
    "u1",
    "?",
    "(3,)i4",
    "<i8",
    "u8",
]
_CLAIMED = [*_DTYPES, "O", "V2000000000", "(9,9,9,9,9,9)i4"]  # in headers only


def mutate(content: bytes, suffix: str, random: Random) -> bytes:
    """``content`` of a file with this suffix, damaged in one place or in up to three."""
    for _ in range(int(random.choice([1, 1, 1, 2, 3]))):
        aware = _AWARE.get(suffix, [])
        ways = aware if aware and random.random() < 0.6 else _BLIND
        try:
            content = _any(ways, random)(content, random)
        except Exception:  # an earlier mutation left nothing that this one understands
            content = flip_bits(content, random)
    return content


def _any(choices: list, random: Random):
    return choices[random.integers(len(choices))]


def _span(content: bytes, random: Random) -> tuple[int, int]:
    """Start and end of a piece; half of them among the first bytes, where headers are."""
    limit = len(content) if random.random() < 0.5 else min(len(content), 256)
    start = int(random.integers(limit + 1))
    return start, min(start + int(2 ** (random.random() * 10)), len(content))


def flip_bits(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(int(random.choice([1, 1, 8, 64]))):
        if changed:
            changed[_span(content, random)[0] % len(changed)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def cut(content: bytes, random: Random) -> bytes:
    return content[: _span(content, random)[0]]


def zeros(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random)
    return content[:start] + bytes(stop - start) + content[stop:]


def leave_out(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random)
    return content[:start] + content[stop:]


def repeat(content: bytes, random: Random) -> bytes:
    start, stop = _span(content, random)
    return content[:stop] + content[start:stop] * int(random.choice([1, 3, 100])) + content[stop:]


def splice(content: bytes, random: Random) -> bytes:
    """A piece of the file over another place of it."""
    start, stop = _span(content, random)
    place = _span(content, random)[0]
    return content[:place] + content[start:stop] + content[place + stop - start :]


def extreme_field(content: bytes, random: Random) -> bytes:
    """A field of 1, 2, 4 or 8 bytes with an extreme number."""
    size = int(random.choice([1, 2, 4, 8]))
    place = _span(content, random)[0] // size * size
    field = (_any(_NUMBERS, random) % 256**size).to_bytes(size, _any(["little", "big"], random))
    return content[:place] + field + content[place + size :]


def number_in_text(content: bytes, random: Random) -> bytes:
    """Another number in the place of one that stands as text."""
    found = list(re.finditer(rb"-?\d+", content[:4096]))
    start, stop = _any(found, random).span()
    return content[:start] + str(_any(_TEXT_NUMBERS, random)).encode() + content[stop:]


def word_in_text(content: bytes, random: Random) -> bytes:
    """Another word of the text, or an odd one, in the place of a word."""
    words = list(re.finditer(rb"\w+", content[:4096]))
    start, stop = _any(words, random).span()
    word = _any(
        [
            *(each.group() for each in words[:50]),
            b"",
            b"nan",
            b"\xff",
            b"\x00",
            b'"',
            b"<",
            b"a" * 200_000,
        ],
        random,
    )
    return content[:start] + word + content[stop:]


def line_again(content: bytes, random: Random) -> bytes:
    """A line of the text in the place of another, or beside it."""
    lines = content.splitlines(keepends=True)
    place = int(random.integers(len(lines)))
    return b"".join(
        [*lines[:place], _any(lines, random), *lines[place + int(random.integers(2)) :]]
    )


def nest(content: bytes, random: Random) -> bytes:
    """Brackets in the place of something."""
    start, stop = _span(content, random)
    return (
        content[:start] + _any([b"[", b"(", b'{"a":', b"{", b"-"], random) * 30_000 + content[stop:]
    )


# NumPy


def npy_header(content: bytes, random: Random) -> bytes:
    """Shape, type or text of the header; its length is made to fit."""
    end = 10 + int.from_bytes(content[8:10], "little")
    text = content[10:end].decode("latin1")
    shape = _any(
        ["(-1,)", "()", f"({2**45},)", f"({2**63},)", "(3, 4)", "(0,)", "(1.5,)", "'a'", "None"],
        random,
    )
    change = _any(
        [
            lambda: re.sub(r"\(\d*,?\)", shape, text),
            lambda: re.sub(
                r"'descr': .*?, 'fortran", f"'descr': '{_any(_CLAIMED, random)}', 'fortran", text
            ),
            lambda: re.sub(r"'[<>|][a-z]\d'", f"'{_any(_CLAIMED, random)}'", text, count=1),
            lambda: number_in_text(text.encode("latin1"), random).decode("latin1"),
            lambda: nest(text.encode("latin1"), random).decode("latin1"),
            lambda: cut(text.encode("latin1"), random).decode("latin1"),
        ],
        random,
    )
    header = change().encode("latin1")[:65_535]
    return content[:8] + struct.pack("<H", len(header)) + header + content[end:]


def npy_array(content: bytes, random: Random) -> bytes:
    """A valid array with other columns, types or values than the reader wants."""
    array = np.load(io.BytesIO(content), allow_pickle=False)
    buffer = io.BytesIO()
    np.save(buffer, _odd_array(array, random), allow_pickle=False)
    return buffer.getvalue()


def _odd_array(array: np.ndarray, random: Random) -> np.ndarray:
    names = array.dtype.names
    if not names:
        return _any(
            [lambda: array.astype(_any(_DTYPES, random)), lambda: _odd_values(array, random)],
            random,
        )()
    name = _any(list(names), random)
    kind = _any(_DTYPES, random)
    changed = {n: kind if n == name else array.dtype[n] for n in names}
    if random.random() < 0.2:
        del changed[name]
    new = np.zeros(array.shape, list(changed.items()))
    for n in new.dtype.names:
        if n != name or np.can_cast(array.dtype[n], new.dtype[n], "unsafe"):
            new[n] = array[n]
    if random.random() < 0.5:
        array = array.copy()
        array[name] = _odd_values(array[name], random)
        return array
    return new


def _odd_values(array: np.ndarray, random: Random) -> np.ndarray:
    array = array.copy()
    if array.size and array.dtype.kind in "iufb":
        row = int(random.integers(array.size))
        rows = slice(row, None) if random.random() < 0.3 else row
        if array.dtype.kind == "f":
            array.flat[rows] = _any([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0], random)
        else:
            number = _any([*_NUMBERS, 3_600_000_000 * 9, -1], random)
            array.flat[rows] = np.array(number % 2**64, np.uint64).astype(array.dtype)
    if random.random() < 0.3:
        array = _any(
            [
                array[:0],
                array[::-1],
                np.concatenate([array, array]),
                array[None],
                array[:1].squeeze(),
            ],
            random,
        )
    return array


# Archives


def zip_member(content: bytes, random: Random) -> bytes:
    """One member damaged, with a checksum that fits."""
    return _rezip(
        content, random, lambda name, data: mutate(data, f".{name.rsplit('.')[-1]}", random)
    )


def zip_bomb(content: bytes, random: Random) -> bytes:
    """One member that unpacks to some GiB, whether it says so or not."""
    packed, size, crc = _zeros()
    head = _member(content, random)[:128] if random.random() < 0.7 else b""
    stored = struct.pack("<BHH", 0, len(head), len(head) ^ 0xFFFF) + head + packed
    return _rezip(
        content, random, None, (stored, int(_any([size, 100, len(head), 2**32 - 2], random)), crc)
    )


@cache
def _zeros() -> tuple[bytes, int, int]:
    """Four GiB of zeros as raw deflate; 4 MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * 4000, 4000 << 20, 0


def _member(content: bytes, random: Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return _unpacked(archive, _any(archive.namelist(), random))


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    """At most a MiB of it: an earlier mutation may have made it a bomb."""
    with archive.open(name) as file:
        return file.read(1 << 20)


def _rezip(content: bytes, random: Random, change, bomb=None) -> bytes:
    """The archive with one member changed by ``change(name, data)``, or replaced by ``bomb``."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {
            info.filename: (info, _unpacked(archive, info.filename)) for info in archive.infolist()
        }
    telling = [name for name in members if not name.endswith(("version", "byteorder", "alignment"))]
    chosen = _any(telling or list(members), random)
    buffer = io.BytesIO()
    fate = random.random()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, (info, data) in members.items():
            if name != chosen:
                archive.writestr(name, data, info.compress_type)
            elif bomb is not None:
                _write_packed(archive, name, *bomb)
            elif fate < 0.8:
                archive.writestr(name, change(name, data), info.compress_type)
            elif fate < 0.9:
                archive.writestr(f"{name}\u00e9/..", data, info.compress_type)
    return buffer.getvalue()


def _write_packed(archive: zipfile.ZipFile, name: str, packed: bytes, size: int, crc: int) -> None:
    """A member that is deflated already and claims ``size`` bytes."""
    info = zipfile.ZipInfo(name)
    archive.writestr(info, packed)
    offset = info.header_offset + 8
    end = archive.fp.tell()
    archive.fp.seek(offset)
    archive.fp.write(struct.pack("<H", zipfile.ZIP_DEFLATED))
    archive.fp.seek(info.header_offset + 14)
    archive.fp.write(struct.pack("<LLL", crc, len(packed), min(size, 2**32 - 1)))
    archive.fp.seek(end)
    info.compress_type, info.CRC, info.compress_size, info.file_size = (
        zipfile.ZIP_DEFLATED,
        crc,
        len(packed),
        size,
    )


# Trees of values: JSON and checkpoints


def _deep(depth: int) -> list:
    tree: list = []
    for _ in range(depth):
        tree = [tree]
    return tree


_ODD = [
    None,
    True,
    -1,
    0,
    10**30,
    2**63,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud800",
    "1",
    [],
    {},
    [[]],
]
_ODD += [
    {"a": {"b": 1}},
    [None],
    ["x"],
    [1, "a"],
    list(range(1000)),
    _deep(50),
    "9" * 1000,
    -(10**12),
]


def with_odd_value(tree: object, random: Random, odd: list = _ODD) -> object:
    """Change dicts and lists at a random place.

    A value is replaced, a key removed, or an entry repeated.
    """
    tree = copy.deepcopy(tree)
    places = [(tree, key) for key in _keys(tree)]
    for parent, key in places:
        places += [(parent[key], k) for k in _keys(parent[key])[:200]]
    if not places or random.random() < 0.02:
        return _any(odd, random)
    parent, key = _any(places, random)
    if isinstance(parent, dict) and random.random() < 0.15:
        del parent[key]
    elif isinstance(parent, list) and random.random() < 0.15:
        parent.insert(key, parent[key])
    else:
        parent[key] = _any(odd, random)
    return tree


def _keys(node: object) -> list:
    return (
        list(node)
        if isinstance(node, dict)
        else list(range(len(node)))
        if isinstance(node, list)
        else []
    )


def json_value(content: bytes, random: Random) -> bytes:
    return json.dumps(with_odd_value(json.loads(content), random)).encode()


def checkpoint_value(content: bytes, random: Random) -> bytes:
    """A checkpoint, or the config in it, with an odd value."""
    tree = torch.load(io.BytesIO(content), weights_only=True)
    odd = [
        *_ODD[:10],
        *_ODD[11:],
        torch.ones(3),
        torch.tensor(float("nan")),
        b"x",
        2**40,
        torch.ones(0, 3),
    ]
    meta = tree.get("meta", {})
    texts = [key for key in meta if isinstance(meta[key], str) and meta[key].startswith("{")]
    if texts and random.random() < 0.4:
        meta[texts[0]] = json_value(meta[texts[0]].encode(), random).decode()
    else:
        tree = with_odd_value(tree, random, odd)
    buffer = io.BytesIO()
    torch.save(tree, buffer)
    return buffer.getvalue()


# HDF5


def hdf5_object(content: bytes, random: Random) -> bytes:
    """A valid HDF5 file in which an object or attribute is missing or another thing."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = _any(names, random)
        if random.random() < 0.25:
            _odd_attribute(file if random.random() < 0.5 else file[name], random)
        else:
            _odd_object(file, name, random)
    return buffer.getvalue()


def _odd_attribute(holder: h5py.HLObject, random: Random) -> None:
    name = _any([*holder.attrs, "width", "height", "geometry"], random)
    value = _any(
        [
            *_NUMBERS[:-1],
            -1,
            1.5,
            "x",
            "60000x60000",
            "9999999999x1",
            b"\xff",
            [1, 2],
            h5py.Empty("f4"),
        ],
        random,
    )
    holder.attrs[name] = value
    holder.attrs["width" if name == "height" else "height"] = value


def _odd_object(file: h5py.File, name: str, random: Random) -> None:
    old = file[name]
    data = _some(old)
    length = len(data) if np.ndim(data) else 1
    shape = (length, *np.shape(data)[1:])
    many = (int(2 ** (random.random() * 50)), *shape[1:])
    del file[name]
    ways = {
        "gone": lambda: None,
        "group": lambda: file.create_group(name),
        "other type": lambda: file.create_dataset(
            name, shape, _any(["f4", "S3", "c8", ">u8", "i1", "?"], random)
        ),
        "text": lambda: file.create_dataset(name, data=["a"] * length),
        "references": lambda: file.create_dataset(name, shape, h5py.ref_dtype),
        "arrays": lambda: file.create_dataset(name, shape, h5py.vlen_dtype(np.int32)),
        "records": lambda: file.create_dataset(
            name, shape, np.dtype([("t", "i8", (2,)), ("x", "S2")])
        ),
        "one number": lambda: file.create_dataset(name, data=_any(_NUMBERS[:-1], random)),
        "nothing": lambda: file.create_dataset(name, data=h5py.Empty("i8")),
        "values": lambda: file.create_dataset(name, data=_odd_values(np.asarray(data), random)),
        "unwritten": lambda: file.create_dataset(name, many, "i8", chunks=True),
        "grown": lambda: _grown(file, name, np.asarray(data), random),
        "large chunks": lambda: file.create_dataset(
            name, (2**33, *shape[1:]), "u1", chunks=(2**31, *shape[1:])
        ),
        "link": lambda: file.__setitem__(
            name, h5py.SoftLink(_any(["/nowhere", f"/{name}", "/"], random))
        ),
        "filter": lambda: file.create_dataset(
            name, data=data, compression=_any(["lzf", "gzip"], random), shuffle=True
        ),
    }
    _any(list(ways.values()), random)()


_SOME_BYTES = 1 << 20


def _some(old: h5py.HLObject) -> np.ndarray:
    """Its first rows; it may claim billions."""
    if not isinstance(old, h5py.Dataset):
        return np.arange(3)
    if not old.ndim:
        return np.asarray(old[()])
    row_bytes = max(int(np.prod(old.shape[1:])) * old.dtype.itemsize, 1)
    return np.asarray(old[: min(2000, max(_SOME_BYTES // row_bytes, 1))])


def _grown(file: h5py.File, name: str, data: np.ndarray, random: Random) -> None:
    """The same rows in a dataset that claims many more."""
    data = np.atleast_1d(data)
    rows = len(data) + int(2 ** (random.random() * 45))
    grown = file.create_dataset(
        name, (rows, *data.shape[1:]), data.dtype, chunks=(max(len(data), 1), *data.shape[1:])
    )
    grown[: len(data)] = data


_BLIND: list[Mutation] = [
    flip_bits,
    flip_bits,
    cut,
    zeros,
    leave_out,
    repeat,
    splice,
    extreme_field,
    number_in_text,
]
_AWARE: dict[str, list[Mutation]] = {
    ".npy": [npy_header, npy_array],
    ".npz": [zip_member, zip_member, zip_member, zip_bomb],
    ".pth": [
        zip_member,
        zip_member,
        checkpoint_value,
        checkpoint_value,
        checkpoint_value,
        zip_bomb,
    ],
    ".json": [json_value, json_value, json_value, nest],
    ".h5": [hdf5_object],
    ".xml": [number_in_text, number_in_text, number_in_text, word_in_text, line_again],
    ".csv": [number_in_text, number_in_text, word_in_text, line_again],
    ".txt": [number_in_text, number_in_text, word_in_text, line_again],
    ".raw": [number_in_text],
    ".dat": [number_in_text],
    ".py": [number_in_text, nest, splice],
}
