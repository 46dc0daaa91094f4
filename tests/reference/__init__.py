"""What the answers in ``tests/data`` are answers to: weights, frames, boxes and events by a formula."""
