"""Run the checks of this folder, in this process, which gets the stand-in device.

python tests/cuda_stand_in/run.py [ARGUMENTS OF PYTEST]
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    folder = Path(__file__).parent
    arguments = ["-o", "python_files=check_*.py", "-p", "no:cacheprovider", "-q", *sys.argv[1:]]
    names_files = any("check_" in argument for argument in arguments[3:])
    sys.exit(pytest.main(arguments if names_files else [*arguments, str(folder)]))
