# Read by slurm_train.sh and slurm_test.sh: the call of srun that starts one process per GPU.
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
gres=(--gres="gpu:$GPUS_PER_NODE")
[[ ${DEVICE:-} != cpu ]] || gres=()
read -ra more <<< "${SRUN_ARGS:-}"
srun=(srun --partition="$1" --job-name="$2" "${gres[@]}" --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE"
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 "${more[@]}")
