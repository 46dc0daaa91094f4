"""The built-in class sets, and class sets that a config or a JSON file describes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

from etram_mmdet.events.class_mapping import EXAMPLE, ClassSet, id_or_name
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.json_files import read_json
from etram_mmdet.utils.text import did_you_mean

DEFAULT_CLASS_SET = "etram8"
ETRAM8 = ("pedestrian", "car", "bicycle", "bus", "motorbike", "truck", "tram", "wheelchair")
ETRAM3 = ("pedestrian", "vehicle", "micro-mobility")
_GROUPS = (0, 1, 2, 1, 2, 1, 1, 2)  # index into ETRAM3 for each class of ETRAM8
# Size groups by lower-case class name, since ids have different meanings in different label files.
SIZE_GROUP_OF = {
    **dict.fromkeys(("pedestrian", "person", "wheelchair", "bicycle", "cyclist", "rider"), "small"),
    **dict.fromkeys(
        ("motorbike", "motorcycle", "scooter", "two wheeler", "micro-mobility"), "small"
    ),
    **dict.fromkeys(("car", "vehicle", "van"), "medium"),
    **dict.fromkeys(("truck", "lorry", "bus", "tram", "train"), "large"),
}
KEYS = ("classes", "mapping", "leave_out", "name")
CLASS_SETS = {
    s.name: s
    for s in (
        # eTraM's 8-class annotation files.
        ClassSet("etram8", ETRAM8),
        # The three groups that eTraM's authors report: from their grouped files, and from the
        # 8-class files.
        ClassSet("etram3", ETRAM3),
        ClassSet(
            "etram3_from8",
            ETRAM3,
            {
                key: ETRAM3[group]
                for pair, group in zip(enumerate(ETRAM8), _GROUPS, strict=True)
                for key in pair
            },
            id_names=dict(enumerate(ETRAM8)),
        ),
        # Label files that carry these ids; most "8-class samples" of eTraM in fact follow `etram8`.
        ClassSet(
            "cls8_sample",
            ("Car", "Truck", "Motorcycle", "Bicycle", "Pedestrian", "Bus", "Static", "Other"),
        ),
        # Prophesee's Gen1 automotive data.
        ClassSet("gen1", ("car", "pedestrian")),
        # Prophesee's 1 Megapixel automotive data: its files hold seven ids; three are evaluated, as
        # in RVT.
        ClassSet(
            "1mpx",
            ("pedestrian", "two wheeler", "car"),
            leave_out=(3, 4, 5, 6, "truck", "bus", "traffic sign", "traffic light"),
            id_names={3: "truck", 4: "bus", 5: "traffic sign", 6: "traffic light"},
        ),
        # DSEC-Detection (dsec-det).
        ClassSet(
            "dsec", ("pedestrian", "rider", "car", "bus", "truck", "bicycle", "motorcycle", "train")
        ),
    )
}


def complete_metainfo(class_set: ClassSet, metainfo: dict | None) -> dict:
    """Dataset ``metainfo`` of a class set: names, colours and the user's further entries.

    Args:
        class_set: gives the class names and default colours.
        metainfo: further entries, which may replace the ``palette``. A palette with too few colours
            is repeated from its start. Default for ``None``: no further entries.
    """
    merged = {**class_set.metainfo, **(metainfo or {}), "classes": class_set.classes}
    palette = [tuple(colour) for colour in merged["palette"]]
    return merged | dict(palette=[palette[k % len(palette)] for k in range(len(merged["classes"]))])


def get_class_set(given: str | PathLike | Mapping | ClassSet) -> ClassSet:
    """Find or build the class set that a config or a command line names.

    Args:
        given: name of a built-in set, path of a ``.json`` file, or the content of such a file: a
            dict with ``classes`` (names in order) and, as needed, ``mapping`` (class for each id or
            name in the label files), ``leave_out`` (ids and names whose boxes are dropped) and
            ``name`` (name of the set in messages). A ``ClassSet`` comes back unchanged.

    Raises:
        InputError: when there is no such set or file, or its parts contradict each other.
    """
    if isinstance(given, ClassSet):
        return given
    if isinstance(given, Mapping):
        return _own_class_set(given, "")
    if str(given).endswith(".json"):
        content = read_json(Path(given), f"a class set is a JSON object like {EXAMPLE}")
        if not isinstance(content, dict):
            raise InputError(
                f"{given}: holds a {type(content).__name__}, expected an object like {EXAMPLE}"
            )
        return _own_class_set(content, Path(given).stem)
    if given not in CLASS_SETS:
        raise InputError(
            f"unknown class_set {given!r}: expected one of {', '.join(CLASS_SETS)}, "
            f"a file NAME.json, or {EXAMPLE}"
        )
    return CLASS_SETS[given]


def chosen_classes(
    given: str | PathLike | Mapping | ClassSet, metainfo: Mapping | None
) -> ClassSet:
    """The class set of a dataset, limited to the classes that its ``metainfo`` names.

    Args:
        given: class set, as :func:`get_class_set` takes it.
        metainfo: dataset ``metainfo``, whose ``classes`` (a name or several) choose. All classes
            are used if it is ``None`` or has no ``classes``.

    Raises:
        InputError: as in :func:`get_class_set` and :meth:`ClassSet.only`.
    """
    class_set = get_class_set(given)
    names = (metainfo or {}).get("classes")
    return (
        class_set
        if names is None
        else class_set.only((names,) if isinstance(names, str) else names)
    )


def plain_class_set(given: str | PathLike | Mapping | ClassSet) -> str | dict:
    """A class set in JSON types: the name of a built-in set, or the dict of another.

    Args:
        given: class set, as :func:`get_class_set` takes it.

    Raises:
        InputError: as in :func:`get_class_set`.
    """
    class_set = get_class_set(given)
    return class_set.name if CLASS_SETS.get(class_set.name) is class_set else class_set.config


def _own_class_set(given: Mapping, name: str) -> ClassSet:
    """Class set from a user's dict.

    If ``mapping`` holds no id, ids 0, 1, ... are the classes in order.
    """
    name = str(given.get("name", name))
    where = f"class_set {name!r}" if name else "class_set"
    for key in given:
        # Mmengine's key, with which a child config replaces a dict.
        if key not in (*KEYS, "_delete_"):
            raise InputError(f"{where}: unknown key {key!r}; {did_you_mean(str(key), KEYS)}")
    classes = _strings(given.get("classes"), f"{where}: classes")
    mapping = given.get("mapping") or {}
    if not isinstance(mapping, Mapping) or not all(
        isinstance(value, str) for value in mapping.values()
    ):
        raise InputError(
            f'{where}: mapping is {mapping!r:.80}, expected ids or names to classes, {{1: "car"}}'
        )
    leave_out = given.get("leave_out") or ()
    if not isinstance(leave_out, list | tuple):
        raise InputError(
            f'{where}: leave_out is {leave_out!r:.80}, expected a list, such as ("bicycle", 7)'
        )
    for key in (*mapping, *leave_out):
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise InputError(
                f"{where}: {key!r:.80} is neither an id (a whole number) nor a name (text)"
            )
    if not any(isinstance(id_or_name(key), int) for key in mapping):
        mapping = {**dict(enumerate(classes)), **mapping}
    return ClassSet(name or ", ".join(classes), classes, mapping, tuple(leave_out))


def _strings(given: object, what: str) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        raise InputError(f"{what} is {given!r:.80}, expected names in order, such as {EXAMPLE}")
    return tuple(given)


def small_classes(classes: Iterable[str]) -> tuple[str, ...]:
    """The class names of small road users, such as pedestrians and bicycles.

    Args:
        classes: class names, in any case.
    """
    return tuple(name for name in classes if SIZE_GROUP_OF.get(name.lower()) == "small")
