"""Run the program of a pickle, which makes values and calls nothing.

A pickle is a program for a small machine with a stack. Python's machine calls whatever function the
program names; this one asks :class:`StoredValues`, which knows the few names that tensors and plain
values need.
"""

from __future__ import annotations

import pickletools
import zipfile

from etram_mmdet.engine.checkpoints.tensor_file.stored_values import (
    Float64,
    Inert,
    Name,
    Refused,
    StoredValues,
)

MAX_KEY = 2**31  # of whole numbers as keys: larger ones can be chosen so that a dict takes hours
_PUSHES = set(
    """
    BININT BININT1 BININT2 LONG1 LONG4 INT LONG BINFLOAT FLOAT
    BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    """.split()
)
_MAKES = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": Inert}


class PickleMachine:
    """Runs the program of one file.

    Args:
        archive: the file.
        records: folder of its storages inside the archive.
        ignores: whether :class:`Inert` replaces unknown objects, instead of refusing the file.
    """

    def __init__(self, archive: zipfile.ZipFile, records: str, ignores: bool) -> None:
        self._values = StoredValues(archive, records, ignores)
        self._stack: list[object] = []
        self._marks: list[list[object]] = []  # the stacks below each mark
        self._memo: dict[int, object] = {}

    def run(self, program: bytes) -> object:
        """The value that a program makes."""
        for opcode, argument, _ in pickletools.genops(program):
            step = getattr(self, f"_do_{opcode.name.lower()}", None)
            if opcode.name in _PUSHES:
                self._stack.append(self._values.plain(argument))
            elif opcode.name in _MAKES:
                self._stack.append(_MAKES[opcode.name]())
            elif step is not None:
                step(argument)
            elif opcode.name not in ("PROTO", "FRAME"):
                raise Refused(f"it holds the step {opcode.name}, which torch.save does not write")
        (result,) = self._stack
        return result

    # Steps, by the names that pickletools gives them.

    def _do_stop(self, _: None) -> None: ...

    def _do_none(self, _: None) -> None:
        self._stack.append(None)

    def _do_newtrue(self, _: None) -> None:
        self._stack.append(True)

    def _do_newfalse(self, _: None) -> None:
        self._stack.append(False)

    def _do_mark(self, _: None) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[object]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _do_pop(self, _: None) -> None:
        self._stack.pop()

    def _do_binput(self, number: int) -> None:
        self._memo[number] = self._stack[-1]

    _do_long_binput = _do_put = _do_binput

    def _do_memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_binget(self, number: int) -> None:
        self._stack.append(self._memo[number])

    _do_long_binget = _do_get = _do_binget

    def _do_tuple(self, _: None) -> None:
        items = tuple(self._since_mark())
        self._stack.append(items)

    def _do_tuple1(self, _: None) -> None:
        self._stack[-1:] = [tuple(self._stack[-1:])]

    def _do_tuple2(self, _: None) -> None:
        self._stack[-2:] = [tuple(self._stack[-2:])]

    def _do_tuple3(self, _: None) -> None:
        self._stack[-3:] = [tuple(self._stack[-3:])]

    def _do_append(self, _: None) -> None:
        self._extend([self._stack.pop()])

    def _do_appends(self, _: None) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[object]) -> None:
        target = self._stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is not Inert:
            raise Refused(f"it appends to a {type(target).__name__}")

    def _do_setitem(self, _: None) -> None:
        value = self._stack.pop()
        self._set_items([self._stack.pop(), value])

    def _do_setitems(self, _: None) -> None:
        self._set_items(self._since_mark())

    def _set_items(self, items: list[object]) -> None:
        target = self._stack[-1]
        if type(target) is not dict and type(target) is not Inert:
            raise Refused(f"it sets items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is str or (type(key) is int and abs(key) < MAX_KEY):
                if type(target) is dict:
                    target[key] = value
            else:
                self._values.unknown(f"a {type(key).__name__} as key")

    def _do_global(self, names: str) -> None:
        self._stack.append(Name(*names.split(" ", 1)))

    def _do_stack_global(self, _: None) -> None:
        name = self._stack.pop()
        module = self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise Refused("it names a function by something that is no text")
        self._stack.append(Name(module, name))

    def _do_reduce(self, _: None) -> None:
        arguments = self._stack.pop()
        function = self._stack.pop()
        if type(function) is Inert:
            self._stack.append(function)
        elif type(function) is not Name or type(arguments) is not tuple:
            raise Refused(f"it calls a {type(function).__name__}")
        else:
            self._stack.append(self._values.made(function, arguments))

    _do_newobj = _do_reduce

    def _do_build(self, _: None) -> None:
        """Leave out attributes of PyTorch's dicts, and refuse changes of any other object."""
        change = self._stack.pop()
        target = self._stack[-1]
        if type(target) is Float64:
            if type(change) is not tuple or len(change) < 2 or change[1] != "<":
                raise Refused("it holds a NumPy number of another byte order")
        elif type(target) not in (dict, Inert):
            raise Refused(f"it tries to change a {type(target).__name__.lower()}")

    def _do_binpersid(self, _: None) -> None:
        word, kind, key, _, numel = self._stack.pop()
        self._stack.append(self._values.storage(word, kind, key, numel))
