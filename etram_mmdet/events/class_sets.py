"""Which class ids a label file holds and what a detector makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from etram_mmdet.utils.errors import InputError

DEFAULT_CLASS_SET = "etram8"
ETRAM8 = ("pedestrian", "car", "bicycle", "bus", "motorbike", "truck", "tram", "wheelchair")
ETRAM3 = ("pedestrian", "vehicle", "micro-mobility")
# Groups by size, by lower-case class name, as ids mean different things in different label files.
SIZE_GROUP_OF = {
    **dict.fromkeys(("pedestrian", "bicycle", "motorbike", "motorcycle", "wheelchair", "micro-mobility"), "small"),
    **dict.fromkeys(("car", "vehicle"), "medium"),
    **dict.fromkeys(("truck", "bus", "tram"), "large"),
}
_PALETTE = (
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
    """Names of a detector's classes and the class of every id that its label files may hold.

    ``file_to_class[i]`` is the detector's class of file id ``i``.
    """

    name: str
    classes: tuple[str, ...]
    file_to_class: tuple[int, ...]

    @property
    def metainfo(self) -> dict:
        """mmdet's dataset ``metainfo``: class names and one RGB colour each, in a list as mmdet wants them."""
        return dict(classes=self.classes, palette=list(_PALETTE[: len(self.classes)]))


CLASS_SETS = {
    s.name: s
    for s in (
        # eTraM's 8-class annotation files.
        ClassSet("etram8", ETRAM8, tuple(range(8))),
        # The three groups that eTraM's authors report: from their grouped files, and from the 8-class files.
        ClassSet("etram3", ETRAM3, (0, 1, 2)),
        ClassSet("etram3_from8", ETRAM3, (0, 1, 2, 1, 2, 1, 1, 2)),
        # Label files that carry these ids; most "8-class samples" of eTraM in fact follow `etram8`.
        ClassSet(
            "cls8_sample",
            ("Car", "Truck", "Motorcycle", "Bicycle", "Pedestrian", "Bus", "Static", "Other"),
            tuple(range(8)),
        ),
    )
}


def complete_metainfo(class_set: ClassSet, metainfo: dict | None) -> dict:
    """A class set's names and colours with what ``metainfo`` overrides; a palette that is too short begins anew."""
    merged = {**class_set.metainfo, **(metainfo or {})}
    palette = [tuple(colour) for colour in merged["palette"]]
    return merged | dict(palette=[palette[k % len(palette)] for k in range(len(merged["classes"]))])


def get_class_set(name: str) -> ClassSet:
    """Look a class set up by name; raises ``InputError`` naming the known ones."""
    if name not in CLASS_SETS:
        raise InputError(f"unknown class_set {name!r}: expected one of {', '.join(CLASS_SETS)}")
    return CLASS_SETS[name]


def small_classes(classes: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that stand for small road users."""
    return tuple(name for name in classes if SIZE_GROUP_OF.get(name.lower()) == "small")
