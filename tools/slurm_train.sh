#!/usr/bin/env bash
# tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
# GPUS: number of all processes (default: 8), GPUS_PER_NODE (default: 8, or GPUS if fewer), CPUS_PER_TASK (default: 5),
# SRUN_ARGS: more options of srun. DEVICE=cpu asks for no GPUs; the numbers are then those of processes.
set -euo pipefail
usage="usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options]"
config=${3:?$usage} work_dir=${4:?$usage}
source "$(dirname "$0")/srun.sh"
exec "${srun[@]}" python -u "$(dirname "$0")/train.py" "$config" --work-dir "$work_dir" --launcher slurm "${@:5}"
