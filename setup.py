"""Metadata and dependencies; tool settings are in pyproject.toml."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "etram_mmdet" / "__init__.py").read_text(), re.M
)[1]
# MMDetection keeps these in the folder .mim of its package, and so does a wheel of this project.
BUNDLED = ("configs", "tools", "model-index.yml")


class BuildWithTools(build_py):
    """Copy configs and tools into the package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # they already lie next to the package
            return
        target = Path(self.build_lib) / "etram_mmdet" / ".mim"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in BUNDLED:
            if (HERE / name).is_dir():
                shutil.copytree(
                    HERE / name, target / name, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(HERE / name, target / name)


setup(
    name="etram_mmdet",
    version=VERSION,
    description="Event-camera detection of road users: plugins for MMDetection",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The etram_mmdet authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    packages=find_packages(include=["etram_mmdet", "etram_mmdet.*"]),
    package_data={"etram_mmdet": ["py.typed", "weights/*.pth"]},
    cmdclass={"build_py": BuildWithTools},
    python_requires=">=3.10",
    # The exact versions that are tested are in requirements.txt.
    install_requires=[
        "numpy",
        "numba",
        "h5py",
        "hdf5plugin",
        "blosc",
        "pycocotools",
        "opencv-python-headless",
        "matplotlib",
        "tqdm",
    ],
    extras_require={
        # To train and to evaluate. `make setup` installs these without their own dependencies
        # instead, since those bring opencv-python, which needs the libraries of a desktop.
        "mmdet": [
            "torch>=2.4",
            "onedl-mmengine>=0.10.12",
            "onedl-mmcv>=2.3.6",
            "onedl-mmdetection>=3.5.1",
        ],
        "export": ["onnx", "onnxscript", "onnxruntime"],  # tools/export.py
        "runtime": ["onnxruntime"],  # to run what it wrote
        "openvino": ["openvino"],  # another program to run it with
        "aedat": ["aedat"],  # to read AEDAT 4
        "tensorboard": ["tensorboard"],  # for TensorboardVisBackend
        "cluster": ["submitit"],  # --submitit of tools/preprocess.py and tools/ablate.py
        "video": ["imageio-ffmpeg"],  # tools/browse_dataset.py then writes H.264
    },
)
