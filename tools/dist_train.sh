#!/usr/bin/env bash
# tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
set -euo pipefail
cd "$(dirname "$0")/.."
exec torchrun --standalone --nproc_per_node="${2:?usage: tools/dist_train.sh CONFIG PROCESSES [options]}" \
    tools/train.py "$1" --launcher pytorch "${@:3}"
