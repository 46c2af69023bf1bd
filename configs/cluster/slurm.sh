#!/bin/bash
# sbatch --ntasks-per-node 8 --gpus-per-node 8 configs/cluster/slurm.sh --config configs/quickstart.yaml --config configs/cluster/node.yaml --run_dir runs/big
#
# One task a GPU. Five minutes before its time is up, SLURM warns the tasks: the run writes a checkpoint, has its job queued
# again, and goes on exactly where it was, in the folder that --run_dir names.
#SBATCH --job-name=clip_lightning
#SBATCH --nodes=1
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

srun --kill-on-bad-exit=0 python -m clip_lightning fit "$@"
