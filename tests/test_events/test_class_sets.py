"""What a class set makes of the ids and names in label files."""

import json

import numpy as np
import pytest

from etram_mmdet.events.class_mapping import LEFT_OUT, ClassSet, palette_of
from etram_mmdet.events.class_sets import CLASS_SETS, ETRAM8, get_class_set
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT

OWN = dict(
    classes=("car", "bus"), mapping={1: "car", 2: "bus", "lorry": "bus"}, leave_out=("bicycle", 7)
)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (1, 0),
        (2, 1),
        ("1", 0),
        ("car", 0),
        (" Bus ", 1),
        ("LORRY", 1),
        (7, None),
        ("Bicycle", None),
    ],
)
def test_ids_and_names_have_the_class_that_a_mapping_gives_them(key, expected):
    assert get_class_set(OWN).class_of(key) == expected


@pytest.mark.parametrize("key", [0, 9, -1, "tram"])
def test_what_a_set_does_not_know_is_refused(key):
    with pytest.raises(
        InputError, match=f"{key!r} is not in class_set 'car, bus', which reads ids 1 to 2, 7 and"
    ):
        get_class_set(OWN).class_of(key)


def test_a_file_a_dict_and_what_a_set_says_of_itself_mean_the_same(tmp_path):
    path = tmp_path / "street.json"
    path.write_text(json.dumps(OWN))  # keys of mapping become strings
    of_file = get_class_set(str(path))
    assert (
        of_file
        == get_class_set(dict(OWN, name="street"))
        == get_class_set(json.loads(json.dumps(of_file.config)))
    )
    assert of_file.class_names == {1: "car", 2: "bus"}
    for shipped in map(CLASS_SETS.get, ("etram8", "gen1", "dsec")):
        assert get_class_set(shipped.config) == shipped


def test_without_a_mapping_ids_count_the_classes_and_there_may_be_many():
    names = [f"kind {k}" for k in range(300)]
    many = get_class_set(dict(classes=names))
    assert [many.class_of(k) for k in (0, 9, 299)] == [0, 9, 299]
    assert get_class_set(dict(classes=["car", "bus"], mapping={"lorry": "bus"})).class_of(1) == 1
    colours = palette_of(300)
    assert (
        len(set(colours[:60])) == 60 and len(colours) == 300 and many.metainfo["palette"] == colours
    )


def test_labels_follow_names_where_these_are_known():
    gen1 = get_class_set("gen1")
    ids = np.array([0, 1, 1], np.uint32)
    assert gen1.labels_of(ids).tolist() == [0, 1, 1]
    assert gen1.labels_of(ids, {0: "Pedestrian", 1: "Car"}).tolist() == [1, 0, 0]
    with pytest.raises(
        InputError,
        match=r"class names \['bus'\] are not in class_set 'gen1', which reads ids 0 to 1",
    ):
        gen1.labels_of(ids, {0: "car", 1: "bus"})
    with pytest.raises(
        InputError, match=r"class ids \[-1, 9\] are not in class_set 'gen1'.*\(2 of 3 boxes\)"
    ):
        gen1.labels_of(np.array([9, 2**32 - 1, 0], np.uint32))


def test_the_shipped_sets_have_the_ids_of_their_publishers():
    assert CLASS_SETS["gen1"].classes == ("car", "pedestrian")
    megapixel = CLASS_SETS["1mpx"]
    assert megapixel.labels_of(np.arange(7)).tolist() == [0, 1, 2, *[LEFT_OUT] * 4]
    assert megapixel.class_names[1] == "two wheeler" and megapixel.class_names[6] == "traffic light"
    assert (
        CLASS_SETS["dsec"].classes[:3] == ("pedestrian", "rider", "car")
        and CLASS_SETS["dsec"].class_of("train") == 7
    )
    grouped = CLASS_SETS["etram3_from8"]
    assert grouped.labels_of(np.arange(8)).tolist() == [0, 1, 2, 1, 2, 1, 1, 2]
    assert grouped.class_of("tram") == 1 and tuple(grouped.class_names.values()) == ETRAM8


def test_metainfo_selects_by_name_as_in_mmdetection():
    some = CLASS_SETS["etram8"].only(["bus", "car"])
    assert some.classes == ("bus", "car")
    assert some.labels_of(np.arange(8)).tolist() == [LEFT_OUT, 1, LEFT_OUT, 0, *[LEFT_OUT] * 4]
    assert some.class_of("tram") is None and some.only(["car"]).class_of(3) is None
    assert get_class_set(OWN).only(["bus"]).labels_of(np.array([1, 2, 7])).tolist() == [
        LEFT_OUT,
        0,
        LEFT_OUT,
    ]
    with pytest.raises(
        InputError, match="metainfo names the class 'van', but class_set 'etram8' has pedestrian"
    ):
        CLASS_SETS["etram8"].only(["car", "van"])


def test_as_many_names_of_which_none_is_known_are_new_names():
    renamed = CLASS_SETS["gen1"].only(["Auto", "Mensch"])
    assert renamed.labels_of(np.array([0, 1])).tolist() == [0, 1]
    assert renamed.class_of("car") == 0 and renamed.class_of("mensch") == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "etram9",
            "unknown class_set 'etram9': expected one of etram8, etram3, .*a file NAME.json, or",
        ),
        ({}, "classes is None, expected names in order"),
        (dict(classes="car"), "classes is 'car', expected names in order"),
        (dict(classes=[]), "has no classes"),
        (dict(classes=["car", "Car "]), "'car' is listed twice"),
        (dict(classes=["car", "7"]), "'7' cannot be a class name, since numbers are ids"),
        (dict(classes=["car"], maping={}), "unknown key 'maping'; did you mean mapping"),
        (
            dict(classes=["car"], mapping={1: "bus"}),
            "mapping gives 1 the class 'bus', expected one of car",
        ),
        (
            dict(classes=["car"], mapping={1: 0}),
            r"mapping is \{1: 0\}, expected ids or names to classes",
        ),
        (
            dict(classes=["car"], mapping={1.5: "car"}),
            "1.5 is neither an id .a whole number. nor a name",
        ),
        (dict(classes=["car"], leave_out="bus"), "leave_out is 'bus', expected a list"),
        (
            dict(classes=["car"], leave_out=[0]),
            "0 is in leave_out, but also belongs to a class",
        ),
        (dict(classes=["car"], leave_out=["CAR"]), "'car' is in leave_out"),
    ],
)
def test_a_set_that_says_something_else_is_refused_in_a_sentence(given, expected):
    with pytest.raises(InputError, match=expected):
        get_class_set(given)


def test_a_file_that_is_no_class_set_is_named(tmp_path):
    path = tmp_path / "own.json"
    path.write_text("[1]")
    with pytest.raises(InputError, match=r"own\.json: holds a list, expected an object like"):
        get_class_set(path)
    with pytest.raises(InputError, match=r"none\.json"):
        get_class_set(str(tmp_path / "none.json"))


def test_a_class_set_passes_as_it_is():
    own = ClassSet("own", ("car",))
    assert get_class_set(own) is own


def test_the_file_of_the_docs_is_a_class_set():
    page = (ROOT / "docs" / "classes.md").read_text()
    described = json.loads(page.split("```json\n")[1].split("```")[0])
    assert get_class_set(described) == get_class_set(OWN)
    for name, shipped in CLASS_SETS.items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert ", ".join(shipped.classes) in row or name == "etram3_from8"
