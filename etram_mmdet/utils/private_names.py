"""Private names of mmengine, mmdet and PyTorch that this package uses; no public ones exist.

A new version of these packages may change or drop them without notice. A test compares this list
with the source code and with the installed packages. :func:`private` looks an optional name up, so
that a missing name disables a feature and does not end the program.
"""

from __future__ import annotations

from importlib import import_module

# Name -> reason to use it, and the effect when it is missing.
PRIVATE_NAMES = {
    "mmengine.config.Config._get_base_files": (
        "base files of a config, for the summary; if missing: they are not compared"
    ),
    "mmengine.config.Config._get_cfg_path": (
        "the same, for base files in other packages (mmdet::...)"
    ),
    "mmengine.config.DictAction._parse_iterable": "reads lists and tuples in --cfg-options; needed",
    "mmengine.config.DictAction._parse_int_float_bool": (
        "reads numbers and words in --cfg-options; needed"
    ),
    "mmengine.optim._ParamScheduler": "base of all schedulers, whose keys are checked; needed",
    "mmengine.runner.Runner._load_from": "checkpoint for --resume without a path; needed",
    "mmengine.runner.Runner._resume": "the same",
    "mmengine.runner.Runner._train_loop": (
        "loop that a signal stops, unless it is still a config; needed"
    ),
    "mmengine.runner.IterBasedTrainLoop._decide_current_val_interval": (
        "whether a validation is due; needed"
    ),
    "mmengine.runner.Runner._has_loaded": (
        "marks weights as loaded, as Runner.load_checkpoint does; needed"
    ),
    "mmengine.model.PretrainedInit._get_init_info": (
        "log line about the weights of init_cfg; needed"
    ),
    "mmdet.models.dense_heads.YOLOXHead._bbox_decode": (
        "boxes of raw outputs, overridden nowhere; needed"
    ),
    "mmdet.models.dense_heads.YOLOXHead._bbox_post_process": (
        "NMS, extended by class scores; needed"
    ),
    "mmdet.models.dense_heads.YOLOXHead._get_l1_target": "targets of loss_l1; needed",
    "mmdet.models.dense_heads.YOLOXHead._init_layers": (
        "layers, extended by those of variants; needed"
    ),
    "sys._current_frames": "code line of a process that does not answer the others; needed",
    "torch.Tensor._version": "number of changes of a buffer, so that it is read once; needed",
    "torch._subclasses.fake_tensor.FakeTensorMode": (
        "memory of a step without allocating it; if missing: memory is not predicted"
    ),
    "torch._subclasses.fake_tensor.FakeTensor": "the same",
    "torch.ops.aten._local_scalar_dense": "a number that is read, in the same; needed there",
    "torch.ops.aten._unique2": "a search for different numbers, in the same; needed there",
    "torch.autograd.graph._engine_run_backward": (
        "a GPU's rules in the backward pass; if missing: mixed precision with checkpointing is not "
        "predicted"
    ),
    "torch.utils._python_dispatch.TorchDispatchMode": "the same",
    "torch._dynamo.config": "to refuse endless recompilation; if missing: compiling may be slow",
    "torch._dynamo.exc.TorchDynamoException": (
        "errors of torch.compile as a sentence; if missing: a traceback"
    ),
    "torch._dynamo.exc.FailOnRecompileLimitHit": "the same",
    "torch._inductor.config": (
        "lays weights out once for a CPU; if missing: compiled models are slower"
    ),
    "torch.ops.mkldnn._linear_pointwise": (
        "linear layer with bias and GELU in one; if missing: --fuse folds norms only"
    ),
    "torch.ops.mkldnn._is_mkldnn_bf16_supported": (
        "whether the processor multiplies in bfloat16; if missing: not fused"
    ),
    "torch.ops.mkldnn._is_mkldnn_fp16_supported": (
        "whether the processor multiplies in float16; if missing: not fused"
    ),
}


def private(name: str) -> object | None:
    """The object under one of `PRIVATE_NAMES`; None if the installed package lacks it.

    Args:
        name: dotted name from the list.

    Raises:
        KeyError: when the name is not on the list.
    """
    if name not in PRIVATE_NAMES:
        raise KeyError(f"{name} is not on the list of private names")
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
            for part in parts[length:]:
                found = getattr(found, part)
            return found
        except (ImportError, AttributeError):
            continue
    return None
