"""A short version of kill_training.py, and differences that its comparison has to find."""

from __future__ import annotations

import random
import shutil

import pytest
import torch

from tests.reliability.kill_training import Combination, Trial, differences, result


@pytest.mark.parametrize(("combination", "kills"), [(("mixed", 1, 0), 2), (("stream", 2, 2), 1)])
def test_a_killed_training_ends_as_an_undisturbed_one(sample, tmp_path, combination, kills):
    trial = Trial(Combination(*combination), sample, tmp_path, random.Random(0))
    trial.run(kills)
    assert trial.faults == [] and trial.counts.total() == kills


def test_differences_are_found(trained, tmp_path):
    expected = result(trained[0], steps=4)
    assert (
        len(expected) > 500
        and len(expected["rows"]) == 2
        and expected["scalars"].keys() == {1, 2, 3, 4}
    )
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    assert differences(result(folder, steps=4), expected) == []
    content = torch.load(folder / "iter_4.pth")
    name = next(iter(content["state_dict"]))
    for tensor in (content["state_dict"][name], content["own_states"][0]["lanes"][0][0][0]):
        first = (0,) * tensor.dim()
        tensor[first] = torch.nextafter(tensor[first], torch.tensor(9.0))  # its last bit
    torch.save(content, folder / "iter_4.pth")
    rows = (folder / "results.csv").read_text().splitlines()
    (folder / "results.csv").write_text("\n".join([*rows, rows[-1]]) + "\n")
    found = differences(result(folder, steps=4), expected)
    assert found == [f"state_dict.{name}", "own_states.0.lanes.0.0.0", "rows"]
