"""Index page of a work folder, and the threshold of a readable film."""

from __future__ import annotations

import numpy as np

from etram_mmdet.evaluation.results import Boxes, FrameResult
from etram_mmdet.visualization.detection_film import readable_score
from etram_mmdet.visualization.index_page import write_index


def test_every_known_file_is_linked_with_what_it_is(tmp_path):
    for name in (
        "results.csv",
        "val_100.png",
        "tested_val_100.png",
        "best_coco_AP_iter_100.pth",
        "a&b_7.json",
        "mine.txt",
    ):
        (tmp_path / name).touch()
    write_index(tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert '<a href="val_100.png">val_100.png</a></td><td>a validation at this step' in page
    assert '<a href="tested_val_100.png">tested_val_100.png</a></td><td>a test:' in page
    assert '<a href="a%26b_7.json">a&amp;b_7.json</a>' in page
    assert "checkpoint with the best validation" in page and "mine.txt" not in page
    assert page.count("<img") == 2


def frame(num_truth: int, scores: list[float]) -> FrameResult:
    truth = Boxes(np.zeros((num_truth, 4), np.float32), np.zeros(num_truth, np.int64), None)
    found = Boxes(
        np.zeros((len(scores), 4), np.float32),
        np.zeros(len(scores), np.int64),
        np.array(scores, np.float32),
    )
    return FrameResult(recording="a", t_us=0, truth=truth, found=found)


def test_a_film_shows_few_enough_detections():
    weak = frame(1, [0.1, 0.05, 0.04, 0.03, 0.02])
    assert readable_score([weak], 0.01) == np.float32(0.05)  # twice as many as true boxes
    assert readable_score([weak], 0.08) == 0.08
    assert readable_score([frame(0, [0.3, 0.2])], 0.01) == np.float32(0.3)  # at least one per frame
    assert readable_score([frame(1, [])], 0.01) == 0.01
