"""Classes of one's own: from the ids and names in label files to the labels that a network sees."""

from __future__ import annotations

import json

import numpy as np
import pytest

from etram_mmdet.analysis.dataset.read import take_census
from etram_mmdet.analysis.dataset.suggested_classes import class_set_in
from etram_mmdet.datasets import ETraMDataset, RawEventDataset
from etram_mmdet.engine.summary.data import data_lines
from etram_mmdet.events.labels import BBOX_DTYPE
from etram_mmdet.events.preprocessing.folder import preprocess_folder
from etram_mmdet.events.preprocessing.sequence_folder import read_manifest, write_manifest
from etram_mmdet.events.preprocessing.settings import PreprocessSettings
from etram_mmdet.utils.errors import InputError
from tests.helpers.raw import make_boxes, write_recording

OWN = dict(classes=("car", "bus"), mapping={11: "car", 12: "bus", "lorry": "bus"}, leave_out=(3,))
TIMES = [100_000, 100_000, 200_000, 300_000]
NAMED = np.dtype([(name, "<U8" if name == "class_id" else kind) for name, kind in BBOX_DTYPE.descr])


def raw_with(folder, class_ids, dtype=BBOX_DTYPE):
    """One recording whose four boxes, one of them alone in the second frame, have these classes."""
    boxes = make_boxes(TIMES).astype(dtype)
    boxes["class_id"] = class_ids
    write_recording(folder / "raw" / "train", "a", boxes=boxes)
    return folder / "raw"


def made(folder, class_ids, dtype=BBOX_DTYPE, **settings):
    raw = raw_with(folder, class_ids, dtype)
    return preprocess_folder(raw, folder / "out", PreprocessSettings(**settings))


def labels_of(dataset) -> list[list[int]]:
    (sequence,) = dataset.sequences
    return [sequence.boxes_of(i)[1].tolist() for i in sequence.labelled]


@pytest.mark.parametrize("as_names", [False, True])
def test_ids_and_names_of_ones_own_reach_the_network(tmp_path, as_names):
    ids = ["Lorry", "car ", "bicycle", "CAR"] if as_names else [12, 11, 3, 11]
    own = dict(OWN, leave_out=(3, "bicycle"))
    summary = made(tmp_path, ids, NAMED if as_names else BBOX_DTYPE, class_set=own)
    assert not summary.problems
    assert f"boxes_left_out:{'bicycle' if as_names else 3} 1" in str(summary)
    assert "boxes: bus 1, car 2" in str(summary)
    names = read_manifest(tmp_path / "out/train/a")["class_names"]
    assert names == ({"0": "car", "1": "bus"} if as_names else {"11": "car", "12": "bus"})
    expected = [[1, 0], [], [0]]  # the frame of what is left out has been labelled
    assert labels_of(ETraMDataset(tmp_path / "out", "train", class_set=own)) == expected
    assert labels_of(RawEventDataset(tmp_path / "raw", "train", class_set=own)) == expected
    for data_root in (tmp_path / "out", tmp_path / "raw"):
        census = take_census(data_root, own, read_events=False)
        assert census.boxes("train").labels.tolist() == [1, 0, 0] and census.class_set == "car, bus"
        assert not any(census.dropped_boxes("train").values())  # it was asked for


def test_names_in_a_folder_decide_over_its_ids(tmp_path):
    """Gen1 calls 0 a car: as etram8, by name, it is the class 1."""
    made(tmp_path, [0, 1, 0, 0], class_set="gen1")
    assert labels_of(ETraMDataset(tmp_path / "out", "train", class_set="gen1")) == [
        [0, 1],
        [0],
        [0],
    ]
    assert labels_of(ETraMDataset(tmp_path / "out", "train", class_set="etram8")) == [
        [1, 0],
        [1],
        [1],
    ]
    with pytest.raises(
        InputError,
        match=r"labels\.npz: class names \['car'\] are not in class_set 'etram3'.*--class-set",
    ):
        ETraMDataset(tmp_path / "out", "train", class_set="etram3")


def test_a_folder_without_names_goes_by_ids_as_before(tmp_path):
    summary = made(tmp_path, [0, 1, 0, 0])
    assert "boxes: id 0 3, id 1 1 (training maps ids to classes by its class_set" in str(summary)
    assert "class_names" not in read_manifest(tmp_path / "out/train/a")
    for class_set in ("gen1", "etram8"):
        assert labels_of(ETraMDataset(tmp_path / "out", "train", class_set=class_set)) == [
            [0, 1],
            [0],
            [0],
        ]


def test_names_are_added_to_a_finished_folder(tmp_path):
    before = made(tmp_path, [0, 1, 0, 0]).manifests[0]
    frames = (tmp_path / "out/train/a" / before["representation_path"]).stat().st_ino
    named = made(tmp_path, [0, 1, 0, 0], class_set="gen1")
    assert not named.problems and named.manifests[0]["class_names"] == {
        "0": "car",
        "1": "pedestrian",
    }
    assert (tmp_path / "out/train/a" / before["representation_path"]).stat().st_ino == frames
    assert read_manifest(tmp_path / "out/train/a")["class_names"] == {"0": "car", "1": "pedestrian"}
    other = made(tmp_path, [0, 1, 0, 0], class_set="etram8")
    assert "a: was made with class_set = gen1, but etram8 is requested now" in other.problems[0]


def test_a_folder_is_not_named_by_a_set_that_leaves_its_boxes_out(tmp_path):
    made(tmp_path, [0, 3, 0, 0])
    assert (
        "made with class_set = None, but 1mpx is requested now"
        in made(tmp_path, [0, 3, 0, 0], class_set="1mpx").problems[0]
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, None), (dict(preset="gen4"), "two wheeler"), (dict(class_set="etram3_from8"), "car")],
)
def test_where_a_preset_tells_the_class_set_names_come_from_it(tmp_path, settings, expected):
    made(tmp_path, [1, 1, 0, 0], **settings)
    assert read_manifest(tmp_path / "out/train/a").get("class_names", {}).get("1") == expected


def test_unknown_classes_are_refused_with_their_counts_or_dropped(tmp_path):
    ids = np.array([11, 9, 9, 2**32 - 1], np.uint32)
    (problem,) = made(tmp_path, ids, class_set=OWN).problems
    assert (
        "a_bbox.npy: unknown class ids -1, 9, expected ids 3, 11 to 12 and the names car, bus, "
        "lorry of" in problem
    )
    assert "(-1: 1 boxes, 9: 2 boxes); map them to classes with --class-set" in problem
    summary = made(tmp_path, ids, class_set=OWN, drop_unknown_classes=True)
    assert "boxes_to_ignore 1" in str(summary) and "boxes_unknown_class:9 2" in str(summary)
    dataset = ETraMDataset(tmp_path / "out", "train", class_set=OWN, test_mode=True)
    assert labels_of(dataset) == [[0], [], []]
    (sequence,) = dataset.sequences
    bboxes, labels = sequence.ignored_of(
        int(sequence.labelled[2])
    )  # of class -1: ignored for every class
    assert labels.tolist() == [0, 1] and bboxes.tolist() == [[5, 6, 15, 14]] * 2
    assert not len(sequence.ignored_of(int(sequence.labelled[1]))[1])


def test_dropping_unknown_classes_changes_nothing_where_there_are_none(tmp_path):
    made(tmp_path, [0, 1, 0, 0])
    again = made(tmp_path, [0, 1, 0, 0], drop_unknown_classes=True)
    assert not again.problems and again.manifests[0]["drop_unknown_classes"]
    (tmp_path / "other").mkdir()
    made(tmp_path / "other", [0, 9, 0, 0], drop_unknown_classes=True)
    (problem,) = made(tmp_path / "other", [0, 9, 0, 0]).problems
    assert "made with drop_unknown_classes = True, but False is requested now" in problem


def test_without_a_class_set_unknown_ids_are_refused_or_dropped_too(tmp_path):
    (problem,) = made(tmp_path, [0, 8, 1, 1]).problems
    assert "unknown class ids 8, expected 0 to 7 (8: 1 boxes); map them to classes" in problem
    assert (
        made(tmp_path, [0, 8, 1, 1], drop_unknown_classes=True).dropped["boxes_unknown_class:8"]
        == 1
    )


def test_names_need_a_class_set(tmp_path):
    (problem,) = made(tmp_path, ["car"] * 4, NAMED).problems
    assert (
        "a_bbox.npy: holds class names (car), which need a class set: pass --class-set NAME or "
        "FILE.json" in problem
    )
    (problem,) = made(tmp_path, ["car", "van", "car", "car"], NAMED, class_set="gen1").problems
    assert (
        "unknown class names 'van', expected ids 0 to 1 and the names car, pedestrian of 'gen1'"
        in problem
    )


def test_ids_of_many_classes(tmp_path):
    many = dict(classes=[f"kind {k}" for k in range(40)])
    assert not made(tmp_path, [39, 0, 9, 8], class_set=many).problems
    dataset = ETraMDataset(tmp_path / "out", "train", class_set=many)
    assert labels_of(dataset) == [[39, 0], [9], [8]] and len(dataset.metainfo["palette"]) == 40


@pytest.mark.parametrize("named", [False, True])
def test_metainfo_chooses_classes_by_name(tmp_path, named):
    made(tmp_path, [1, 0, 3, 1], **(dict(class_set="etram8") if named else {}))
    dataset = ETraMDataset(tmp_path / "out", "train", metainfo=dict(classes=["bus", "car"]))
    assert labels_of(dataset) == [[1], [0], [1]] and dataset.metainfo["classes"] == ("bus", "car")
    assert dataset.told_of_left_out() == "boxes of classes that are left out: pedestrian 1"
    assert dataset.told_of_left_out() in data_lines(dataset)
    cars = RawEventDataset(tmp_path / "raw", "train", metainfo=dict(classes=("car",)))
    assert labels_of(cars) == [[0], [], [0]]
    assert cars.told_of_left_out() == "boxes of classes that are left out: bus 1, pedestrian 1"
    with pytest.raises(
        InputError, match="metainfo names the class 'van', but class_set 'etram8' has pedestrian"
    ):
        ETraMDataset(tmp_path / "out", "train", metainfo=dict(classes=("car", "van")))


def test_names_that_earlier_versions_gave_to_other_ids_are_told(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        "etram_mmdet.datasets.etram_dataset.print_log", lambda text, *more: said.append(text)
    )
    made(tmp_path, [0, 1, 0, 0])
    ETraMDataset(tmp_path / "out", "train", metainfo=dict(classes=("pedestrian", "car")))
    assert not said
    dataset = ETraMDataset(tmp_path / "out", "train", metainfo=dict(classes=("car", "pedestrian")))
    assert labels_of(dataset) == [[1, 0], [1], [1]]
    assert (
        len(said) == 1
        and "metainfo chooses car, pedestrian of class_set 'etram8' by name" in said[0]
    )


@pytest.mark.parametrize("names", [["car"], {"car": "0"}, {"0": 1}])
def test_a_manifest_with_other_names_is_refused(tmp_path, names):
    made(tmp_path, [0, 1, 0, 0], class_set="gen1")
    folder = tmp_path / "out/train/a"
    write_manifest(folder, read_manifest(folder) | dict(class_names=names))
    with pytest.raises(
        InputError, match=r"sequence\.json: class_names is .*, expected names_of_ids"
    ):
        ETraMDataset(tmp_path / "out", "train", class_set="gen1")


def test_a_class_set_in_a_file_is_kept_as_what_it_holds(tmp_path):
    path = tmp_path / "street.json"
    path.write_text(json.dumps(OWN))
    settings = PreprocessSettings(class_set=str(path))
    assert (
        settings.class_set["classes"] == ["car", "bus"] and settings.class_set["name"] == "street"
    )
    assert settings == PreprocessSettings(class_set=dict(OWN, name="street"))
    assert PreprocessSettings(class_set="gen1").class_set == "gen1"


def test_a_negative_id_may_have_a_class(tmp_path):
    own = dict(classes=("car", "bus"), mapping={-1: "car", 12: "bus"})
    summary = made(tmp_path, [2**32 - 1, 12, 12, 2**32 - 1], class_set=own)
    assert not summary.problems and read_manifest(tmp_path / "out/train/a")["class_names"] == {
        "-1": "car",
        "12": "bus",
    }
    assert labels_of(ETraMDataset(str(tmp_path / "out"), "train", class_set=own)) == [
        [0, 1],
        [1],
        [0],
    ]


def test_folders_that_call_an_id_by_different_names_are_inspected_by_these(tmp_path):
    for name, own in (("a", ("car", "bus")), ("b", ("Bus", "tram"))):
        raw = raw_with(tmp_path / name, [0, 0, 1, 1])
        preprocess_folder(
            raw, tmp_path / name / "out", PreprocessSettings(class_set=dict(classes=own))
        )
        (tmp_path / "all/train").mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "out/train/a").rename(tmp_path / "all/train" / name)
    census = take_census(tmp_path / "all", class_set_in(tmp_path / "all"), read_events=False)
    assert census.classes == ("car", "bus", "tram") and [
        len(r.label_us) for r in census.recordings
    ] == [3, 3]
    assert np.bincount(census.boxes().labels).tolist() == [2, 4, 2]
