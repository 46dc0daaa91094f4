"""The error of everything that reads files or settings of a user."""

from __future__ import annotations

import re

# The lines that PyTorch puts before the text of an error of a loading process.
_FROM_PROCESS = re.compile(
    r"\ACaught \w+ in .*?\nOriginal Traceback .*^[\w.]+: ", re.DOTALL | re.MULTILINE
)


class InputError(ValueError):
    """A file or setting cannot be used; the message says which one, what is wrong and what to do.

    PyTorch puts a traceback before the message when the error comes from a loading process;
    ``str()`` leaves that out.
    """

    def __str__(self) -> str:
        return without_traceback(super().__str__())


class PassingError(InputError):
    """An :class:`InputError` that the same command need not meet again.

    Another process has ended, or is at work in the same folder: no file or setting is wrong.
    """


def without_traceback(text: str) -> str:
    """The message without the traceback that PyTorch puts before errors of a loading process.

    Args:
        text: text of an error.
    """
    return _FROM_PROCESS.sub("", text).rstrip() if text.startswith("Caught ") else text
