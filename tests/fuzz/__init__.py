"""Damaged files of every kind that the project reads: each has to end in a sentence, or be read."""
