"""Private names of mmengine, mmdet and PyTorch that this package uses for want of public ones.

A new version of these packages may change or drop them without notice. A test compares this list
with the source code and with the installed packages. :func:`private` looks an optional name up, so
that its absence costs a feature, not a crash.
"""

from __future__ import annotations

from importlib import import_module

# Name -> reason to use it, and the effect when it is missing.
PRIVATE_NAMES = {
    "mmengine.config.Config._get_base_files": "parents of a config, for the summary; without: not compared",
    "mmengine.config.Config._get_cfg_path": "the same, for parents in other packages (mmdet::...)",
    "mmengine.config.DictAction._parse_iterable": "lists and tuples in --cfg-options; needed",
    "mmengine.config.DictAction._parse_int_float_bool": "numbers and words in --cfg-options; needed",
    "mmengine.optim._ParamScheduler": "base of all schedulers, whose keys are checked; needed",
    "mmengine.runner.Runner._load_from": "the checkpoint that --resume without a path means; needed",
    "mmengine.runner.Runner._resume": "the same",
    "mmengine.runner.Runner._train_loop": "the loop that got a signal, unless it is still a config; needed",
    "mmengine.runner.IterBasedTrainLoop._decide_current_val_interval": "is a validation due; needed",
    "mmengine.runner.Runner._has_loaded": "says that weights are there, as Runner.load_checkpoint does; needed",
    "mmengine.model.PretrainedInit._get_init_info": "line of the log about weights of init_cfg; needed",
    "mmdet.models.dense_heads.YOLOXHead._bbox_decode": "boxes of raw outputs, overridden nowhere; needed",
    "mmdet.models.dense_heads.YOLOXHead._bbox_post_process": "NMS, extended by class scores; needed",
    "mmdet.models.dense_heads.YOLOXHead._get_l1_target": "targets of loss_l1; needed",
    "mmdet.models.dense_heads.YOLOXHead._init_layers": "layers, extended by those of variants; needed",
    "sys._current_frames": "where a process stands that does not answer the others; needed",
    "torch._dynamo.config": "refuse to compile again without end; without: compiling may be slow",
    "torch._dynamo.exc.TorchDynamoException": "errors of torch.compile as a sentence; without: a traceback",
    "torch._dynamo.exc.FailOnRecompileLimitHit": "the same",
    "torch._inductor.config": "weights laid out once for a CPU; without: compiled models are slower",
    "torch.ops.mkldnn._linear_pointwise": "linear layer with bias and GELU in one; without: --fuse folds norms only",
    "torch.ops.mkldnn._is_mkldnn_bf16_supported": "whether the processor multiplies in bfloat16; without: not fused",
    "torch.ops.mkldnn._is_mkldnn_fp16_supported": "whether the processor multiplies in float16; without: not fused",
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
