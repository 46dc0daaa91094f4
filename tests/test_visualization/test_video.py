"""Films: read back frame by frame."""

from __future__ import annotations

import importlib.util
import resource
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from etram_mmdet.utils.errors import InputError
from etram_mmdet.utils.files import atomic_write
from etram_mmdet.visualization import video

COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))  # RGB


def write_frames(path, size, fps, **options):
    """Replacement of imageio-ffmpeg's function of this name, with OpenCV's encoder.

    It takes frames of ``size`` (width, height).
    """
    assert options["codec"] == "libx264" and options["macro_block_size"] == 2
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)
    try:
        while True:
            frame = yield
            assert (
                frame.flags.c_contiguous
                and frame.shape[1::-1] == size
                and not any(side % 2 for side in size)
            )
            film.write(np.ascontiguousarray(frame[..., ::-1]))
    finally:
        film.release()


@pytest.fixture(params=["H.264", "mp4v"])
def codec(request, monkeypatch):
    """With imageio-ffmpeg (or a replacement if it is not installed), and without it."""
    if request.param == "mp4v":
        monkeypatch.setattr(video, "has_h264", lambda: False)
    elif importlib.util.find_spec("imageio_ffmpeg") is None:
        stand_in = SimpleNamespace(write_frames=write_frames, get_ffmpeg_exe=lambda: "ffmpeg")
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", stand_in)
    return request.param


def images():
    return (np.full((65, 97, 3), colour, np.uint8) for colour in COLOURS)


def read(path):
    film, frames = cv2.VideoCapture(str(path)), []
    while (answer := film.read())[0]:
        frames.append(answer[1][..., ::-1])
    return film.get(cv2.CAP_PROP_FPS), frames


def test_film_holds_its_pictures_in_even_size(tmp_path, codec):
    assert video.write_mp4(images(), tmp_path / "new" / "film.mp4").startswith(codec)
    rate, frames = read(tmp_path / "new" / "film.mp4")
    assert rate == video.FRAMES_PER_S and [frame.shape for frame in frames] == [(66, 98, 3)] * 3
    for frame, colour in zip(frames, COLOURS, strict=True):
        assert frame.mean((0, 1)) == pytest.approx(colour, abs=8)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["film.mp4"]


def test_a_rate_with_many_digits(tmp_path, codec):
    """Windows of 15 ms; MPEG-4 accepts no finer fractions of a second."""
    video.write_mp4(images(), tmp_path / "film.mp4", 1e6 / 15_000)
    assert read(tmp_path / "film.mp4")[0] == pytest.approx(66.67, abs=0.01)


def test_film_that_breaks_off_leaves_what_was_there(tmp_path, codec):
    def broken():
        yield from images()
        raise InputError("no more")

    (tmp_path / "film.mp4").write_text("the one before")
    with pytest.raises(InputError, match="no more"):
        video.write_mp4(broken(), tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_text() == "the one before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("place", ["file/film.mp4", "folder"])
def test_place_that_cannot_be_written_is_named(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=rf"{place}: cannot be written: .+; name a"):
        with atomic_write(tmp_path / place) as aside:
            aside.touch()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_film_that_did_not_fit_is_a_sentence(tmp_path, codec):
    """No encoder reports it."""
    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(100))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(
            InputError,
            match=r"film\.mp4: cannot be written: the file would be larger than the limit",
        ):
            video.write_mp4(noise, tmp_path / "film.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_film_with_too_few_images_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_write_mpeg4", lambda *args: 3)
    monkeypatch.setattr(video, "has_h264", lambda: False)
    with pytest.raises(
        InputError, match=r"film\.mp4: cannot be written: only 0 of 3 images of the film are in it"
    ):
        video.write_mp4(images(), tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())
