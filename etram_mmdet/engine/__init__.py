from etram_mmdet.engine.hooks import FiniteLossHook, PlainCheckpointHook, ResultsCsvHook
from etram_mmdet.engine.loops import DryRunLoop, StreamTrainLoop
from etram_mmdet.engine.pretrained import SafePretrainedInit
from etram_mmdet.engine.report_hook import EvaluationReportHook
from etram_mmdet.engine.run_record import RunRecordHook
from etram_mmdet.engine.run_summary import RunSummaryHook
from etram_mmdet.engine.runner import StreamRunner

__all__ = [
    "DryRunLoop",
    "EvaluationReportHook",
    "FiniteLossHook",
    "PlainCheckpointHook",
    "ResultsCsvHook",
    "RunRecordHook",
    "RunSummaryHook",
    "SafePretrainedInit",
    "StreamRunner",
    "StreamTrainLoop",
]
