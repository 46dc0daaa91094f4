"""Operating points: score thresholds and NMS of each class, for deployment."""

SCORE_THR = 0.3  # score threshold of all classes if none has been tuned
