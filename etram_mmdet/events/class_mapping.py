"""A class set: the detector's class for each id and each name in a label file."""

from __future__ import annotations

import colorsys
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from etram_mmdet.utils.errors import InputError

LEFT_OUT = -1  # in arrays of labels: the box is left out
IGNORED_ID = -1  # class id of boxes that belong to no class; evaluation ignores them
EXAMPLE = 'dict(classes=("car", "bus"), mapping={1: "car", 2: "bus"}, leave_out=("bicycle",))'
PALETTE = (
    (255, 94, 58),
    (66, 165, 245),
    (255, 202, 40),
    (171, 71, 188),
    (236, 64, 122),
    (38, 198, 218),
    (141, 110, 99),
    (156, 204, 101),
)


@dataclass(frozen=True)
class ClassSet:
    """A detector's classes, and the class for each id and name in its label files.

    Names are compared without regard to upper or lower case and to surrounding blanks.

    Args:
        name: name of the set in messages.
        classes: class names of the detector, in order.
        mapping: class name for each id (int) or name (str) in the label files. The name of a class
            always means that class. Default: ids from 0 are the classes in order.
        leave_out: ids and names whose boxes are dropped. Default: none.
        id_names: names of ids that are not called like their class. Default: none.

    Raises:
        InputError: when the parts contradict each other.
    """

    name: str
    classes: tuple[str, ...]
    mapping: Mapping[int | str, str] | None = None
    leave_out: tuple[int | str, ...] = ()
    id_names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_names(self.name, self.classes)
        mapping = dict(enumerate(self.classes)) if self.mapping is None else self.mapping
        object.__setattr__(
            self, "mapping", {id_or_name(key): name for key, name in mapping.items()}
        )
        object.__setattr__(self, "leave_out", tuple(map(id_or_name, self.leave_out)))
        _check_mapping(self)

    @cached_property
    def _class_of(self) -> dict[int | str, int | None]:
        numbers = {id_or_name(name): number for number, name in enumerate(self.classes)}
        known = {
            **numbers,
            **{key: numbers[id_or_name(name)] for key, name in self.mapping.items()},
        }
        return {**known, **dict.fromkeys(self.leave_out)}

    def class_of(self, key: int | str) -> int | None:
        """Class number for an id or name in a label file; ``None`` if its boxes are left out.

        Raises:
            InputError: when the set does not know the id or name.
        """
        if not self.knows(key):
            raise InputError(f"{key!r} is not in class_set {self.name!r}, which reads {self.known}")
        return self._class_of[id_or_name(key)]

    def knows(self, key: int | str) -> bool:
        """Whether the set knows an id or name: as a class, or as one that is left out."""
        return id_or_name(key) in self._class_of

    @property
    def known(self) -> str:
        """The known ids and names as text for messages."""
        ids = sorted(key for key in self._class_of if isinstance(key, int))
        names = [key for key in self._class_of if isinstance(key, str)]
        return f"ids {_spans(ids)} and the names {', '.join(names)}"

    @property
    def class_names(self) -> dict[int, str]:
        """Known names of the ids in the label files."""
        of_classes = {key: name for key, name in self.mapping.items() if isinstance(key, int)}
        return dict(sorted({**of_classes, **self.id_names}.items()))

    @property
    def metainfo(self) -> dict:
        """MMDetection's dataset ``metainfo``: class names and a list of one RGB colour each."""
        return dict(classes=self.classes, palette=palette_of(len(self.classes)))

    @property
    def config(self) -> dict:
        """The set as a dict of JSON types, which :func:`~.class_sets.get_class_set` reads."""
        mapping = {str(key): name for key, name in self.mapping.items()}
        return dict(
            name=self.name,
            classes=list(self.classes),
            mapping=mapping,
            leave_out=list(self.leave_out),
        )

    def only(self, names: Iterable[str]) -> ClassSet:
        """A class set with the classes ``names`` only, in this order.

        Boxes of other classes are left out. MMDetection's ``metainfo`` chooses classes in this way.
        If all ``names`` are unknown and there are as many as the set has classes, they rename its
        classes in order.

        Raises:
            InputError: when the set has some of the names, but not all.
        """
        names = tuple(map(str, names))
        ours = {id_or_name(name): name for name in self.classes}
        if names == self.classes:
            return self
        unknown = [name for name in names if id_or_name(name) not in ours]
        if len(unknown) == len(names) == len(self.classes):
            return self._renamed(names)
        if unknown:
            raise InputError(
                f"metainfo names the class {unknown[0]!r}, but class_set {self.name!r} has "
                f"{', '.join(self.classes)}; for classes of your own write class_set={EXAMPLE}"
            )
        wanted = {id_or_name(name) for name in names}
        others = tuple(key for key, name in self.mapping.items() if id_or_name(name) not in wanted)
        others += tuple(id_or_name(name) for name in self.classes if id_or_name(name) not in wanted)
        return replace(
            self,
            classes=names,
            mapping={key: name for key, name in self.mapping.items() if id_or_name(name) in wanted},
            leave_out=tuple(dict.fromkeys((*self.leave_out, *others))),
            id_names=self.class_names,
        )

    def labels_of(
        self,
        class_ids: np.ndarray,
        id_names: Mapping[int, str] | None = None,
        refuse_unknown: bool = True,
    ) -> np.ndarray:
        """Class number of each id, int64 (n,); `LEFT_OUT` for ids that are left out.

        Args:
            class_ids: (n,) ids of a label file or sequence folder.
            id_names: names of the ids in that file. A known name decides the class instead of the
                id. Default: no names are known.
            refuse_unknown: whether an id that the set does not know is an error. If not, its boxes
                are left out. Default: True.

        Raises:
            InputError: when ids are unknown and ``refuse_unknown`` is True.
        """
        keys, places, counts = np.unique(
            signed_ids(class_ids), return_inverse=True, return_counts=True
        )
        names = [(id_names or {}).get(int(key), int(key)) for key in keys]
        unknown = {
            name: int(n) for name, n in zip(names, counts, strict=True) if not self.knows(name)
        }
        if unknown and refuse_unknown:
            raise InputError(
                f"class {_told_keys(list(unknown))} not in class_set {self.name!r}, which reads "
                f"{self.known} ({sum(unknown.values())} of {len(class_ids)} boxes)"
            )
        classes = [self.class_of(name) if self.knows(name) else None for name in names]
        return np.array([LEFT_OUT if c is None else c for c in classes], np.int64)[places]

    def _renamed(self, names: tuple[str, ...]) -> ClassSet:
        new = {id_or_name(ours): theirs for ours, theirs in zip(self.classes, names, strict=True)}
        mapping = {key: new[id_or_name(name)] for key, name in self.mapping.items()}
        return replace(self, classes=names, mapping={**new, **mapping})


def signed_ids(class_ids: np.ndarray) -> np.ndarray:
    """Class ids as int64, with the negative ids that uint32 had wrapped.

    Args:
        class_ids: (n,) ids; the label array's uint32 holds an id of -1 as 2**32 - 1.
    """
    ids = class_ids.astype(np.int64)
    return np.where(ids >= 2**31, ids - 2**32, ids)


def id_or_name(key: int | str) -> int | str:
    """Convert an id to int and a name to its form for comparison; the text ``"1"`` is the id 1.

    Args:
        key: id or name of a class. Names lose surrounding blanks and become lower case.
    """
    if isinstance(key, str):
        text = key.strip()
        return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text.casefold()
    return int(key)


def _check_names(name: str, classes: tuple[str, ...]) -> None:
    keys = [id_or_name(each) for each in classes]
    counts = Counter(keys)
    twice = next((each for each, key in zip(classes, keys, strict=True) if counts[key] > 1), None)
    if not classes:
        raise InputError(f"class_set {name!r}: has no classes; write {EXAMPLE}")
    if twice is not None:
        raise InputError(
            f"class_set {name!r}: the class {twice!r} is listed twice; list each class once"
        )
    if any(isinstance(key, int) or not key for key in keys):
        number = next(
            each for each, key in zip(classes, keys, strict=True) if isinstance(key, int) or not key
        )
        raise InputError(
            f"class_set {name!r}: {number!r} cannot be a class name, since numbers are ids; "
            f"write {EXAMPLE}"
        )


def _check_mapping(class_set: ClassSet) -> None:
    classes = {id_or_name(name) for name in class_set.classes}
    for key, name in class_set.mapping.items():
        if id_or_name(name) not in classes:
            raise InputError(
                f"class_set {class_set.name!r}: mapping gives {key!r} the class {name!r}, "
                f"expected one of {', '.join(class_set.classes)}"
            )
    both = [key for key in class_set.leave_out if key in classes or key in class_set.mapping]
    if both:
        raise InputError(
            f"class_set {class_set.name!r}: {both[0]!r} is in leave_out, but also belongs to a "
            "class; remove it from one of them"
        )


def _spans(ids: list[int]) -> str:
    """Sorted ids as text, such as ``0 to 2, 7``."""
    known = set(ids)
    starts = [i for i in ids if i - 1 not in known]
    ends = [i for i in ids if i + 1 not in known]
    return (
        ", ".join(f"{a} to {b}" if a < b else f"{a}" for a, b in zip(starts, ends, strict=True))
        or "none"
    )


def _told_keys(keys: list[int | str]) -> str:
    """Up to five ids or names as text."""
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return f"{'ids' if all(isinstance(key, int) for key in keys) else 'names'} {keys[:5]}{more} are"


def palette_of(num_classes: int) -> list[tuple[int, int, int]]:
    """RGB colours of the classes, values 0 to 255.

    The first eight are fixed. Further hues follow at the golden angle, which keeps them apart.

    Args:
        num_classes: number of colours.
    """
    golden = 0.618034
    hues = [(k * golden) % 1 for k in range(num_classes - len(PALETTE))]
    more = [
        tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.65, 0.9)) for hue in hues
    ]
    return [*PALETTE[:num_classes], *more]
