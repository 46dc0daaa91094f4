#!/usr/bin/env bash
# Build the wheel, install it into a clean environment outside the repository, train the demo's config there for a few
# steps and run the checkpoint on a recording. `make check-wheel` calls it.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/source"
git -C "$repository" archive HEAD | tar x -C "$folder/source"
"${PYTHON:-python3}" -m venv "$folder/venv"
cd "$folder"
export PATH="$folder/venv/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1

pip wheel -q --no-deps -w . ./source
pip install -q -c source/requirements.txt ./etram_mmdet-*.whl
pip list | grep -qi "^torch " && { echo "check-wheel: the wheel alone brought PyTorch"; exit 1; }
echo "check-wheel: $(ls etram_mmdet-*.whl) installed without PyTorch: $(pip list | grep -c .) packages"
# Recordings, boxes, NMS and thresholds need no PyTorch, nor do the tools that make and preprocess recordings.
python -c "import etram_mmdet.events.formats, etram_mmdet.evaluation.nms, etram_mmdet.evaluation.operating_points.points"
python -m etram_mmdet make_sample raw --width 96 --height 64 --seconds 1.5 --recordings 2 1 1
python -m etram_mmdet preprocess raw data/demo

pip install -q "${TORCH:-torch==2.13.0}"
pip install -q -r source/requirements.txt
pip install -q --no-deps -r source/requirements-nodeps.txt
rm -rf source
python -m etram_mmdet train configs/patch2_sizeaware_demo.py --work-dir run --cfg-options train_cfg.max_iters=4 \
    train_cfg.val_begin=5 "model.backbone.partition_size=(1,3)"
python -m etram_mmdet detect run/iter_4.pth raw/val/val_day_0000_td.h5 --out film.mp4
python -m etram_mmdet detect demo raw/val/val_day_0000_td.h5 --out demo.csv
python - <<'PYTHON'
from pathlib import Path

import etram_mmdet

place = Path(etram_mmdet.__file__).parent
assert "site-packages" in place.parts, place
assert Path("film.mp4").stat().st_size > 1000 and Path("run/iter_4.pth").is_file()
print(f"check-wheel: etram_mmdet {etram_mmdet.__version__} trained and detected from {place.name} in site-packages")
PYTHON
