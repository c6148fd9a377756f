#!/usr/bin/env bash
# Train a recipe on a Slurm cluster. One task a machine; each starts a rank for every GPU it has.
#
#   RECIPE=falcon7b-qlora sbatch --nodes=4 --gpus-per-node=8 recipes/launch/slurm.sh
#
# From the root of the repository, which all machines must see at the same path (as they must see
# the run folder: rank 0 writes checkpoints there, and every rank reads them when the run resumes).
# Run `make setup` once before, on a machine that reaches a package index.
#
# By environment, as the variables of `make train`:
#   RECIPE                     needed
#   RUN SET PREFLIGHT FORCE    as on one machine
#   GPUS                       of each machine; by default all that Slurm gave
#   STRATEGY                   ddp by default
#   MASTER_PORT                by default from the job's number, so that two jobs don't meet
# NCCL_* and HF_* reach the ranks too. Options of sbatch outweigh those below.
#
#SBATCH --job-name=falcon-recipes
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --export=ALL
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

: "${RECIPE:?name a recipe: RECIPE=falcon7b-qlora sbatch recipes/launch/slurm.sh}"
: "${SLURM_JOB_NODELIST:?start it with sbatch: RECIPE=$RECIPE sbatch recipes/launch/slurm.sh}"
cd "${SLURM_SUBMIT_DIR:-.}"
[[ -f Makefile && -d recipes ]] || {
  echo "error: $PWD is not the root of the repository. Submit from there" >&2
  exit 1
}

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=${hosts%%$'\n'*}
port=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))}

# make reads these from its environment, so a SET with spaces in it arrives whole.
export RECIPE
export NODES=$SLURM_JOB_NUM_NODES MASTER=$first:$port
export GPUS=${GPUS:-${SLURM_GPUS_ON_NODE:-}}
export RUN=${RUN:-} SET=${SET:-} STRATEGY=${STRATEGY:-} PREFLIGHT=${PREFLIGHT:-} FORCE=${FORCE:-}

make setup
# Slurm gives each task its number; with one task a machine that is the machine's.
# A task that fails takes the others with it. The same job, submitted again, resumes.
# shellcheck disable=SC2016  # for the shell of each task, not for this one
exec srun --kill-on-bad-exit=1 --ntasks-per-node=1 --nodes="$NODES" \
  bash -c 'NODE_RANK=$SLURM_NODEID exec make train'
