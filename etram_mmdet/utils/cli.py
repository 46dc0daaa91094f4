"""What command lines share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from etram_mmdet.utils.errors import InputError


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """Turn the errors that a user can mend into one line on stderr and exit status 1."""
    try:
        yield
    except (InputError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
