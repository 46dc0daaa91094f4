#!/usr/bin/env bash
# Follow docs/Containerfile in a clean folder: install what it names, and nothing else, and detect with an exported
# detector in a recording. `make check-runtime` calls it. The boxes have to be those of the checkpoint.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python="$repository/.venv/bin/python"
cd "$folder"
mkdir source
git -C "$repository" archive HEAD | tar x -C source
"$python" -m pip wheel -q --no-deps --no-build-isolation -w . ./source
"$python" source/tools/export.py demo detector.onnx
"$python" source/tools/make_sample.py raw --width 192 --height 128 --seconds 2 --recordings 0 1 0
"$python" source/tools/convert_recording.py raw/val/*_td.h5 recording.npz
"$python" source/tools/detect.py demo recording.npz --out expected.csv

"${PYTHON:-python3}" -m venv clean
containerfile=source/docs/Containerfile
export PATH="$folder/clean/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1
sed -n 's/^RUN //p' "$containerfile" > install.sh
bash -e install.sh
echo "check-runtime: $(pip list 2> /dev/null | tail -n +3 | wc -l) packages, $(du -sm clean/lib | cut -f1) MB"
python - <<'PYTHON'
from importlib.util import find_spec

present = [name for name in ("torch", "mmdet", "mmengine", "cv2", "h5py") if find_spec(name)]
assert not present, present
PYTHON
read -ra entry <<< "$(sed -n 's/^ENTRYPOINT //p' "$containerfile" | tr -d '[]",')"
"${entry[@]}" recording.npz --out boxes.csv
cmp boxes.csv expected.csv || python - <<'PYTHON'
# Another processor rounds otherwise: a box at a threshold may come or go.
import csv

ours, theirs = (list(csv.reader(open(name))) for name in ("boxes.csv", "expected.csv"))
assert ours[0] == theirs[0] and abs(len(ours) - len(theirs)) <= 2 + len(theirs) // 50, (len(ours), len(theirs))
PYTHON
echo "check-runtime: $(($(wc -l < boxes.csv) - 1)) boxes without PyTorch, as with it"
