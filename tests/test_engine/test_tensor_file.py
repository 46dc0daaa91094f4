"""Files of torch.save are read as tensors and plain values; anything else gives a sentence."""

from __future__ import annotations

import collections
import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from etram_mmdet.engine.checkpoints import tensor_file
from etram_mmdet.engine.checkpoints.tensor_file import read_tensor_file
from etram_mmdet.engine.checkpoints.tensor_file.stored_values import Inert, Refused
from etram_mmdet.utils.errors import InputError

STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
)


def archive(path, program: bytes, records=None, compression=zipfile.ZIP_STORED):
    """A file of torch.save with a pickle of our own making."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", program)
        for name, content in (records or {"0": bytes(16)}).items():
            file.writestr(f"archive/data/{name}", content)
    return path


def tensor_program(size: bytes, stride: bytes) -> bytes:
    """The pickle of one tensor on a storage of four numbers."""
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        + STORAGE
        + b"K\x00"
        + size
        + stride
        + b"\x89}tR."
    )


def test_what_torch_saves_is_read_exactly(tmp_path):
    base = torch.arange(12.0)
    kinds = (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
    content = dict(
        view=base.view(3, 4)[1:, ::2],
        transposed=base.view(3, 4).t(),
        parameter=torch.nn.Parameter(base),
        empty=torch.empty(0, 3),
        number=torch.tensor(7),
        kinds=[base.to(kind) for kind in kinds],
        plain=(None, True, 3, -(10**18), 0.5, "word", b"bytes", {1: [2]}),
        ordered=collections.OrderedDict(a=1, b=2),
    )
    torch.save(content, tmp_path / "x.pth")
    found = read_tensor_file(tmp_path / "x.pth")
    assert list(found) == list(content) and found["plain"] == content["plain"]
    assert list(found["ordered"].items()) == [("a", 1), ("b", 2)]
    for name in ("view", "transposed", "parameter", "empty", "number"):
        assert torch.equal(found[name], content[name].detach()) and not found[name].requires_grad
    for ours, theirs in zip(found["kinds"], content["kinds"], strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


def test_tensors_that_share_memory_still_do(tmp_path):
    base = torch.zeros(6)
    torch.save([base[:3], base[1:]], tmp_path / "x.pth")
    first, second = read_tensor_file(tmp_path / "x.pth")
    first[1] = 5
    assert second[0] == 5


def test_the_one_numpy_number_is_unpacked_without_numpy(tmp_path, monkeypatch):
    """The first version's checkpoints hold an estimate of the time left as np.float64."""
    torch.save(dict(eta=np.float64(-1.25)), tmp_path / "x.pth")
    monkeypatch.setattr(np, "dtype", None)
    eta = read_tensor_file(tmp_path / "x.pth")["eta"]
    assert eta == -1.25 and type(eta) is float


@pytest.mark.parametrize(
    "value",
    [
        np.arange(3),
        np.float32(1),
        np.int64(1),
        np.dtype("f8,i4"),
        np.dtype("O"),
        np.datetime64("2020"),
    ],
)
def test_other_numpy_objects_are_refused(value, tmp_path):
    torch.save(dict(value=value), tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth: refused"):
        read_tensor_file(tmp_path / "x.pth")


def test_a_dtype_that_lies_about_itself_is_refused(tmp_path):
    """NumPy's own dtype, given this state, makes the interpreter crash when it is used."""
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R"
    state = b"(K\x03X\x01\x00\x00\x00|NNNK\xffK\x01K?tb"
    for program in (
        dtype + state,
        b"cnumpy._core.multiarray\nscalar\n" + dtype + state + b"C\x08abcdefgh\x86R",
    ):
        with pytest.raises(InputError, match=r"x\.pth: refused"):
            read_tensor_file(archive(tmp_path / "x.pth", b"\x80\x04" + program + b"."))


@pytest.mark.parametrize(
    "target",
    [
        "torch._utils\n_rebuild_tensor_v2",
        "torch\nFloatStorage",
        "collections\nOrderedDict",
        "numpy\ndtype",
    ],
)
def test_functions_and_classes_cannot_be_changed(target, tmp_path):
    """A pickle may set attributes of any object in it.

    Here it sets the defaults of the function that makes tensors.
    """
    before = torch._utils._rebuild_tensor_v2.__defaults__
    change = b"N}X\x0c\x00\x00\x00__defaults__X\x03\x00\x00\x00new\x85s\x86b"
    path = archive(tmp_path / "x.pth", b"\x80\x02c" + target.encode() + b"\n" + change + b".")
    with pytest.raises(InputError, match=r"x\.pth: refused, it tries to change"):
        read_tensor_file(path)
    with pytest.raises(InputError):
        read_tensor_file(path, "ignore")
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "needs builtins.bytearray"),
        (b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.", "needs os.system"),
        (b"\x80\x02\x8a\x09" + bytes(8) + b"\x01.", "a whole number of more than 62 bits"),
        (b"\x80\x02})K\x01s.", "needs a tuple as key"),
        (b"\x80\x02}\x8a\x05\x00\x00\x00\x00\x01K\x01s.", "needs a int as key"),
        (b"\x80\x04\x8f(K\x01\x90.", "holds the step ADDITEMS"),
        (b"\x80\x02" + STORAGE + b"K\x00K\x01s.", "sets items of a Tensor"),
        (b"\x80\x02" + STORAGE + b"K\x01a.", "appends to a Tensor"),
        (tensor_program(b"K\x02\x85", b"K\x01\x85")[:-1] + b"K\x01b.", "tries to change a tensor"),
        (b"\x80\x02X\x02\x00\x00\x00\xed\xa0.", "not a readable checkpoint"),
        (
            b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8\x86R.",
            "encodes text in a way",
        ),
        (
            b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
            "builds a dict from something that is none",
        ),
        (
            tensor_program(b"J\x00\x00\x00\x40\x85", b"K\x00\x85"),
            "1073741824 numbers, but only 4 of them",
        ),
        (tensor_program(b"K\x05\x85", b"K\x01\x85"), "not a readable checkpoint"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "not a readable checkpoint"),
        (
            b"\x80\x02" + STORAGE.replace(b"K\x04tQ", b"K\x05tQ") + b".",
            "claims 5 numbers of torch.float32, but has 16",
        ),
        (b"\x80\x02" + STORAGE.replace(b"0X\x03", b"9X\x03") + b".", "not a readable checkpoint"),
        (b"", "not a readable checkpoint"),
        (b"\x80\x02" + b"]" * 10, "not a readable checkpoint"),
    ],
)
def test_what_a_pickle_tries_is_a_sentence(program, says, tmp_path):
    with pytest.raises(InputError) as error:
        read_tensor_file(archive(tmp_path / "x.pth", program))
    assert says in str(error.value) and str(error.value).startswith(f"{tmp_path}/x.pth: ")


def test_records_that_grow_are_refused(tmp_path):
    """Compressed zeros become a thousand times larger; a directory may also lie about the size."""
    path = archive(tmp_path / "x.pth", b"\x80\x02}.", {"0": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="is compressed"):
        read_tensor_file(path)
    path = archive(tmp_path / "y.pth", b"\x80\x02}.", {"0": bytes(1 << 20)}, zipfile.ZIP_BZIP2)
    content = path.read_bytes()
    size = (1 << 20).to_bytes(4, "little")
    path.write_bytes(
        content[: content.rindex(size)] + bytes([9, 0, 0, 0]) + content[content.rindex(size) + 4 :]
    )
    with pytest.raises(InputError, match="is compressed"):
        read_tensor_file(path)
    path = archive(tmp_path / "z.pth", b"\x80\x02}.")
    with zipfile.ZipFile(path) as file:
        records = file.infolist()
    with pytest.raises(Refused, match="its records claim"):
        tensor_file._check_records(records * 100, path.stat().st_size)


def test_small_files_stay_small(tmp_path):
    """With Python's own machine each of these takes a thousand times its size, or crashes."""
    text = b"X\x00\x00\x10\x00" + b"a" * (1 << 20) + b"q\x00X\x06\x00\x00\x00latin1q\x01"
    program = (
        b"\x80\x02" + text + b"(c_codecs\nencode\nq\x02" + b"h\x02h\x00h\x01\x86R" * 40 + b"t."
    )
    with pytest.raises(InputError, match="copies the same content again and again"):
        read_tensor_file(archive(tmp_path / "x.pth", program))
    deep = b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s."
    with pytest.raises(InputError, match="tuple as key"):
        read_tensor_file(archive(tmp_path / "y.pth", deep))
    read_tensor_file(
        archive(tmp_path / "z.pth", b"\x80\x02(" + b"ca\nB\n" * 10_000 + b"t."), "ignore"
    )


def test_tensors_are_dense(tmp_path):
    """Fused optimizers go through the memory of their moments without looking at strides."""
    program = tensor_program(b"K\x04\x85", b"K\x00\x85")
    tensor = read_tensor_file(archive(tmp_path / "x.pth", program))
    assert (
        tensor.is_contiguous()
        and tensor.tolist() == [0] * 4
        and tensor.untyped_storage().nbytes() == 16
    )
    kept = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    torch.save(kept, tmp_path / "y.pth")
    found = read_tensor_file(tmp_path / "y.pth")
    assert torch.equal(found, kept) and found.is_contiguous(memory_format=torch.channels_last)


def test_a_long_structure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_file, "MAX_STRUCTURE_BYTES", 8)
    with pytest.raises(InputError, match=r"data\.pkl is larger than"):
        read_tensor_file(archive(tmp_path / "x.pth", b"\x80\x02]" + b"N" * 8 + b"."))


def test_other_formats_say_what_to_do(tmp_path):
    torch.save({}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"PyTorch 1\.6 or newer"):
        read_tensor_file(tmp_path / "x.pth")
    archive(tmp_path / "y.pth", b"")
    with zipfile.ZipFile(tmp_path / "y.pth", "a") as file:
        file.writestr("archive/byteorder", "big")
    with pytest.raises(InputError, match="byte order"):
        read_tensor_file(tmp_path / "y.pth")


def test_unknown_objects_are_refused_or_left_empty(tmp_path):
    history = HistoryBuffer([1.0], [1], 10)
    torch.save(dict(weights=torch.ones(2), history=history), tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth: refused.*HistoryBuffer"):
        read_tensor_file(tmp_path / "x.pth")
    found = read_tensor_file(tmp_path / "x.pth", "ignore")
    assert torch.equal(found["weights"], torch.ones(2)) and isinstance(found["history"], Inert)


def test_torchs_own_reader_is_not_enough(tmp_path):
    """The reason for a reader of our own: a file can make torch's allocate any memory."""
    program = b"\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x10\x00\x85R."
    buffer = io.BytesIO()
    torch.save({}, buffer)
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as new, zipfile.ZipFile(buffer) as old:
        for name in old.namelist():
            new.writestr(name, program if name.endswith("data.pkl") else old.read(name))
    assert len(torch.load(tmp_path / "x.pth", weights_only=True)) == 1 << 20
    with pytest.raises(InputError, match="bytearray"):
        read_tensor_file(tmp_path / "x.pth")
    assert pickle.loads(program) == bytearray(1 << 20)
