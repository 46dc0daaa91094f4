"""The GPU check on a CPU, in a small size.

All parts run; a second call skips those that have passed; a broken part does not stop the others.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time

import pytest
import torch

from etram_mmdet.analysis.speed.gpu_check.launch import Check
from etram_mmdet.analysis.speed.gpu_check.parts import PARTS, Part, chosen_parts
from etram_mmdet.analysis.speed.gpu_check.result import read_result
from etram_mmdet.analysis.speed.gpu_check.size import FULL, SMALL
from etram_mmdet.analysis.speed.gpu_check.work import work
from etram_mmdet.utils.errors import InputError
from tests.helpers.cli import run
from tests.helpers.fake_rvt import write_fake_rvt

ON_CPU = ("tools/gpu_check.py", "--device", "cpu", "--small", "--out")


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Folder of a whole run, not to be written to, and what it printed."""
    folder = tmp_path_factory.mktemp("check")
    rvt = write_fake_rvt(tmp_path_factory.mktemp("rvt"))
    return folder, run(*ON_CPU, folder, "--reference", rvt)


def rows(folder, part):
    return read_result(folder, part).rows


def test_every_part_has_a_result(checked):
    folder, output = checked
    for name, part in PARTS.items():
        result = read_result(folder, name)
        assert (result.status, result.device, result.size, result.error) == (
            "passed",
            "cpu",
            "small",
            [],
        )
        assert (
            0 < result.seconds < result.limit_s <= part.limit_s
            and result.machine["torch"] == torch.__version__
        )
        assert (
            f"{name}: at most {part.limit_s:.0f} s" in output and f"\n{name:<11} passed" in output
        )


def test_no_part_takes_longer_than_it_may():
    assert all(0 < part.limit_s <= 480 for part in PARTS.values())


def test_results_are_figures_of_what_was_asked(checked):
    folder, _ = checked
    counts, *tests = rows(folder, "tests")
    assert (
        counts["skipped"] == counts["tests"] == len(tests) >= 10
        and counts["passed"] == counts["failed"] == 0
    )
    ways = [(row["config"], row["precision"], row["compiled"]) for row in rows(folder, "streaming")]
    assert len(set(ways)) == 10 and ways[-1] == ("baseline_tiny", "float32", True)
    for row in rows(folder, "streaming"):
        assert 0 < row["p5_ms"] <= row["median_ms"] <= row["p95_ms"]
        assert row["network_median_ms"] + row["boxes_median_ms"] < 2 * row["p95_ms"]
    for row in rows(folder, "throughput"):
        assert (
            row["clips_per_s"]
            == pytest.approx(2 * row["steps_per_s"])
            == pytest.approx(2e3 / row["median_ms"])
        )
    (memory,) = rows(folder, "memory")
    assert memory["limit_gib"] == 12 and 0.1 < memory["allocated_gib"] <= memory["reserved_gib"]
    for row in rows(folder, "prediction"):
        assert row["what"] == "kept" and row["holds"] and abs(row["relative_difference"]) < 0.05
    assert "need a GPU" in rows(folder, "graphs")[0]["reason"]
    streaming, training = rows(folder, "reference")
    assert streaming["difference"] < 1e-4 and streaming["how"] == "float32, eager"
    for row in (streaming, training):
        assert row["ratio"] > 0 and row["meets_goal"] in (True, False)
    (demo,) = rows(folder, "demo")
    assert demo["step"] == 4 and demo["frames"] > 0 and 0 <= demo["ap"] <= demo["ap50"] <= 1


def test_the_same_numbers_on_the_same_device(checked):
    folder, _ = checked
    assert all(row["holds"] for part in ("agreement", "training") for row in rows(folder, part))
    for row in rows(folder, "agreement"):
        assert row.get("precision") != "float32" or row["largest_difference"] == 0


def test_report_holds_the_figures(checked):
    folder, output = checked
    report = re.sub(" +", " ", (folder / "report.md").read_text())  # columns line up
    assert output.rstrip().endswith(f"{folder}/report.md")
    assert f"torch {torch.__version__}" in report
    for part in PARTS.values():
        assert f"### {part.title}" in report and f"| {part.name} | passed |" in report
    for row in rows(folder, "throughput"):
        assert f"| {row['config']} | 2 | 2 | {row['median_ms']:.4g} |" in report


def test_a_second_call_runs_what_has_not_passed(checked, tmp_path):
    folder = tmp_path / "again"
    folder.mkdir()
    for name in PARTS:
        (folder / f"{name}.json").write_bytes((checked[0] / f"{name}.json").read_bytes())
    (folder / "memory.json").unlink()
    output = run(*ON_CPU, folder)
    assert (
        output.count("passed before") == len(PARTS) - 2
        and "memory: at most" in output
        and output.count("at most 1") == 1
    )
    for name in PARTS:
        same = (folder / f"{name}.json").read_bytes() == (checked[0] / f"{name}.json").read_bytes()
        assert same == (name != "memory")


def test_refusals_are_sentences(tmp_path):
    output = run(*ON_CPU, tmp_path / "out", "--parts", "memory", "speed", ok=False)
    assert "error: --parts speed: no such part; expected some of tests, agreement, " in output
    (tmp_path / "file").touch()
    assert "cannot be created" in run(
        *ON_CPU, tmp_path / "file" / "out", "--parts", "memory", ok=False
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_the_reference_runs_where_it_is_given_only(tmp_path):
    assert "reference" not in {part.name for part in chosen_parts(None)}
    assert "reference" in {part.name for part in chosen_parts(None, tmp_path)}
    output = run(*ON_CPU, tmp_path / "out", "--parts", "reference", ok=False)
    assert "--parts reference: it executes RVT's code; add --reference with a clone of" in output


def test_no_gpu_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    output = run("tools/gpu_check.py", "--out", tmp_path / "out", ok=False)
    assert output.startswith("error: --device cuda: no GPU found here") and output.count("\n") == 1


class Scripted(Check):
    """Runs a line of Python per part instead of what the part measures."""

    def __init__(self, folder, scripts, size=SMALL):
        self.lines = []
        super().__init__("cpu", size, folder, self.lines.append)
        self.scripts = scripts

    def command(self, part):
        return [sys.executable, "-c", self.scripts[part.name]]


def parts(*names, limit_s=60):
    return [Part(name, name, limit_s, "") for name in names]


def test_a_part_that_fails_is_recorded_and_the_next_runs(tmp_path):
    check = Scripted(
        tmp_path, {"memory": "print('so far'); raise OSError('broken')", "demo": "print('done')"}
    )
    results = check.run(parts("memory", "demo"), minutes=1)
    assert [result.status for result in results.values()] == ["failed", "passed"]
    error = read_result(tmp_path, "memory").error
    assert error[0] == "so far" and error[-2:] == ["OSError: broken", "exit status 1"]
    assert (tmp_path / "memory.log").read_text().endswith("OSError: broken\n")
    report = re.sub(" +", " ", (tmp_path / "report.md").read_text())
    assert " OSError: broken" in report and "| memory | failed |" in report


def test_failed_parts_run_again_and_passed_ones_not(tmp_path):
    Scripted(tmp_path, {"memory": "1 / 0", "demo": "pass"}).run(parts("memory", "demo"), minutes=1)
    second = Scripted(tmp_path, {"memory": "pass", "demo": "1 / 0"})
    assert [r.status for r in second.run(parts("memory", "demo"), minutes=1).values()] == [
        "passed",
        "passed",
    ]
    assert [line for line in second.lines if line.startswith("demo: passed before")]
    assert (
        Scripted(tmp_path, {"demo": "1 / 0"}).run(parts("demo"), 1, again=True)["demo"].status
        == "failed"
    )


def test_what_passed_at_another_size_has_not_passed(tmp_path):
    Scripted(tmp_path, {"demo": "pass"}).run(parts("demo"), minutes=1)
    assert (
        Scripted(tmp_path, {"demo": "1 / 0"}, FULL).run(parts("demo"), minutes=1)["demo"].status
        == "failed"
    )


def test_a_part_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    child = (
        "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); "
        "time.sleep(60)"
    )
    check = Scripted(tmp_path, {"memory": child, "demo": "pass"})
    start = time.monotonic()
    results = check.run(parts("memory", "demo", limit_s=2), minutes=1)
    assert time.monotonic() - start < 10
    assert [result.status for result in results.values()] == ["timed out", "passed"]
    assert 2 <= results["memory"].seconds and read_result(tmp_path, "memory").limit_s == 2
    pid = int((tmp_path / "memory.log").read_text().split()[0])
    assert not is_running(pid)


def is_running(pid):
    """An ended process stays on the list until its parent looks."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_the_time_for_all_parts_is_limited(tmp_path):
    check = Scripted(tmp_path, dict.fromkeys(("tests", "memory"), "import time; time.sleep(60)"))
    results = check.run(parts("tests", "memory"), minutes=1 / 60)
    assert results["tests"].status == "timed out" and results["memory"] is None
    assert not (tmp_path / "memory.json").exists() and "memory: not started" in check.lines[-1]


def fake_part(measure):
    fake = type("FakePart", (Part,), dict(measure=staticmethod(measure)))
    return fake("memory", "Memory", 60, "")


def test_rows_are_on_disk_before_the_part_ends(tmp_path):
    def measure(device, size, folder):
        yield dict(figure=1.5)
        assert read_result(folder, "memory").rows == [dict(figure=1.5)]
        os.environ["no such name"]

    with pytest.raises(KeyError):
        work(fake_part(measure), torch.device("cpu"), SMALL, tmp_path)
    result = read_result(tmp_path, "memory")
    assert result.status == "unfinished" and result.rows == [dict(figure=1.5)]


def test_a_row_that_does_not_hold_fails_the_part_after_the_others(tmp_path):
    def measure(device, size, folder):
        yield dict(what="a", holds=False)
        yield dict(what="b", holds=True)

    with pytest.raises(SystemExit, match=r"1 of 2 rows do not meet their .*: what a, holds no"):
        work(fake_part(measure), torch.device("cpu"), SMALL, tmp_path)
    assert len(read_result(tmp_path, "memory").rows) == 2


def test_a_file_that_is_no_result_is_a_sentence(tmp_path):
    for text in ("{", json.dumps(dict(other=1))):
        (tmp_path / "demo.json").write_text(text)
        with pytest.raises(
            InputError, match=r"demo\.json: not (valid JSON|the result of a part) .*delete it"
        ):
            Scripted(tmp_path, {}).run(parts("demo"), minutes=1)
