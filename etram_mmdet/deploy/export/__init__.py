"""Write a detector as a graph that runs without PyTorch."""
