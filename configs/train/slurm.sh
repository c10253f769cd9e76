#!/bin/bash
# Training on a Slurm cluster: 2 machines with 4 GPUs each. Copy it, change what your cluster needs, and
#   sbatch configs/train/slurm.sh configs/train/ucf101/swin-clstm-rgb-flow.yaml
# A job that is requeued (time limit, preemption) goes on from its last checkpoint: the command stays the same.
#SBATCH --job-name=swinstream
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.log
set -euo pipefail

config=${1:?a training configuration}
run=${2:-runs/$(basename "$config" .yaml)} # on a disk that all machines share

# Footage and its cache of decoded clips: read by every process, so best on the machines' own disks.
export SWINSTREAM_DATA=${SWINSTREAM_DATA:-$HOME/data}
export OMP_NUM_THREADS=1

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun \
    --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node="$SLURM_GPUS_ON_NODE" \
    --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$first:29500" \
    -m -- swinstream train "$config" --run "$run" --set optim.accumulate=2
