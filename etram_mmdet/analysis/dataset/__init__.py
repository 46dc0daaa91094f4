"""Examines a data set: numbers, warnings, a picture, and size thresholds for the loss."""

# Rules that derive size thresholds from the training boxes; the first is the default.
RULES = ("classes", "p25", "p30")
