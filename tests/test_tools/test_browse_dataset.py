"""tools/browse_dataset.py from the command line, and what it shows beside what training gets."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from mmdet.registry import MODELS
from mmengine.runner import Runner

from etram_mmdet.analysis.dataset.browse import build_loader, seen_batches
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.evaluation.results import Boxes
from etram_mmdet.events.representations import build_representation
from etram_mmdet.visualization.clip_sheet import clip_film, clip_sheet
from tests.helpers.cli import run

CONFIG = "configs/patch2_sizeaware_demo.py"
PARTITION = (3, 5)  # pads frames of 32 x 48 (height, width) to 48 x 80
T = 5


@pytest.fixture(scope="module")
def cfg(sample):
    return load_config(
        CONFIG, {"data_root": f"{sample}/", "model.backbone.partition_size": PARTITION}
    )


def browse(sample, out: Path, *flags: object) -> str:
    partition = f"model.backbone.partition_size={PARTITION}".replace(" ", "")
    options = ["--cfg-options", f"data_root={sample}/", partition]
    return run("tools/browse_dataset.py", CONFIG, "--out", out, *flags, *options)


def without_boxes(batch):
    return [[frame._replace(boxes=Boxes.empty()) for frame in clip] for clip in batch]


def test_sheet_shows_the_first_batches_of_training(sample, cfg, tmp_path):
    out = tmp_path / "new" / "train.png"
    assert str(out) in browse(sample, out)
    sheet = cv2.imread(str(out))[..., ::-1]
    loader = build_loader(cfg, "train")
    batches, meta = list(seen_batches(cfg, loader, 2)), loader.dataset.metainfo
    assert len(batches) == 2
    assert (sheet == clip_sheet(batches, meta["classes"], meta["palette"])).all()
    bare = clip_sheet(map(without_boxes, batches), meta["classes"], meta["palette"])
    assert sum(len(f.boxes) for batch in batches for clip in batch for f in clip) > 0
    assert bare.shape == sheet.shape and (bare != sheet).any()
    assert [file.name for file in out.parent.iterdir()] == ["train.png"]


def test_film_of_a_whole_split(sample, cfg, tmp_path):
    out = tmp_path / "val.mp4"
    output = browse(sample, out, "--split", "val", "--batches", 100)
    assert f"{out} (" in output and "H.264" in output
    film, frames = cv2.VideoCapture(str(out)), []
    while (answer := film.read())[0]:
        frames.append(answer[1])
    loader = build_loader(cfg, "val")
    assert len(frames) == T * len(loader.batch_sampler)
    first = next(clip_film(seen_batches(cfg, loader, 1), **loader.dataset.metainfo))
    height, width = (side + side % 2 for side in first.shape[:2])
    assert frames[0].shape == (height, width, 3)
    assert abs(frames[0][: len(first), : first.shape[1], ::-1].astype(float) - first).mean() < 8


def test_batches_are_those_of_training(cfg):
    """The loader of a run, with its loading process, and the model's own data preprocessor."""
    loader = Runner.build_dataloader(
        dict(cfg.train_dataloader, num_workers=1), seed=cfg.randomness.seed
    )
    browsed = seen_batches(cfg, build_loader(cfg, "train"), 3)
    preprocessor = MODELS.build(cfg.model).data_preprocessor
    shows = build_representation(loader.dataset.representation, 2, 2)
    for batch, data in zip(browsed, loader, strict=False):
        given = preprocessor(data, training=True)
        for lane, clip in enumerate(batch):
            for t, frame in enumerate(clip):
                truth = given["data_samples"][lane][t].gt_instances
                assert frame.off_on.shape == (2, 48, 80) and frame.hw == (32, 48)
                assert (frame.off_on == shows.off_on(given["inputs"][t, lane].numpy())).all()
                assert (frame.boxes.bboxes_xyxy == truth.bboxes.numpy()).all()
                assert (frame.boxes.labels == truth.labels.numpy()).all()
                assert frame.starts_clip == (t == 0)
                assert frame.is_first == (t == 0 and bool(given["is_first"][lane]))
                assert frame.is_labelled == bool(given["is_labelled"][t, lane])


def test_rows_of_a_mixed_batch_are_streams_and_random_clips(cfg):
    loader = build_loader(cfg, "train")
    for batch in seen_batches(cfg, loader, 2):
        assert [[frame.streamed for frame in clip] for clip in batch] == [
            [s] * T for s in (True, True, False, False)
        ]
        assert [[frame.lane for frame in clip] for clip in batch] == [
            [lane] * T for lane in range(4)
        ]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--out", "film.gif"), "--out film.gif: expected a name that ends in .png or .mp4"),
        (("--batches", "0"), "--batches 0: expected at least 1"),
        (
            ("--split", "val", "--cfg-options", "val_dataloader=None"),
            "the config has no val_dataloader",
        ),
        (("--cfg-options", "data_root=/nothing/"), "tools/make_sample.py"),
    ],
)
def test_bad_input_gets_a_sentence(flags, says):
    output = run("tools/browse_dataset.py", CONFIG, *flags, ok=False)
    assert says in output and "error: " in output


def test_unwritable_place_gets_a_sentence(sample, tmp_path):
    (tmp_path / "file").touch()
    command = (
        "tools/browse_dataset.py",
        CONFIG,
        "--batches",
        1,
        "--out",
        tmp_path / "file" / "a.png",
    )
    assert "cannot be written" in run(*command, "--cfg-options", f"data_root={sample}/", ok=False)
