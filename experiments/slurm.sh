#!/bin/sh
#SBATCH --job-name=loss-study
#SBATCH --array=1-3
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
# One seed of the study per array task. On SIGTERM (time limit, preemption) the program finishes its step and writes a
# checkpoint; a task that is requeued goes on from there. Afterwards:
#   colormamba table runs/thesis-loss-study
exec colormamba --threads "${SLURM_CPUS_PER_TASK:-1}" run experiments/thesis-loss-study.toml \
    --data data/vcip2020 --seed "$SLURM_ARRAY_TASK_ID" "$@"
