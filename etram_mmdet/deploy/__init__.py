"""Detectors outside training: exported graphs, and a runtime that needs no PyTorch."""
