#!/bin/bash
# Trains the models on a Slurm cluster, one after the other.
#     sbatch slurm.sh              # with the settings below
#     sbatch --nodes=2 slurm.sh    # options here override them
# After preemption, a manual requeue or a timeout the job continues from the last saved step. All nodes need access to
# this folder.

#SBATCH --job-name=vocdet
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1      # torchrun starts one process per GPU
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@180      # seconds before the time limit
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
##SBATCH --partition=…
##SBATCH --account=…

set -eo pipefail
cd "${SLURM_SUBMIT_DIR:?start this with sbatch}"

data=@DATA@
options=(<<--from @FORMAT@>>)                       # for both trainings, such as --coordinates one or --labels labels.txt
# module load …
# source .venv/bin/activate

runs="runs/slurm-$SLURM_JOB_ID"  # a requeued job keeps its number
gpus="${SLURM_GPUS_ON_NODE:-1}"
head="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
port=$((20000 + SLURM_JOB_ID % 20000))
export OMP_NUM_THREADS=$((${SLURM_CPUS_PER_TASK:-1} > gpus ? ${SLURM_CPUS_PER_TASK:-1} / gpus : 1))
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"

trap 'echo "time limit reached: requeued"; scontrol requeue "$SLURM_JOB_ID"; exit 0' USR1

# train TASK ARGUMENT...: train, or resume the training that this job started; skip it if it has finished
train() {
    local task=$1 run resume=()
    shift
    [[ -e "$runs/$task.finished" ]] && return
    for run in "$runs/$task"-*; do
        [[ -e "$run/state.safetensors" ]] && resume=(--resume "$run")
    done
    mkdir -p "$runs"
    srun --kill-on-bad-exit=1 torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "$gpus" \
        --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID-$task" --rdzv-endpoint "$head:$port" \
        -m vocdet_cli "train-$task" "$data" "$@" "${options[@]}" --runs "$runs" "${resume[@]}" &
    wait $!  # in the background, so that the signal is handled at once
    touch "$runs/$task.finished"
}

train backbone --recipe recipes/backbone.toml
@DETECTOR@train @TASK@ --recipe recipes/@TASK@.toml
