"""Label files of other tools."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from etram_mmdet.events.class_sets import get_class_set
from etram_mmdet.events.label_formats import (
    LABEL_FORMATS,
    Hints,
    base,
    find_label_format,
    format_to_write,
)
from etram_mmdet.events.label_formats import coco as coco_format
from etram_mmdet.events.label_formats.clock import (
    Clock,
    guess_unit,
    read_frame_times,
    write_frame_times,
)
from etram_mmdet.events.label_formats.convert import in_microseconds, with_classes, write_labels
from etram_mmdet.events.label_formats.label_table import NO_TRACK, interpolated, resized, table_of
from etram_mmdet.utils.errors import InputError
from tests.helpers.raw import make_boxes

NAMES = ("car", "bus", "person")
FILES = dict(
    prophesee="a_bbox.npy", coco="a.json", cvat="a.xml", csv="a.csv", mot="a.txt", yolo="a"
)
SIZE_PX = (320, 240)


@pytest.fixture
def table():
    """200 boxes of 8 tracks in 50 frames at 30 Hz, starting at an odd time, and an empty frame."""
    rng = np.random.default_rng(0)
    frames = np.arange(50) * 33_333 + 1_234_567
    picks = [(int(t), track) for t in frames for track in rng.permutation(8)[:4]]
    rows = [
        (
            t,
            *rng.uniform(0, 200, 2),
            *rng.uniform(5, 80, 2),
            int(track) % 3,
            int(track),
            0.5 + i / 1000,
        )
        for i, (t, track) in enumerate(picks)
    ]
    return table_of(rows, NAMES, [99], unit="us", size_px=SIZE_PX)


def read_back(path, files):
    format_ = find_label_format(path)
    table = format_.read(
        path, Hints(size_px=SIZE_PX, names=NAMES if format_.name == "prophesee" else ())
    )
    clock = Clock("frames", frame_us=read_frame_times(files[1])) if format_.counts_frames else None
    return in_microseconds(table, clock)


def by_place(table):
    order = np.lexsort([table.rows["track_id"], table.rows["stamp"]])
    return table.rows[order], [table.names[i] for i in table.rows["name"][order]]


@pytest.mark.parametrize("name", FILES)
def test_a_round_trip_keeps_boxes_times_classes_and_tracks(name, table, tmp_path):
    done = write_labels(table, tmp_path / FILES[name], LABEL_FORMATS[name])
    assert find_label_format(tmp_path / FILES[name]).name == name
    back = read_back(tmp_path / FILES[name], done.files)
    (before, names), (after, names_after) = by_place(table), by_place(back)
    assert names == names_after and len(before) == 200
    assert np.array_equal(before["stamp"], after["stamp"])
    assert np.array_equal(before["track_id"], after["track_id"])
    for side in "xywh":
        np.testing.assert_allclose(after[side], before[side], atol=1e-3)
    without_empty = name == "mot"  # has no line for a frame without a box
    assert np.array_equal(back.stamps, table.stamps[without_empty:])


@pytest.mark.parametrize("name", ["coco", "csv", "cvat", "mot", "yolo"])
def test_boxes_without_a_track_stay_without(name, tmp_path):
    table = table_of([(0, 1, 2, 30, 40, 0, NO_TRACK, 1)], NAMES, [], unit="us", size_px=SIZE_PX)
    done = write_labels(table, tmp_path / FILES[name], LABEL_FORMATS[name])
    assert read_back(tmp_path / FILES[name], done.files).rows["track_id"].tolist() == [NO_TRACK]


def test_what_preprocessing_reads_is_what_was_labelled(table, tmp_path):
    from etram_mmdet.events.labels import load_boxes, load_label_times

    write_labels(
        with_classes(table, ("person", "car")), tmp_path / "a_bbox.npy", LABEL_FORMATS["prophesee"]
    )
    boxes = load_boxes(tmp_path / "a_bbox.npy")
    expected = [("person", "car").index(NAMES[i]) for i in table.rows["name"] if NAMES[i] != "bus"]
    assert boxes["class_id"].tolist() == expected
    assert np.array_equal(load_label_times(tmp_path / "a_bbox.npy"), table.stamps)


class TestIds:
    """Files that hold ids instead of names."""

    @pytest.mark.parametrize("ids", [[3, 1, 3], [-1, 0, 5]])
    def test_ids_of_an_array_stay(self, ids, tmp_path):
        boxes = make_boxes([5, 6, 7])
        boxes["class_id"] = np.array(ids).astype(np.uint32)
        np.save(tmp_path / "a_bbox.npy", boxes)
        table = LABEL_FORMATS["prophesee"].read(tmp_path / "a_bbox.npy", Hints())
        assert [table.names[i] for i in table.rows["name"]] == list(map(str, ids))
        write_labels(table, tmp_path / "b_bbox.npy", LABEL_FORMATS["prophesee"])
        assert np.load(tmp_path / "b_bbox.npy")["class_id"].tolist() == boxes["class_id"].tolist()

    def test_ids_of_a_csv_file_stay(self, tmp_path):
        (tmp_path / "a.csv").write_text("t_us,x,y,w,h,class_id\n5,1,2,10,20,3\n6,1,2,10,20,1\n")
        write_labels(
            LABEL_FORMATS["csv"].read(tmp_path / "a.csv", Hints()),
            tmp_path / "a.npy",
            LABEL_FORMATS["prophesee"],
        )
        assert np.load(tmp_path / "a.npy")["class_id"].tolist() == [3, 1]

    def test_ids_without_a_name_are_told_and_the_same_track_twice_at_a_time_is_none(self, tmp_path):
        np.save(
            tmp_path / "a_bbox.npy", make_boxes([5, 5, 7], class_id=[0, 2, 0], track_id=[0, 0, 0])
        )
        read = LABEL_FORMATS["prophesee"].read
        assert read(tmp_path / "a_bbox.npy", Hints()).rows["track_id"].tolist() == [NO_TRACK] * 3
        with pytest.raises(
            InputError, match=r"class id 2 has no name: 2 names were given .*--source-classes"
        ):
            read(tmp_path / "a_bbox.npy", Hints(names=("car", "bus")))

    def test_text_class_names_are_read(self, tmp_path):
        dtype = [
            (name, "<U8" if name == "class_id" else kind)
            for name, kind in make_boxes([1]).dtype.descr
        ]
        boxes = make_boxes([5, 6]).astype(dtype)
        boxes["class_id"] = ["tram", "car"]
        np.save(tmp_path / "a_bbox.npy", boxes)
        table = LABEL_FORMATS["prophesee"].read(tmp_path / "a_bbox.npy", Hints())
        assert with_classes(table, ("car", "tram")).rows["name"].tolist() == [1, 0]

    def test_ids_stand_for_the_classes_in_order_or_as_a_class_set_says(self, tmp_path):
        np.save(tmp_path / "a_bbox.npy", make_boxes([5, 6, 7], class_id=[0, 2, 9]))
        table = LABEL_FORMATS["prophesee"].read(tmp_path / "a_bbox.npy", Hints())
        found = with_classes(table, ("car", "bus", "tram"))
        assert found.counts_per_class() == dict(car=1, bus=0, tram=1) and found.counts == {
            "boxes_of_class_9": 1
        }
        own = get_class_set(
            dict(classes=("bus", "car"), mapping={2: "car", 9: "bus"}, leave_out=(0,))
        )
        assert with_classes(table, own).counts_per_class() == dict(bus=1, car=1)


class TestClasses:
    def test_classes_go_by_name_whatever_their_case_and_others_are_counted(self, table):
        found = with_classes(table, ("Person", "vehicle"), {"BUS": "vehicle"})
        before, after = table.counts_per_class(), found.counts_per_class()
        assert after == {"Person": before["person"], "vehicle": before["bus"]}
        assert found.counts == {"boxes_of_class_car": before["car"]}

    @pytest.mark.parametrize(
        "renamed, wrong", [({"tram": "car"}, "tram"), ({"bus": "lorry"}, "lorry")]
    )
    def test_a_name_that_nobody_has_is_refused(self, table, renamed, wrong):
        with pytest.raises(InputError, match=f"no class '{wrong}'"):
            with_classes(table, NAMES, renamed)


class TestClock:
    @pytest.mark.parametrize(
        "step, unit", [(0.0333, "s"), (0.1, "s"), (33, "ms"), (33_333, "us"), (33_333_333, "ns")]
    )
    def test_the_unit_is_guessed_from_the_steps(self, step, unit):
        assert guess_unit(1000 + step * np.arange(5)) == unit

    @pytest.mark.parametrize(
        "unit, stamps", [("s", [1.5]), ("ms", [1500]), ("us", [1_500_000]), ("ns", [1_500_000_999])]
    )
    def test_units_become_microseconds(self, unit, stamps):
        assert Clock(unit, offset_us=7).to_us(np.array(stamps)).tolist() == [1_500_007]

    def test_frames_become_microseconds_by_rate_or_map(self, tmp_path):
        assert Clock("frames", frames_per_s=30).to_us(np.array([0.0, 1, 2])).tolist() == [
            0,
            33_333,
            66_667,
        ]
        write_frame_times(tmp_path / "f.csv", np.array([[0, 500], [7, 900]]))
        clock = Clock("frames", frame_us=read_frame_times(tmp_path / "f.csv"))
        assert clock.to_us(np.array([7.0, 0])).tolist() == [900, 500] and clock.from_us(
            np.array([900])
        ).tolist() == [7]
        with pytest.raises(InputError, match="no frame 8 among its 2 frames"):
            clock.to_us(np.array([8.0]))

    @pytest.mark.parametrize("options", [dict(unit="frames"), dict(unit="us", frames_per_s=30)])
    def test_frames_need_a_rate_and_times_need_none(self, options):
        with pytest.raises(InputError, match="--fps"):
            Clock(**options)

    @pytest.mark.parametrize(
        "text", ["frame,t_us\n", "frame,t\n1,2\n", "frame,t_us\n1,2\n1,3\n", "frame,t_us\n1,x\n"]
    )
    def test_a_bad_map_is_refused(self, text, tmp_path):
        (tmp_path / "f.csv").write_text(text)
        with pytest.raises(InputError, match=r"f.csv: "):
            read_frame_times(tmp_path / "f.csv")


class TestInterpolation:
    def test_boxes_between_key_frames_lie_on_a_line_in_time(self):
        rows = [(0, 0, 0, 10, 10, 0, 5, 1), (40, 40, 80, 20, 10, 0, 5, 1)]
        found = interpolated(table_of(rows, NAMES, [10, 50]))
        assert found.rows[["stamp", "x", "y", "w"]].tolist() == [
            (0, 0, 0, 10),
            (10, 10, 20, 12.5),
            (40, 40, 80, 20),
        ]
        assert (
            found.found == ["1 boxes added between the key frames of tracks"] and not found.counts
        )
        assert interpolated(table_of(rows, NAMES, []), np.arange(0.0, 60, 10)).rows[
            "stamp"
        ].tolist() == [
            0,
            10,
            20,
            30,
            40,
        ]

    def test_nothing_is_added_where_the_track_had_left_or_there_is_none(self):
        rows = [(0, 0, 0, 10, 10, 0, 5, 1), (40, 40, 80, 20, 10, 0, 5, 1)]
        table = table_of(rows, NAMES, [10, 20, 30], ends=[(5, 20.0)])
        assert interpolated(table).rows["stamp"].tolist() == [0, 10, 40]
        with pytest.raises(InputError, match="track 5 has two boxes at 40"):
            interpolated(table_of([*rows, rows[1]], NAMES, []))
        on_clock = in_microseconds(
            replace(table, unit="frames"), Clock("frames", frames_per_s=1000)
        )
        assert interpolated(on_clock).rows["stamp"].tolist() == [0, 10_000, 40_000]
        alone = [(*row[:6], NO_TRACK, 1) for row in rows]
        assert len(interpolated(table_of(alone, NAMES, [10])).rows) == 2


def test_boxes_are_scaled_to_the_sensor():
    table = table_of([(0, 10, 20, 30, 40, 0, 1, 1)], NAMES, [], size_px=(1280, 720))
    assert resized(table, (640, 180)).rows[["x", "y", "w", "h"]].tolist() == [(5, 5, 15, 10)]


def coco(tmp_path, images=(), annotations=(), categories=(dict(id=1, name="car"),), **more):
    path = tmp_path / "a.json"
    lists = dict(images=list(images), annotations=list(annotations), categories=list(categories))
    path.write_text(json.dumps({**lists, **more}))
    return path


BOX = dict(id=1, image_id=3, category_id=1, bbox=[1, 2, 3, 4])


class TestCoco:
    @pytest.mark.parametrize(
        "image, unit, stamp",
        [
            (dict(t_us=5000, frame_id=2), "us", 5000),
            (dict(timestamp_ms=7, file_name="12.png"), "ms", 7),
            (dict(frame_id=2), "frames", 2),
            (dict(file_name="cam1/frame_000012.png"), "frames", 12),
        ],
    )
    def test_an_image_tells_its_time_in_one_of_many_ways(self, image, unit, stamp, tmp_path):
        table = LABEL_FORMATS["coco"].read(coco(tmp_path, [dict(id=3, **image)], [BOX]), Hints())
        assert (table.unit, table.stamps.tolist(), table.names) == (unit, [stamp], ("car",))
        assert table.rows[["x", "y", "w", "h"]].tolist() == [(1, 2, 3, 4)]

    def test_crowds_and_ignored_boxes_are_counted(self, tmp_path):
        boxes = [dict(BOX, id=1, iscrowd=1), dict(BOX, id=2, ignore=1), dict(BOX, id=3, image_id=9)]
        table = LABEL_FORMATS["coco"].read(coco(tmp_path, [dict(id=3, t_us=1)], boxes), Hints())
        assert table.counts == {"boxes_to_ignore": 2, "boxes_of_other_images": 1} and not len(
            table.rows
        )

    def test_one_of_several_recordings_is_chosen_by_the_paths_of_its_images(self, tmp_path):
        images = [dict(id=3, t_us=1, file_name="a/1.png"), dict(id=4, t_us=1, file_name="b/1.png")]
        path = coco(
            tmp_path, images, [BOX, dict(BOX, id=2, image_id=4), dict(BOX, id=5, image_id=9)]
        )
        table = LABEL_FORMATS["coco"].read(path, Hints(recording="b"))
        assert len(table.rows) == 1 and table.counts == {"boxes_of_other_images": 1}
        with pytest.raises(InputError, match=r"a.json: holds 2 recordings \('a', 'b'\)"):
            LABEL_FORMATS["coco"].read(path, Hints())
        with pytest.raises(InputError, match="none of its images or videos belongs to 'c'"):
            LABEL_FORMATS["coco"].read(path, Hints(recording="c"))

    def test_one_of_several_videos_is_chosen_by_name(self, tmp_path):
        images = [dict(id=3, t_us=1, video_id=1), dict(id=4, t_us=1, video_id=2)]
        path = coco(tmp_path, images, [BOX], videos=[dict(id=1, name="a"), dict(id=2, name="b")])
        assert len(LABEL_FORMATS["coco"].read(path, Hints(recording="a")).rows) == 1
        with pytest.raises(InputError, match="holds 2 recordings"):
            LABEL_FORMATS["coco"].read(path, Hints())

    @pytest.mark.parametrize(
        "content, told",
        [
            (
                dict(images=[dict(id=3, t_us=1), dict(id=3, t_us=2)]),
                "image id 3 occurs more than once",
            ),
            (
                dict(images=[dict(id=3, t_us=1)], annotations=[BOX, BOX]),
                "annotation id 1 occurs more than once",
            ),
            (dict(images=[dict(id=3)]), "image 3 has no time"),
            (
                dict(images=[dict(id=3, t_us=1)], annotations=[dict(BOX, bbox=[1, 2])]),
                r"has bbox \[1, 2\]",
            ),
            (
                dict(images=[dict(id=3, t_us=1)], annotations=[dict(BOX, category_id=9)]),
                "category_id 9",
            ),
            (dict(images=[dict(t_us=1)]), "has no id"),
            (
                dict(
                    images=[
                        dict(id=1, t_us=1, width=1, height=1),
                        dict(id=2, t_us=2, width=2, height=1),
                    ]
                ),
                "different sizes",
            ),
        ],
    )
    def test_bad_content_is_a_sentence(self, content, told, tmp_path):
        with pytest.raises(InputError, match=told):
            LABEL_FORMATS["coco"].read(coco(tmp_path, **content), Hints())

    @pytest.mark.parametrize(
        "text",
        [
            "{",
            "[]",
            '{"images": 3}',
            "{" * 100_000,
            '{"images":[1],"annotations":[],"categories":[]}',
        ],
    )
    def test_what_is_no_coco_is_a_sentence(self, text, tmp_path):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(InputError, match=r"a.json: "):
            LABEL_FORMATS["coco"].read(tmp_path / "a.json", Hints())


class TestYolo:
    @pytest.mark.parametrize(
        "name, text",
        [
            ("classes.txt", "car\nbus\n"),
            ("data.yaml", "nc: 2\nnames: ['car', \"bus\"]\n"),
            ("data.yaml", "names:\n  0: car\n  1: bus\nval: x\n"),
            ("data.yaml", "names:\n- car\n- bus\n"),
        ],
    )
    def test_names_stand_beside_the_labels(self, name, text, tmp_path):
        (tmp_path / name).write_text(text)
        (tmp_path / "labels").mkdir()
        (tmp_path / "labels" / "frame_000007.txt").write_text("1 0.5 0.5 0.1 0.2\n")
        (tmp_path / "labels" / "frame_000008.txt").write_text("")
        table = LABEL_FORMATS["yolo"].read(tmp_path, Hints(size_px=(100, 50)))
        assert table.names == ("car", "bus") and table.stamps.tolist() == [7, 8]
        assert [float(table.rows[side][0]) for side in "xywh"] == pytest.approx([45, 20, 10, 10])

    @pytest.mark.parametrize("folder", ["labels/train", "obj_train_data", "."])
    def test_layouts_of_other_programs_are_found(self, folder, tmp_path):
        (tmp_path / "obj.names").write_text("car\r\nbus")  # without an end of line
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "frame_000007.txt").write_text("1 0.5 0.5 0.1 0.2\n")
        if folder == "obj_train_data":
            (tmp_path / "train.txt").write_text("data/obj_train_data/frame_000007.png\n")
        table = LABEL_FORMATS["yolo"].read(tmp_path, Hints(size_px=(100, 50)))
        assert (table.names, table.stamps.tolist()) == (("car", "bus"), [7])

    def test_many_files_are_as_large_as_one(self, tmp_path, monkeypatch):
        monkeypatch.setattr(base, "MAX_TEXT_BYTES", 10)
        (tmp_path / "classes.txt").write_text("car\n")
        for number in range(9):
            (tmp_path / f"{number}.txt").write_text("\n\n")
        with pytest.raises(InputError, match="18 bytes, expected at most 10"):
            LABEL_FORMATS["yolo"].read(tmp_path, Hints(size_px=(100, 50)))

    @pytest.mark.parametrize(
        "line", ["3 .5 .5 .1 .1", "0 .5 .5 .1", "car .5 .5 .1 .1", "0 50 50 10 10"]
    )
    def test_a_bad_line_is_named(self, line, tmp_path):
        (tmp_path / "classes.txt").write_text("car\n")
        (tmp_path / "1.txt").write_text(f"0 .5 .5 .1 .1\n{line}\n")
        with pytest.raises(InputError, match=r"1.txt: line 2 is"):
            LABEL_FORMATS["yolo"].read(tmp_path, Hints(size_px=(100, 50)))


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><size>4</size><start_frame>0</start_frame><stop_frame>3</stop_frame>
<labels><label><name>car</name></label><label><name>bus</name></label></labels>
<original_size><width>640</width><height>480</height></original_size></task></meta>
<track id="4" label="bus" source="manual">
<box frame="0" outside="0" keyframe="1" xtl="1" ytl="2" xbr="11" ybr="22"/>
<box frame="1" outside="0" keyframe="0" xtl="2" ytl="2" xbr="12" ybr="22"/>
<box frame="2" outside="1" keyframe="1" xtl="2" ytl="2" xbr="12" ybr="22"/>
<polygon frame="0" points="1,2;3,4"/></track></annotations>"""


class TestCvat:
    def test_what_cvat_writes(self, tmp_path):
        (tmp_path / "a.xml").write_text(CVAT)
        table = find_label_format(tmp_path / "a.xml").read(tmp_path / "a.xml", Hints())
        assert (table.names, table.size_px, table.ends) == (("car", "bus"), (640, 480), [(4, 2)])
        assert table.rows[["stamp", "x", "y", "w", "h", "name", "track_id"]].tolist() == [
            (0, 1, 2, 10, 20, 1, 4),
            (1, 2, 2, 10, 20, 1, 4),
        ]
        assert table.stamps.tolist() == [0, 1, 2, 3] and table.counts == {"shapes_polygon": 1}

    @pytest.mark.parametrize(
        "text, told",
        [
            ("<annotations>", "not valid XML"),
            ("<x/>", "expected CVAT's <annotations>"),
            ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "document type"),
            (CVAT.replace('xtl="1"', 'xtl="one"'), "xtl='one'"),
        ],
    )
    def test_bad_content_is_a_sentence(self, text, told, tmp_path):
        (tmp_path / "a.xml").write_text(text)
        with pytest.raises(InputError, match=told):
            LABEL_FORMATS["cvat"].read(tmp_path / "a.xml", Hints())


class TestCsv:
    def read(self, tmp_path, text, **hints):
        (tmp_path / "a.csv").write_text(text)
        return LABEL_FORMATS["csv"].read(tmp_path / "a.csv", Hints(**hints))

    @pytest.mark.parametrize(
        "head, line",
        [
            ("t_us,x,y,w,h,class", "5,1,2,10,20,car"),
            ("Class;Time_us;XMIN;ymin;xmax;ymax", "car;5;1;2;11;22"),
            (
                "filename,width,height,class,xmin,ymin,xmax,ymax,t_us",
                "1.png,640,480,car,1,2,11,22,5",
            ),
            ("timestamp_us\tcx\tcy\twidth\theight\tlabel", "5\t6\t12\t10\t20\tcar"),
        ],
    )
    def test_columns_go_by_name(self, head, line, tmp_path):
        table = self.read(tmp_path, f"{head}\n{line}\n")
        assert table.rows[["stamp", "x", "y", "w", "h"]].tolist() == [
            (5, 1, 2, 10, 20)
        ] and table.names == ("car",)

    def test_columns_of_other_names_are_given(self, tmp_path):
        text = "when,a,b,c,d,kind\n0.5,1,2,10,20,car\n"
        with pytest.raises(InputError, match="no column holds a time or frame number"):
            self.read(tmp_path, text)
        columns = dict(
            zip(("t_s", "x", "y", "w", "h", "class"), "when a b c d kind".split(), strict=True)
        )
        assert in_microseconds(self.read(tmp_path, text, columns=columns)).stamps.tolist() == [
            500_000
        ]

    def test_a_number_that_is_none_is_named(self, tmp_path):
        with pytest.raises(InputError, match="line 3: x is 'far', expected a number"):
            self.read(tmp_path, "t_us,x,y,w,h,class\n5,1,2,10,20,car\n6,far,2,10,20,car\n")

    def test_lines_of_several_recordings_are_not_mixed(self, tmp_path):
        text = "video,t_us,x,y,w,h,class\nrec1,5,1,2,10,20,car\nrec2,5,1,2,10,20,bus\n"
        with pytest.raises(InputError, match=r"holds 2 recordings \('rec1', 'rec2'\)"):
            self.read(tmp_path, text)
        assert self.read(tmp_path, text, recording="rec2").counts_per_class() == {"bus": 1}

    def test_ids_take_the_names_that_are_given(self, tmp_path):
        table = self.read(tmp_path, "t_us,x,y,w,h,class_id\n5,1,2,10,20,1\n", names=("car", "bus"))
        assert table.counts_per_class() == {"car": 0, "bus": 1}
        with pytest.raises(InputError, match="class id 2, expected 0 to 1"):
            self.read(tmp_path, "t_us,x,y,w,h,class_id\n5,1,2,10,20,2\n", names=("car", "bus"))


class TestMot:
    def test_frames_and_classes_count_from_one_and_ignored_boxes_are_counted(self, tmp_path):
        (tmp_path / "labels.txt").write_text("car\nbus\n")
        (tmp_path / "gt.txt").write_text("1,7,1,2,10,20,1,2,1\n2,7,1,2,10,20,0,2,1\n")
        table = find_label_format(tmp_path / "gt.txt").read(tmp_path / "gt.txt", Hints())
        assert table.rows[["stamp", "name", "track_id"]].tolist() == [
            (0, 1, 7)
        ] and table.counts == {"boxes_to_ignore": 1}

    def test_a_bad_line_is_named(self, tmp_path):
        (tmp_path / "gt.txt").write_text("1,7,1,2,10,20,1,9,1\n")
        with pytest.raises(
            InputError, match="line 1 is '1,7,1,2,10,20,1,9,1', expected frame,track"
        ):
            LABEL_FORMATS["mot"].read(tmp_path / "gt.txt", Hints(names=("car",)))


def test_half_a_gigabyte_is_a_sentence(tmp_path, monkeypatch):
    for module in (base, coco_format):
        monkeypatch.setattr(module, "MAX_TEXT_BYTES", 10)
    (tmp_path / "a.xml").write_text(CVAT)
    for name, path in (("coco", coco(tmp_path)), ("cvat", tmp_path / "a.xml")):
        with pytest.raises(
            InputError, match=r"bytes, expected at most 10.* one file for each recording"
        ):
            LABEL_FORMATS[name].read(path, Hints())


@pytest.mark.parametrize("number", ["NaN", "1e9", "Infinity"])
def test_a_side_that_is_no_length_is_named(number, tmp_path):
    path = coco(tmp_path, [dict(id=3, t_us=1)], [BOX])
    path.write_text(path.read_text().replace("[1, 2", f"[{number}, 2"))
    with pytest.raises(
        InputError, match="1 boxes hold no usable numbers, the first is stamp = 1, x = "
    ):
        LABEL_FORMATS["coco"].read(path, Hints())


def test_formats_are_known_by_suffix_and_content(tmp_path):
    assert {format_to_write(tmp_path / file).name for file in FILES.values()} == set(FILES)
    (tmp_path / "a.doc").write_bytes(b"\xd0\xcf")
    with pytest.raises(InputError, match="unknown format of label files"):
        find_label_format(tmp_path / "a.doc")
    with pytest.raises(InputError, match=r"no label format has the suffix .doc"):
        format_to_write(tmp_path / "a.doc")
