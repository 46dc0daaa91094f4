"""What a data set holds: numbers, warnings, a picture, and size thresholds for the loss."""

# Rules that derive size thresholds from the boxes of the training split; the first is the default.
RULES = ("classes", "p25", "p30")
