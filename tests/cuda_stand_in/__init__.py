"""A stand-in for CUDA: a device written in Python that finds CUDA's errors on a CPU.

Tensors on the device ``standin:0`` lie in the memory of the CPU, and the CPU's kernels compute
them. Three things are as on CUDA:

- An operator refuses tensors of two devices, with a message that names operator, shapes and place.
- Every wait of the host is recorded with operator and place (:mod:`waits`): reading a value, making
  a tensor whose size depends on values, and copying between host and device from memory that is
  not pinned.
- ``torch.autocast``, ``GradScaler`` and fused optimizers take their paths of an accelerator.

Not found here are errors in code that only CUDA runs (``tensor.is_cuda``, CUDA graphs,
torch.compile), operators and number formats that CUDA lacks, and races.

The device uses PyTorch's private interface for new backends and cannot be removed from a process.
``tests/test_cuda_stand_in.py`` therefore runs the files ``check_*.py`` of this folder in a process
of their own. By hand: ``python -m pytest -o python_files='check_*.py' tests/cuda_stand_in``.

- :mod:`available`: whether this PyTorch has the private interface.
- :mod:`memory`: tensors of the device over the memory of CPU tensors.
- :mod:`waits`: the record of waits.
- :mod:`operators`: computes any operator, and decides what is refused and what waits.
- :mod:`device`: installs the device.
- :mod:`autocast`: mixed precision as on CUDA.
- :mod:`detectors`: small detectors of the configs, and what they do on the device.
"""
