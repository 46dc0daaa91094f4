"""Score thresholds and NMS per class, for deployment."""

SCORE_THR = 0.3  # where nothing has been tuned
