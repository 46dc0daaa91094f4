"""Memory of a training step, predicted without allocating it."""
