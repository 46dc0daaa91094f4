"""Metadata and dependencies; tool settings are in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    name="etram_mmdet",
    version="0.1.0",
    description="Event-camera detection of road users: plugins for MMDetection",
    packages=find_packages(include=["etram_mmdet", "etram_mmdet.*"]),
    python_requires=">=3.10",
    # The exact versions that are tested stand in requirements.txt; torch is left to the user's CUDA.
    install_requires=[
        "torch>=2.4",
        "onedl-mmengine>=0.10.12",
        "onedl-mmcv>=2.3.6",
        "onedl-mmdetection>=3.5.1",
        "numpy",
        "numba",
        "h5py",
        "hdf5plugin",
        "blosc",
        "pycocotools",
        "faster-coco-eval",
        "opencv-python-headless",
        "matplotlib",
        "tqdm",
    ],
    extras_require={"video": ["imageio-ffmpeg"]},  # tools/browse_dataset.py then writes H.264
)
