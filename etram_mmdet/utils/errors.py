"""The error of everything that reads a user's files."""

from __future__ import annotations

import re

# What PyTorch puts before the text of an error that was raised in a loading process.
_FROM_PROCESS = re.compile(r"\ACaught \w+ in .*?\nOriginal Traceback .*^[\w.]+: ", re.DOTALL | re.MULTILINE)


class InputError(ValueError):
    """A file cannot be used; the message says which one, what is wrong with it and what to do.

    From a loading process it comes back with a traceback in its text; ``str()`` leaves that out.
    """

    def __str__(self) -> str:
        return without_traceback(super().__str__())


def without_traceback(text: str) -> str:
    """The message in ``text``, which PyTorch may have put behind the traceback of a loading process."""
    return _FROM_PROCESS.sub("", text).rstrip() if text.startswith("Caught ") else text
