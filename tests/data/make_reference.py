"""Compute the answers in this folder with the reference's own code: see README.md beside this file.

Tests never run this. It imports RVT from a clone, which claims the top-level names ``models``,
``data`` and ``utils``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.reference.answers import DATA, save, save_packed
from tests.reference.model_cases import MODEL_CASES
from tests.reference.recordings import GEN1_RECORDINGS, write_recordings
from tests.reference.run_evaluation import evaluation_answers
from tests.reference.run_events import preprocess, representation_answers
from tests.reference.run_model import model_answers
from tests.reference.run_simota import simota_answers
from tests.reference.simota_cases import SIMOTA_CASES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rvt", type=Path, help="clone of https://github.com/uzh-rpg/RVT")
    parser.add_argument(
        "etram", type=Path, help="clone of https://github.com/eventbasedvision/eTraM"
    )
    args = parser.parse_args()
    sys.path.insert(0, str(args.rvt))
    for case in MODEL_CASES:
        save_packed(f"model_{case.name}", model_answers(args.rvt, case))
    for case in SIMOTA_CASES:
        save(f"simota_{case.name}", simota_answers(case))
    save("representations", representation_answers())
    save("evaluation", evaluation_answers())
    with tempfile.TemporaryDirectory() as raw:
        write_recordings(Path(raw))
        preprocess(args.etram / "rvt_eTram", "testdata", Path(raw), DATA / "preprocessed_etram")
        preprocess(args.rvt, "gen4", Path(raw), DATA / "preprocessed_gen4")
    with tempfile.TemporaryDirectory() as raw:
        write_recordings(Path(raw), GEN1_RECORDINGS, "td.dat.h5")
        preprocess(args.rvt, "gen1", Path(raw), DATA / "preprocessed_gen1")


if __name__ == "__main__":
    main()
