from etram_mmdet.engine.hooks import FiniteLossHook, PlainCheckpointHook, ResultsCsvHook
from etram_mmdet.engine.loops import StreamTrainLoop
from etram_mmdet.engine.report_hook import EvaluationReportHook
from etram_mmdet.engine.run_record import RunRecordHook
from etram_mmdet.engine.runner import StreamRunner

__all__ = [
    "EvaluationReportHook",
    "FiniteLossHook",
    "PlainCheckpointHook",
    "ResultsCsvHook",
    "RunRecordHook",
    "StreamRunner",
    "StreamTrainLoop",
]
