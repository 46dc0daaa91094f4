"""Inputs of the answers in ``tests/data``: weights, frames, boxes and events by a formula."""
