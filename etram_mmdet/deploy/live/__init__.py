"""Detect in events as they come: windows, policies, lateness, recording and outputs."""
