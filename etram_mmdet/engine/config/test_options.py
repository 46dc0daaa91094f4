"""Settings that the command line of a test adds to its config: pictures and augmentation."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config, ConfigDict

from etram_mmdet.utils.errors import InputError

HOOK = "EventVisualizationHook"
TTA_HOOK = "PrepareTTAHook"  # mmengine's: wraps the detector when a test begins, after loading


def draw_detections(
    cfg: Config,
    folder: str | Path | None = None,
    interval: int = 50,
    films: bool = False,
    show: bool = False,
    wait_time: float = 2.0,
) -> None:
    """Make a test draw its frames, as mmdet's ``--show-dir`` and ``--show`` do.

    Args:
        cfg: changed in place.
        folder: folder of the pictures. Default: none is written.
        interval: labelled frames of a recording per picture. Default: 50.
        films: whether one film per recording is written too. Default: no.
        show: whether each picture opens a window. Default: no.
        wait_time: seconds for which a window stays. Default: 2.

    Raises:
        InputError: the folder cannot be made, or there is no display for windows.
    """
    if show:
        _check_display()
    hook = dict(cfg.default_hooks.get("visualization") or {})
    if hook.get("type") in (None, "DetVisualizationHook"):  # which draws every frame of a test
        hook["type"] = HOOK
    hook.update(draw=True, interval=interval, show=show, wait_time=wait_time)
    if hook["type"] == HOOK:
        hook["films"] = films
    if folder is not None:
        hook["test_out_dir"] = str(_made(Path(folder)))
    cfg.default_hooks["visualization"] = ConfigDict(hook)
    if cfg.get("visualizer", {}).get("type", "Visualizer") == "Visualizer":  # draws no samples
        cfg.visualizer = dict(cfg.get("visualizer", {}), type="EventVisualizer")


def mirror_streams(cfg: Config) -> None:
    """Make a test run every stream twice, once mirrored, in place.

    Args:
        cfg: a test's config; its ``tta_model`` is used if it has one.

    Raises:
        InputError: the config asks for augmentation of single images.
    """
    tta_cfg = cfg.get("tta_model") or dict(type="StreamTTAModel")
    if cfg.get("tta_pipeline") or tta_cfg.get("type") == "DetTTAModel":
        raise InputError(
            "--tta: a tta_pipeline, which DetTTAModel needs, makes views of single images and "
            "would mix the recurrent states of streams; leave it out, and set "
            "tta_model.type=StreamTTAModel"
        )
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), dict(type=TTA_HOOK, tta_cfg=tta_cfg)]


def tta_of(cfg: Config) -> dict | None:
    """The settings of test-time augmentation in a test's config; None without augmentation.

    Args:
        cfg: a test's config.
    """
    hooks = [hook for hook in cfg.get("custom_hooks") or [] if hook.get("type") == TTA_HOOK]
    return dict(hooks[0]["tta_cfg"]) if hooks else None


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--show-dir {folder}: the folder cannot be made ({error.strerror}); name another"
        ) from error
    return folder.resolve()


def _check_display() -> None:
    from matplotlib import pyplot

    if pyplot.get_backend().lower() == "agg":
        raise InputError(
            "--show: there is no display here, or no window toolkit for matplotlib; write the "
            "pictures to files instead: --show-dir DIR"
        )
