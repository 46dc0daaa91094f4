"""Detect in events as they come: windows, policies, lateness, recording and outputs."""

IN_ORDER = "in-order"  # every window
NEWEST = "newest"  # the last complete window; older ones that wait are skipped
POLICIES = (IN_ORDER, NEWEST)
