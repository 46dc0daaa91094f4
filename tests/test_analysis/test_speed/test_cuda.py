"""Tests the calls of a GPU with a fake that takes the same arguments as the real functions."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
import torch

from etram_mmdet.analysis.speed import cuda
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT

GPU = torch.device("cuda")
CPU = torch.device("cpu")


@pytest.fixture
def card(monkeypatch):
    """A card of 16 GiB."""
    stand_in = create_autospec(torch.cuda)
    stand_in.get_device_properties.return_value = SimpleNamespace(
        total_memory=16 * 2**30, major=7, minor=5
    )
    stand_in.get_device_name.return_value = "Tesla T4"
    stand_in.max_memory_allocated.return_value = 3 * 2**30
    stand_in.max_memory_reserved.return_value = 4 * 2**30
    stand_in.is_bf16_supported.return_value = False
    monkeypatch.setattr(torch, "cuda", stand_in)
    return stand_in


def test_calls_reach_the_card(card):
    cuda.check(GPU)
    cuda.synchronize(GPU)
    cuda.forget(GPU)
    for call in (
        card.is_available,
        card.synchronize,
        card.empty_cache,
        card.reset_peak_memory_stats,
    ):
        call.assert_called_once()
    assert cuda.name(GPU) == "Tesla T4" and not cuda.has_bfloat16(GPU)
    assert (cuda.peak_bytes(GPU), cuda.reserved_peak_bytes(GPU)) == (3 * 2**30, 4 * 2**30)


def test_a_limit_is_a_share_of_the_card_and_ends(card):
    with pytest.raises(KeyError), cuda.at_most(GPU, 12):
        raise KeyError
    shares = [call.args[0] for call in card.set_per_process_memory_fraction.call_args_list]
    assert shares == [0.75, 1.0]
    with cuda.at_most(GPU, 24):
        assert card.set_per_process_memory_fraction.call_args.args == (1.0,)


def test_a_cpu_asks_no_card(card):
    cuda.check(CPU)
    cuda.synchronize(CPU)
    cuda.forget(CPU)
    with cuda.at_most(CPU, 1):
        pass
    assert cuda.name(CPU) == "" and cuda.facts(CPU) == {} and cuda.has_bfloat16(CPU)
    assert 2**26 < cuda.peak_bytes(CPU) == cuda.reserved_peak_bytes(CPU) < 2**40
    assert not card.mock_calls


def test_facts_name_the_driver(card, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cuda.facts(GPU)["driver"] == "unknown"
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 580.65.06\necho 580.65.06\n")
    tool.chmod(0o755)
    facts = cuda.facts(GPU)
    assert (
        facts["driver"] == "580.65.06"
        and facts["memory"] == "16.0 GiB"
        and facts["capability"] == "7.5"
    )


def test_no_card_is_a_sentence(card):
    card.is_available.return_value = False
    with pytest.raises(InputError, match=r"no GPU found here .*--device cpu --small"):
        cuda.check(GPU)


def test_exact_products_put_the_switches_back():
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    torch.backends.cudnn.allow_tf32 = True
    with pytest.raises(KeyError), cuda.exact_products():
        assert not any(switch.allow_tf32 for switch in switches)
        raise KeyError
    assert torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before[1]
    assert [switch.allow_tf32 for switch in switches] == before


SPEED = ROOT / "etram_mmdet" / "analysis" / "speed"


def test_nothing_else_of_the_benchmarks_calls_a_card():
    """No other module may call a GPU, since such a line would not run without one."""
    assert (SPEED / "cuda.py").is_file()
    for path in SPEED.rglob("*.py"):
        assert path.name == "cuda.py" or "torch.cuda" not in path.read_text(), path
