"""Load packages when they are first used, since many programs never use them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from etram_mmdet.utils.errors import InputError


class LazyModule(ModuleType):
    """A module that is imported when one of its names is first used.

    Args:
        name: name of the module in Python.
        package: names of the packages for ``pip install``. Default: ``name``.

    Raises:
        InputError: when a name is needed and the module is not installed.
    """

    def __init__(self, name: str, package: str | None = None) -> None:
        super().__init__(name)
        self._package = package or name

    def __getattr__(self, attribute: str) -> object:
        if attribute.startswith("__"):  # tools that inspect modules must not load them
            raise AttributeError(attribute)
        return getattr(load(self.__name__, self._package), attribute)


def load(name: str, package: str) -> ModuleType:
    """Import an optional module.

    Args:
        name: its name in Python.
        package: names of the packages for ``pip install``.

    Raises:
        InputError: when it cannot be imported.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"{name} cannot be imported ({error}); run pip install {package}"
        ) from error
