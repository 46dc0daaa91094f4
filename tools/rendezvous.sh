# Read by dist_train.sh and dist_test.sh: from NNODES, NODE_RANK, MASTER_ADDR, PORT and MAX_RESTARTS, the call `launch`
# of torchrun, with the options by which the machines of one run find each other. Several machines meet before it starts.
refuse() { echo "error: $1" >&2; exit 1; }
[[ ${NNODES:-1} =~ ^[1-9][0-9]*$ ]] || refuse "NNODES=$NNODES: expected one whole number of machines. A checkpoint holds \
the state of each process, so a training cannot go on with more or fewer of them"
for name in NODE_RANK PORT MAX_RESTARTS RENDEZVOUS_TIMEOUT_S; do
    [[ ${!name:-0} =~ ^(0|[1-9][0-9]{0,8})$ ]] || refuse "$name=${!name}: expected a whole number"
done
[[ ${PORT:-1} -ge 1 && ${PORT:-1} -le 65535 ]] || refuse "PORT=$PORT: expected 1 to 65535"
if [[ ${NNODES:-1} -eq 1 && -z ${PORT:-} ]]; then
    launch=(torchrun --standalone)
else
    [[ ${NNODES:-1} -eq 1 || -n ${NODE_RANK:-} ]] || refuse "NNODES=$NNODES: set NODE_RANK to the number of this \
machine, 0 to $((NNODES - 1)); machine 0 is the one at MASTER_ADDR"
    [[ ${NNODES:-1} -eq 1 || -n ${MASTER_ADDR:-} ]] || refuse "NNODES=$NNODES: set MASTER_ADDR to the address of the \
machine with NODE_RANK=0"
    [[ ${NODE_RANK:-0} -lt ${NNODES:-1} ]] || refuse "NODE_RANK=$NODE_RANK: expected 0 to $((${NNODES:-1} - 1)), since \
NNODES=${NNODES:-1}"
    address=${MASTER_ADDR:-127.0.0.1} port=${PORT:-29500}
    launch=(python -m etram_mmdet.utils.rendezvous "$address" "$port" --node="${NODE_RANK:-0}" --nodes="${NNODES:-1}"
        --restarts="${MAX_RESTARTS:-0}" --timeout-s="${RENDEZVOUS_TIMEOUT_S:-600}" --
        torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="$address" --master_port="$port")
fi
[[ -z ${MAX_RESTARTS:-} ]] || launch+=(--max_restarts="$MAX_RESTARTS")
