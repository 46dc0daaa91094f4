"""Seal an exported file again that another program has changed on purpose, such as a simplifier.

    python -m etram_mmdet.deploy.reseal work_dirs/detector.onnx

A file of tools/export.py ends with a checksum, and one whose bytes differ from it is refused. This
writes the checksum of the bytes as they are now. Inputs, outputs and the description have to be
those that tools/export.py wrote.
"""

from __future__ import annotations

from pathlib import Path

from etram_mmdet.deploy.description import read_description
from etram_mmdet.deploy.onnx_metadata import sealed, without_seal
from etram_mmdet.utils.cli import exit_on_input_error, make_parser
from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write


def reseal(path: Path) -> None:
    """Replace the seal of an exported file by that of its present bytes.

    Args:
        path: the ONNX file.

    Raises:
        InputError: the file is no ONNX file, describes no detector, or cannot be written; it is
            left as it was.
    """
    content = sealed(without_seal(path))
    with atomic_write(path, len(content)) as aside:
        aside.write_bytes(content)
        try:
            read_description(aside)
        except InputError as error:
            raise InputError(str(error).replace(str(aside), str(path))) from error


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("file", type=Path, help="file that tools/export.py wrote")
    path = parser.parse_args().file
    with exit_on_input_error():
        reseal(path)
    print(f"{path}: sealed as it is now")


if __name__ == "__main__":
    main()
