"""EventVisualizer, the ``img_path`` of event frames, and runs with several backends."""

from __future__ import annotations

import csv
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.fileio import get, get_text
from mmengine.structures import InstanceData
from mmengine.visualization import BaseVisBackend

from etram_mmdet.apis.inference import init_detector
from etram_mmdet.datasets.clips import ClipRequest
from etram_mmdet.utils.errors import InputError
from etram_mmdet.visualization.draw import BACKGROUND, MISSED, events_to_rgb
from etram_mmdet.visualization.event_visualizer import EventVisualizer
from tests.helpers.cli import ALL_BOXES, CONFIG, SMALL, run
from tests.helpers.paths import ROOT

HW = (24, 48)
SCALE = 20  # 960 / 48
HEAD_PX = 24  # the line above the frame
PALETTE = ((255, 94, 58), (66, 165, 245))


class Recorder(BaseVisBackend):
    """Backend that keeps the pictures that a visualizer passes to it."""

    def __init__(self, save_dir: str = "") -> None:
        super().__init__(save_dir)
        self.images = []

    def _init_env(self) -> None: ...

    @property
    def experiment(self):
        return self

    def add_image(self, name, image, step=0, **kwargs) -> None:
        self.images.append((name, image, step))


@pytest.fixture
def backend() -> Recorder:
    return Recorder()


@pytest.fixture
def visualizer(backend) -> EventVisualizer:
    made = EventVisualizer(vis_backends=[backend])
    made.dataset_meta = dict(classes=("pedestrian", "car"), palette=PALETTE)
    return made


def with_boxes(**meta) -> DetDataSample:
    made = DetDataSample(metainfo=dict(recording="night_0001", t_us=150_000, img_shape=HW) | meta)
    made.gt_instances = InstanceData(
        bboxes=torch.tensor([[2.0, 3.0, 12.0, 15.0]]), labels=torch.tensor([1])
    )
    made.pred_instances = InstanceData(
        bboxes=torch.tensor([[20.0, 4.0, 30.0, 14.0], [34.0, 6.0, 44.0, 16.0]]),
        labels=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.2]),
    )
    return made


def has(
    image: np.ndarray, colour, left: float, top: float, width: float = 3, height: float = 3
) -> bool:
    """Whether a colour is near a place of the frame before it was enlarged."""
    y, x = HEAD_PX + int(top * SCALE), int(left * SCALE)
    part = image[y - 4 : y + int(height * SCALE), x - 4 : x + int(width * SCALE)]
    return bool((part == colour).all(2).any())


def is_drawn(image: np.ndarray) -> tuple[bool, bool, bool]:
    """Whether truth, a detection of high and one of low score are drawn (corners without text)."""
    return (
        has(image, (255, 255, 255), 11, 5) or has(image, MISSED, 11, 5),
        has(image, PALETTE[0], 28, 11),
        has(image, PALETTE[1], 42, 13),
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(), (True, True, False)),
        (dict(pred_score_thr=0.1), (True, True, True)),
        (dict(draw_gt=False), (False, True, False)),
        (dict(draw_pred=False), (True, False, False)),
    ],
)
def test_draws_truth_and_sure_detections(visualizer, backend, options, expected):
    """No detection overlaps the truth, so it is missed unless no detections are drawn at all."""
    visualizer.add_datasample(
        "frame", np.zeros((2, *HW), np.uint8), with_boxes(), step=7, **options
    )
    ((name, image, step),) = backend.images
    assert (name, step, image.dtype) == ("frame", 7, np.uint8)
    assert is_drawn(image) == expected
    assert has(image, MISSED, 11, 5) == (expected[0] and options.get("draw_pred", True))
    assert image.shape[1] == HW[1] * SCALE and image.shape[0] > HEAD_PX + HW[0] * SCALE  # a legend


def test_polarities_of_counts_have_their_colours(visualizer, backend):
    counts = np.zeros((4, *HW), np.uint8)
    counts[0, 20, 5], counts[2, 20, 9] = 9, 9  # off events first
    visualizer.add_datasample("frame", torch.from_numpy(counts))
    image = backend.images[0][1]
    off, on = (image[HEAD_PX + 20 * SCALE + 5, x * SCALE + 5].astype(int) for x in (5, 9))
    assert off[2] > off[0] + 50 and on[0] > 150  # blue, light grey
    assert image[HEAD_PX + 5, 5].tolist() == list(BACKGROUND)


def test_another_representation_is_shown_as_it_says():
    backend = Recorder()
    visualizer = EventVisualizer(
        vis_backends=[backend], representation=dict(type="MixedDensityEventStack", bins=3)
    )
    image = np.zeros((3, *HW), np.int8)
    image[-1, 20, 5] = -3  # the last channel holds the sum; a negative one is of off events
    image[0, 20, 9] = -3
    visualizer.add_datasample("frame", image)
    drawn = backend.images[0][1]
    assert drawn[HEAD_PX + 20 * SCALE + 5, 5 * SCALE + 5, 2] > 100
    assert drawn[HEAD_PX + 20 * SCALE + 5, 9 * SCALE + 5].tolist() == list(BACKGROUND)


def test_takes_a_picture_of_another_size(visualizer, backend):
    """mmdet's hook passes a picture; a transform may have resized the frame in the meantime."""
    picture = np.full((12, 24, 3), (10, 200, 30), np.uint8)
    visualizer.add_datasample("frame", picture, with_boxes())
    assert is_drawn(backend.images[0][1]) == (True, True, False)
    assert has(backend.images[0][1], (10, 200, 30), 46, 20, 1, 1)


def test_a_file_instead_of_the_back_ends(visualizer, backend, tmp_path):
    visualizer.add_datasample(
        "frame", np.zeros((2, *HW), np.uint8), with_boxes(), out_file=tmp_path / "new" / "a.jpg"
    )
    assert not backend.images
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    image = cv2.cvtColor(cv2.imread(str(tmp_path / "new" / "a.png")), cv2.COLOR_BGR2RGB)
    assert is_drawn(image) == (True, True, False)
    assert np.array_equal(visualizer.get_image().shape, image.shape)


def test_without_names_classes_are_numbers(backend):
    EventVisualizer(vis_backends=[backend]).add_datasample(
        "frame", np.zeros((2, *HW), np.uint8), with_boxes()
    )
    assert is_drawn(backend.images[0][1]) == (True, True, False)


def test_a_back_end_without_its_package_is_refused_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    visualizer = EventVisualizer(
        vis_backends=[dict(type="TensorboardVisBackend")], save_dir=str(tmp_path)
    )
    with pytest.raises(InputError, match=r"package is not installed.*pip install.*tensorboard"):
        visualizer.add_config(Config())


def test_wandb_receives_config_scalars_and_pictures(monkeypatch, tmp_path):
    calls = []
    wandb = SimpleNamespace(
        init=lambda **kwargs: calls.append("init"),
        config=SimpleNamespace(update=lambda content, **kwargs: calls.append(("config", content))),
        run=SimpleNamespace(log_code=lambda name: None),
        Image=lambda image: ("image", image.shape),
        log=lambda content, **kwargs: calls.append(content),
        join=lambda: calls.append("closed"),
    )
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    visualizer = EventVisualizer(
        vis_backends=[dict(type="WandbVisBackend")], save_dir=str(tmp_path)
    )
    visualizer.add_config(Config(dict(base_lr=0.5)))
    visualizer.add_scalars(dict(loss=2.5), step=3)
    visualizer.add_datasample("frame", np.zeros((2, *HW), np.uint8), with_boxes())
    visualizer.close()
    assert calls[:3] == ["init", ("config", dict(base_lr=0.5)), dict(loss=2.5)]
    assert calls[3]["frame"][0] == "image" and calls[3]["frame"][1][1:] == (HW[1] * SCALE, 3)
    assert calls[-1] == "closed"


def test_wandb_without_an_account_is_a_sentence(monkeypatch, tmp_path):
    kind = type("UsageError", (Exception,), dict(__module__="wandb.errors"))

    def init(**kwargs):
        raise kind("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    visualizer = EventVisualizer(
        vis_backends=[dict(type="WandbVisBackend")], save_dir=str(tmp_path)
    )
    with pytest.raises(InputError, match=r"cannot start \(No API key configured.*mode='offline'"):
        visualizer.add_config(Config())
    kind.__module__ = "of_mine"
    with pytest.raises(kind):
        visualizer.add_config(Config())


def test_wandb_offline_leaves_a_run_on_this_machine(tmp_path):
    pytest.importorskip("wandb")
    backend = dict(type="WandbVisBackend", init_kwargs=dict(mode="offline", project="etram"))
    visualizer = EventVisualizer(vis_backends=[backend], save_dir=str(tmp_path))
    visualizer.add_config(Config(dict(base_lr=0.5)))
    visualizer.add_scalars(dict(loss=2.5), step=3)
    visualizer.add_datasample("frame", np.zeros((2, *HW), np.uint8), with_boxes())
    visualizer.close()
    (run,) = (tmp_path / "vis_data" / "wandb").glob("offline-run-*")
    (picture,) = (run / "files" / "media" / "images").glob("frame_*.png")
    assert cv2.imread(str(picture)).shape[1] == HW[1] * SCALE and list(run.glob("*.wandb"))


def dataset(root, **keys):
    keys = (
        dict(data_root=str(root), split="val", pipeline=[dict(type="PackClip")], clip_length=3)
        | keys
    )
    keys.setdefault("representation", dict(type="StackedHistogram", bins=10, downsample="nearest"))
    return DATASETS.build(dict(type="ETraMDataset") | keys)


@pytest.mark.parametrize("kind", ["ETraMDataset", "RawEventDataset"])
def test_a_frame_opens_like_an_image(sample, raw_sample, kind):
    data = dataset(sample if kind == "ETraMDataset" else raw_sample, type=kind)
    clip = data[ClipRequest(1, 4, 6, is_first=True, lane=0, seed=())]  # two frames, one of padding
    frames = list(clip["data_samples"])
    for frame, counts in zip(frames, clip["inputs"].numpy(), strict=True):
        off_on = np.stack([counts[:10].sum(0), counts[10:].sum(0)])
        assert np.array_equal(
            mmcv.imread(frame.img_path, channel_order="rgb"), events_to_rgb(off_on)
        )
        assert len(np.unique(off_on)) == 1 if frame.is_padding else off_on.any()
    name = f"{data.sequences[1].name}_{frames[0].t_us:010d}us.png"
    assert frames[0].img_path.endswith(f"/{name}") and frames[-1].img_path.endswith("_padding.png")


def test_mmdets_own_visualizer_draws_frames(sample, tmp_path):
    data = dataset(sample)
    last = int(data.sequences[0].labelled[0])
    frame = data[ClipRequest(0, last, last + 1, is_first=True, lane=0, seed=())]["data_samples"][0]
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = data.metainfo
    picture = mmcv.imread(frame.img_path, channel_order="rgb")
    visualizer.add_datasample("frame", picture, frame, out_file=str(tmp_path / "a.png"))
    drawn = mmcv.imread(tmp_path / "a.png", channel_order="rgb")
    truth, found = np.split(drawn, 2, axis=1)
    assert np.array_equal(found, picture)  # nothing was detected
    assert (
        len(frame.gt_instances)
        and truth.shape == picture.shape
        and not np.array_equal(truth, picture)
    )


def test_a_frame_of_no_data_set_is_refused(sample):
    data = dataset(sample)
    path = data[ClipRequest(0, 0, 3, is_first=True, lane=0, seed=())]["data_samples"][0].img_path
    with pytest.raises(
        InputError, match=r"no data set of this process holds this frame; build the data set"
    ):
        get(path.replace("/val_", "/other_"))
    with pytest.raises(InputError, match="is an image"):
        get_text(path)


HAS_TENSORBOARD = find_spec("tensorboard") is not None
RUN = f"""
_base_ = "{ROOT / CONFIG}"
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="DetVisualizationHook", draw=True, interval=2, score_thr=0.0),
]
visualizer = dict(type="EventVisualizer", vis_backends=[
    dict(type="LocalVisBackend"),
    {'dict(type="TensorboardVisBackend")' if HAS_TENSORBOARD else ""}
])
"""


@pytest.fixture(scope="module")
def drawn(sample, tmp_path_factory):
    """Work folder of a run whose validations are drawn by mmdet's own hook."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "drawn.py").write_text(RUN)
    options = [
        "--cfg-options",
        f"data_root={sample}/",
        *SMALL,
        ALL_BOXES,
        "train_cfg.val_interval=4",
    ]
    run("tools/train.py", folder / "drawn.py", "--work-dir", folder / "run", *options)
    return folder / "run"


def ap(folder) -> dict[str, str]:
    with open(folder / "results.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    return {key: value for key, value in row.items() if key.startswith("coco/")}


def test_pictures_of_a_run_reach_the_folder_of_its_back_end(drawn):
    (folder,) = drawn.glob("*/vis_data/vis_image")
    names = {path.name for path in folder.iterdir()}
    assert {"val_evaluation_4.png", "val_film_4.png", "training_4.png"} <= names
    assert {"val_img_4.png", "val_img_6.png"} <= names and "val_img_5.png" not in names
    assert np.array_equal(
        cv2.imread(str(folder / "val_evaluation_4.png")), cv2.imread(str(drawn / "val_4.png"))
    )
    assert cv2.imread(str(folder / "val_img_4.png")).shape[1] == 960


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="needs tensorboard")
def test_tensorboard_receives_scalars_and_pictures(drawn):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(
        str(next(drawn.glob("*/vis_data"))), size_guidance=dict(images=0)
    ).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
    assert events.Scalars("coco/AR100")[0].value == pytest.approx(float(ap(drawn)["coco/AR100"]))
    assert set(events.Tags()["images"]) == {"val_img", "val_evaluation", "val_film", "training"}
    (page,) = events.Images("val_evaluation")
    assert (page.step, page.height, page.width) == (
        4,
        *cv2.imread(str(drawn / "val_4.png")).shape[:2],
    )


def test_the_checkpoint_of_such_a_run_opens_on_its_own(drawn, tmp_path):
    run("tools/test.py", drawn / "iter_4.pth", "--work-dir", tmp_path)
    assert ap(tmp_path) == ap(drawn)
    assert (
        init_detector(drawn / "iter_4.pth", device="cpu").dataset_meta["classes"][0] == "pedestrian"
    )
