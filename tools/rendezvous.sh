# Read by dist_train.sh and dist_test.sh: from NNODES, NODE_RANK, MASTER_ADDR and PORT, torchrun's options by which the
# machines of one run find each other.
refuse() { echo "error: $1" >&2; exit 1; }
[[ ${NNODES:-1} =~ ^[1-9][0-9]*$ ]] || refuse "NNODES=$NNODES: expected one whole number of machines. A checkpoint holds \
the state of each process, so a training cannot go on with more or fewer of them"
if [[ ${NNODES:-1} -eq 1 && -z ${PORT:-} ]]; then
    rendezvous=(--standalone)
else
    [[ ${NNODES:-1} -eq 1 || -n ${NODE_RANK:-} ]] || refuse "NNODES=$NNODES: set NODE_RANK to the number of this \
machine, 0 to $((NNODES - 1)); machine 0 is the one at MASTER_ADDR"
    [[ ${NNODES:-1} -eq 1 || -n ${MASTER_ADDR:-} ]] || refuse "NNODES=$NNODES: set MASTER_ADDR to the address of the \
machine with NODE_RANK=0"
    [[ ${NODE_RANK:-0} =~ ^[0-9]+$ && ${NODE_RANK:-0} -lt ${NNODES:-1} ]] || refuse "NODE_RANK=$NODE_RANK: expected 0 \
to $((${NNODES:-1} - 1)), since NNODES=${NNODES:-1}"
    rendezvous=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi
[[ -z ${MAX_RESTARTS:-} ]] || rendezvous+=(--max_restarts="$MAX_RESTARTS")
