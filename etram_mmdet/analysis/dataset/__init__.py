"""What a data set holds: numbers, warnings, a picture, and size thresholds for the loss."""
