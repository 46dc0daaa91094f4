# first: mmdet.models needs mmcv's operators or our replacement
from etram_mmdet import ops  # noqa: F401
from etram_mmdet.engine.checkpoints.pretrained import SafePretrainedInit
from etram_mmdet.engine.hooks.checkpoint import CheckpointHook
from etram_mmdet.engine.hooks.class_check import ClassCheckHook
from etram_mmdet.engine.hooks.data_wait import DataWaitHook
from etram_mmdet.engine.hooks.early_stopping import EarlyStoppingHook
from etram_mmdet.engine.hooks.evaluation_report import EvaluationReportHook
from etram_mmdet.engine.hooks.event_visualization import EventVisualizationHook
from etram_mmdet.engine.hooks.finite_loss import FiniteLossHook
from etram_mmdet.engine.hooks.fit_to_data import FitToDataHook
from etram_mmdet.engine.hooks.lazy_runtime_info import LazyRuntimeInfoHook
from etram_mmdet.engine.hooks.plain_checkpoint import PlainCheckpointHook
from etram_mmdet.engine.hooks.results_csv import ResultsCsvHook
from etram_mmdet.engine.hooks.run_record import RunRecordHook
from etram_mmdet.engine.hooks.run_summary import RunSummaryHook
from etram_mmdet.engine.hooks.stop_on_signal import StopOnSignalHook
from etram_mmdet.engine.hooks.trained_domain import TrainedDomainHook
from etram_mmdet.engine.runner.dry_run import DryRunLoop
from etram_mmdet.engine.runner.loops import StreamTrainLoop
from etram_mmdet.engine.runner.one_cycle import OneCycleLR, OneCycleParamScheduler
from etram_mmdet.engine.runner.stream_runner import StreamRunner

__all__ = [
    "CheckpointHook",
    "ClassCheckHook",
    "DataWaitHook",
    "DryRunLoop",
    "EarlyStoppingHook",
    "EvaluationReportHook",
    "EventVisualizationHook",
    "FiniteLossHook",
    "FitToDataHook",
    "LazyRuntimeInfoHook",
    "OneCycleLR",
    "OneCycleParamScheduler",
    "PlainCheckpointHook",
    "ResultsCsvHook",
    "RunRecordHook",
    "RunSummaryHook",
    "SafePretrainedInit",
    "StopOnSignalHook",
    "StreamRunner",
    "StreamTrainLoop",
    "TrainedDomainHook",
]
