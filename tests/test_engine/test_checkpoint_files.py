"""Checkpoints carry their config, execute nothing and load whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from etram_mmdet.engine.checkpoints.carried_config import evaluation_config, stored_config
from etram_mmdet.engine.checkpoints.contents import CONFIG_KEY
from etram_mmdet.engine.checkpoints.files import (
    config_to_json,
    load_foreign_weights,
    make_plain,
    restore_histories,
    save_atomically,
)
from etram_mmdet.engine.checkpoints.opening import load_checkpoint_file
from etram_mmdet.engine.checkpoints.weights import load_strictly
from etram_mmdet.engine.config.differences import model_differences
from etram_mmdet.engine.config.load import load_config
from etram_mmdet.utils.errors import InputError
from tests.helpers.paths import ROOT


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("load", [load_checkpoint_file, load_foreign_weights])
def test_nothing_is_executed(load, tmp_path):
    evil, trace = tmp_path / "evil.pth", tmp_path / "executed"
    torch.save(dict(state_dict={"w": torch.ones(2)}, meta=Bomb(trace)), evil)
    if load is load_checkpoint_file:
        with pytest.raises(InputError, match="refused"):
            load(evil)
    else:
        assert torch.equal(load(evil)["w"], torch.ones(2))
    assert not trace.exists()
    torch.load(evil, weights_only=False)
    assert trace.exists()  # the bomb works where it is allowed to


def test_foreign_objects_are_not_built(tmp_path):
    """A Lightning checkpoint's hyper-parameters are objects of packages that may be missing."""
    path = tmp_path / "lightning.ckpt"
    weights = {"mdl.w": torch.arange(4.0).view(2, 2), "mdl.n": torch.tensor(3)}
    torch.save(
        dict(state_dict=weights, hyper_parameters=Config(dict(a=[1, dict(b=2)])), epoch=3), path
    )
    loaded = load_foreign_weights(path)
    assert set(loaded) == set(weights) and all(torch.equal(loaded[k], weights[k]) for k in weights)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps([1])])
@pytest.mark.parametrize("load", [load_checkpoint_file, load_foreign_weights])
def test_damaged_files_are_named(load, content, tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.pth"):
        load(path)
    with pytest.raises(InputError, match="no such checkpoint"):
        load(tmp_path / "y.pth")


def test_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "x.pth"
    torch.save(dict(state_dict={"w": torch.rand(1000)}), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_checkpoint_file(path)


def test_config_survives_as_data(tmp_path):
    cfg = load_config(ROOT / "configs" / "patch2_sizeaware.py")
    hub = dict(
        log_scalars={"loss": HistoryBuffer([1.0, 0.5], [1, 2], 100)},
        runtime_info=dict(
            cfg="import os", iter=3, eta=np.float64(1.5), keep_ckpt_ids=[1, 2], model=object()
        ),
        resumed_keys=dict(iter=True, model=True),
    )
    checkpoint = dict(
        meta=dict(cfg="import os"),
        state_dict=OrderedDict(),
        message_hub=hub,
        param_schedulers=[dict(f=print, n=1)],
    )
    make_plain(checkpoint, cfg)
    save_atomically(checkpoint, tmp_path / "x.pth")
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]
    loaded = load_checkpoint_file(tmp_path / "x.pth")
    assert loaded["param_schedulers"] == [dict(n=1)]
    torch.save(loaded, tmp_path / "again.pth")  # a loaded checkpoint can be saved again
    assert load_checkpoint_file(tmp_path / "again.pth")["param_schedulers"] == [dict(n=1)]
    info = loaded["message_hub"]["runtime_info"]
    assert info == dict(iter=3, eta=1.5, keep_ckpt_ids=[1, 2]) and type(info["eta"]) is float
    assert (
        type(checkpoint["message_hub"]["runtime_info"]["eta"]) is float
    )  # NumPy's number is not even written
    assert set(loaded["message_hub"]["resumed_keys"]) == {"iter"}
    assert isinstance(json.loads(loaded["meta"][CONFIG_KEY]), dict) and "cfg" not in loaded["meta"]
    assert not model_differences(cfg.model.to_dict(), stored_config(loaded, "x")["model"])
    restore_histories(loaded)
    history = loaded["message_hub"]["log_scalars"]["loss"]
    assert isinstance(history, HistoryBuffer)
    assert history.data[0].tolist() == [1.0, 0.5] and history.data[1].tolist() == [1, 2]
    assert history.max_length == 100


def carrying(**config):
    model = load_config(ROOT / "configs" / "baseline.py").model.to_dict()
    return json.loads(json.dumps(dict(model=model, **config), default=str))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (dict(test_evaluator=dict(type="os.system", command="true")), "names 'os.system'"),
        (
            dict(test_evaluator=dict(type="DumpResults", out_file_path="x.pkl")),
            "names 'DumpResults'",
        ),
        (
            dict(test_dataloader=dict(dataset=dict(type="BaseDataset", ann_file="x.pkl"))),
            "names 'BaseDataset'",
        ),
        (dict(test_dataloader=dict(_scope_="evil")), "names None"),
        (dict(test_dataloader=dict(collate_fn=dict(type=["pickle"]))), "names ['pickle']"),
        (
            dict(custom_imports=dict(imports=["etram_mmdet", "antigravity"])),
            "needs the modules antigravity",
        ),
    ],
)
def test_config_may_name_harmless_classes_only(config, says):
    with pytest.raises(InputError) as error:
        evaluation_config(carrying(**config), "x.pth")
    assert says in str(error.value) and "tools/test.py CONFIG x.pth" in str(error.value)


def test_models_that_load_other_files_are_refused():
    stored = carrying()
    stored["model"]["backbone"]["init_cfg"] = dict(type="Pretrained", checkpoint="x.pth")
    with pytest.raises(InputError, match="names 'Pretrained'"):
        evaluation_config(stored, "x.pth")


def test_runtime_of_a_checkpoint_is_ignored():
    cfg = evaluation_config(
        carrying(default_scope="antigravity", custom_hooks=[dict(type="Evil")], load_from="y"), "x"
    )
    assert cfg.default_scope == "mmdet" and "load_from" not in cfg
    assert [hook.type for hook in cfg.custom_hooks] == ["ResultsCsvHook", "EvaluationReportHook"]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_every_config_may_be_carried(path):
    cfg = load_config(path)
    stored = stored_config(dict(meta={CONFIG_KEY: config_to_json(cfg)}), "x")
    assert not model_differences(
        cfg.model.to_dict(), evaluation_config(stored, "x").model.to_dict()
    )


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({}, r"tools/test\.py CONFIG x\.pth"),
        ({CONFIG_KEY: "{"}, "not JSON"),
        ({CONFIG_KEY: "[]"}, "without a model"),
    ],
)
def test_checkpoint_without_config_says_so(meta, says):
    with pytest.raises(InputError, match=says):
        stored_config(dict(meta=meta), "x.pth")


def test_programs_are_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "x.pt")
    with pytest.raises(InputError, match="TorchScript"):
        load_foreign_weights(tmp_path / "x.pt")


def differences(ours, theirs):
    models = [
        load_config(ROOT / "configs" / f"{name}.py").model.to_dict() for name in (ours, theirs)
    ]
    return model_differences(*models)


def test_model_differences_are_named():
    assert differences("baseline", "patch2") == [
        "backbone.out_stages: config [2, 3, 4], checkpoint [1, 2, 3]",
        "backbone.patch_size: config 4, checkpoint 2",
    ]
    assert differences("baseline", "sizeaware") == []  # another loss, the same network
    assert "neck.num_csp_blocks: config 2, checkpoint 1" in differences("baseline", "baseline_tiny")


def test_defaults_count_as_stated():
    short, full = (
        dict(type="MaxViTRNN", patch_size=4),
        dict(type="MaxViTRNN", dws_conv=False, out_stages=[2, 3, 4]),
    )
    assert model_differences(dict(backbone=short), dict(backbone=full)) == []
    assert model_differences(dict(backbone=short), dict(backbone=full | dict(dws_conv=True))) == [
        "backbone.dws_conv: config False, checkpoint True"
    ]


def test_loads_whole_or_not_at_all():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 3))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    weights = {k: v + 1 for k, v in before.items()}
    weights["1.weight"] = torch.zeros(4, 2)
    weights["2.bias"] = weights.pop("1.bias")
    with pytest.raises(
        InputError,
        match=r"3 of 4 tensors differ: missing 1\.bias; unexpected 2\.bias; 1\.weight is",
    ):
        load_strictly(model, weights, "x.pth")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_rvt_weights_both_directions():
    from etram_mmdet.engine.checkpoints.rvt_weights import from_rvt, to_rvt
    from tests.reference.answers import load_packed
    from tests.reference.model_cases import MODEL_CASES
    from tests.reference.our_detector import build_detector, rvt_tensor

    answered = load_packed("model_patch4")  # for every tensor of RVT's but the counters
    model = build_detector(MODEL_CASES[0])
    back = to_rvt(model.state_dict())
    known = {name.split()[1] for name in answered if name.startswith(("norm ", "statistic "))}
    assert {name for name in back if not name.endswith("num_batches_tracked")} == known
    assert all(torch.equal(back[k], rvt_tensor(k, tuple(back[k].shape))) for k in back)
    lightning = {f"mdl.{k}": v for k, v in back.items()}
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in from_rvt(lightning, model).items())
    lightning.pop("mdl.fpn.C3_p4.conv1.conv.weight")
    lightning["mdl.extra"] = torch.zeros(1)
    with pytest.raises(
        InputError,
        match=r"2 tensors differ: missing fpn\.C3_p4\.conv1\.conv\.weight; left over extra",
    ):
        from_rvt(lightning, model)


def test_four_level_neck_has_names_of_its_own():
    """RVT has three levels only; the fourth must not collide with them."""
    from etram_mmdet.engine.checkpoints.rvt_weights import to_rvt

    weights = MODELS.build(load_config(ROOT / "configs" / "fourscale.py").model).state_dict()
    assert len(to_rvt(weights)) == len(weights)


def test_weights_that_are_not_finite_are_not_loaded():
    model = torch.nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    lost = before | dict(bias=torch.tensor([0.0, float("nan")]))
    with pytest.raises(InputError, match=r"^x\.pth: bias holds NaN or infinity"):
        load_strictly(model, lost, "x.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "name, kind", [("mine.py", "config"), ("rec_td.h5", "recording"), ("run.json", "config")]
)
def test_a_file_in_the_place_of_a_checkpoint_is_called_by_its_kind(name, kind, tmp_path):
    (tmp_path / name).write_text("a = 1")
    with pytest.raises(
        InputError,
        match=f"{name}: is a {kind}, expected a checkpoint; give the config before",
    ):
        load_checkpoint_file(tmp_path / name)
