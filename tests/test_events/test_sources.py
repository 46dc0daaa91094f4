"""Which files of a folder are recordings."""

from __future__ import annotations

from etram_mmdet.events.preprocessing.sources import find_sources
from etram_mmdet.utils.files import part_of


def test_parts_of_files_are_no_recordings(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    for name in ("a_td.h5", "a_bbox.npy"):
        (folder / name).touch()
    for name in ("b_td.h5", "c_bbox.npy"):
        part_of(folder / name).touch()
    (folder / "._a_td.h5").touch()
    sources, problems = find_sources(tmp_path, "auto")
    assert [source.name for source in sources] == ["a"]
    assert not any(str(folder / ".") in problem for problem in problems) and "b_td" not in "".join(
        problems
    )
