"""The error of everything that reads a user's files."""

from __future__ import annotations


class InputError(ValueError):
    """A file cannot be used; the message says which one, what is wrong with it and what to do."""
