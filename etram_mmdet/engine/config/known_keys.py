"""Keys that a dict of a config may hold, with the types of their values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

from mmengine.hooks import Hook
from mmengine.model import BaseInit
from mmengine.optim import BaseOptimWrapper, _ParamScheduler

from etram_mmdet.datasets.shared_keys import SHARED
from etram_mmdet.engine.config.constructors import (
    ANYTHING,
    Types,
    is_class_name,
    parameters,
    registered,
)
from etram_mmdet.engine.config.head_settings import settings_taken
from etram_mmdet.engine.config.untyped_keys import KIND_OF_KEY, OF_HEAD, UNTYPED

# What mmengine takes out of a dict before it builds one of these.
_TAKEN_OUT = {
    Hook: "priority",
    _ParamScheduler: "convert_to_iter_based",
    BaseOptimWrapper: "constructor paramwise_cfg",
    BaseInit: "override name",
}
# Parameters of classes that are filled in from the rest of the config if they are None.
_FILLED_IN = {
    *SHARED,
    *"in_channels out_channels num_outs num_classes strides partition_size lr eta_max".split(),
}
EVERYWHERE = {"type", "_scope_", "_delete_"}


@dataclass(frozen=True)
class Keys:
    """Keys that ``owner`` takes, with the types of their values.

    ``takes_more`` is whether further keys pass. ``elsewhere`` holds keys that do not belong here,
    each with the place where it belongs.
    """

    owner: str
    types: dict[str, Types]
    takes_more: bool
    elsewhere: dict[str, str] = field(default_factory=dict)
    is_class: bool = False

    def __str__(self) -> str:
        return f"{self.owner} takes {', '.join(sorted(self.types) + ['...'] * self.takes_more)}"

    def may_be_open(self, key: str) -> bool:
        """Whether ``None`` means that a key is left out; a constructor gets ``None`` as a value."""
        return not self.is_class or key in _FILLED_IN

    def refuses(self, key: str) -> bool:
        if key in self.types or key in EVERYWHERE:
            return False
        if not self.takes_more or key in self.elsewhere:
            return True
        cutoff = 0.8 if len(key) < 7 else 0.85  # one wrong letter weighs more in a short word
        alike = get_close_matches(key, self.types, 1, cutoff)
        return not key.startswith("_") and any(abs(len(name) - len(key)) <= 2 for name in alike)


def known_keys(
    node: dict, path: str, is_file: bool = False, head: type | None = None
) -> Keys | None:
    """Keys that a dict of a config may hold; ``None`` if that cannot be known.

    Args:
        node: the dict.
        path: its dotted place in the config.
        is_file: whether the dict comes from a file, where keys pass that only a user's own head
            reads. An option of the command line may not set such keys. Default: no.
        head: class of ``model.bbox_head``, which reads ``model.train_cfg`` and ``model.test_cfg``.
            Default: not known.
    """
    if path in OF_HEAD and head is not None:
        taken, takes_more = settings_taken(head, path.split(".")[1], is_file)
        return Keys(f"{path} under {head.__name__}", _of_names(taken), takes_more)
    called = registered(node.get("type"))
    sources = _sources(path, called, is_class_name(node.get("type")))
    if not sources:
        return None
    types, takes_more = _types_of(sources)
    takes_more |= is_file and path in OF_HEAD
    elsewhere = (
        {place.split(".")[1]: place for place in OF_HEAD} if path == "model.bbox_head" else {}
    )
    types = {name: accepted for name, accepted in types.items() if name not in elsewhere}
    owner = path or "The top level (besides variables that the file itself uses)"
    return Keys(str(node["type"]) if called else owner, types, takes_more, elsewhere, bool(called))


def _sources(path: str, called: list, names_a_class: bool) -> tuple:
    """Where the keys of a dict come from, as in ``UNTYPED``; nothing if that is not known."""
    if called:
        classes = [c for c in called if isinstance(c, type)]
        bases = [base for base in _TAKEN_OUT if any(issubclass(c, base) for c in classes)]
        return (*called, *(_TAKEN_OUT[base] for base in bases))
    if names_a_class:
        return ()
    return next((entry for place, entry in UNTYPED.items() if fnmatchcase(path, place)), ())


def _types_of(sources: tuple) -> tuple[dict[str, Types], bool]:
    """Types by key, and whether further keys pass."""
    types: dict[str, Types] = {}
    takes_more = ... in sources
    for source in sources:
        theirs = _of_names(source.split()) if isinstance(source, str) else {}
        if callable(source):
            theirs, more = parameters(source)
            takes_more |= more
        types |= {name: types.get(name, ()) + accepted for name, accepted in theirs.items()}
    return types, takes_more


def _of_names(names: Iterable[str]) -> dict[str, Types]:
    return {name: (KIND_OF_KEY.get(name, *ANYTHING),) for name in names}
