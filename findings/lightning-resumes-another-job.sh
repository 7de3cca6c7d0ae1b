#!/usr/bin/env bash
# pytorch-lightning 2.6.6: Trainer.fit of a second SLURM job in a folder where a first one was preempted.
#
# A job that SLURM preempts leaves hpc_ckpt_1.ckpt in the trainer's default_root_dir, which is the current folder unless
# one is given. One should think that only the requeued job reads it. What happens: every later SLURM job that trains
# in the folder continues from it, with ckpt_path=None and without a checkpoint callback: other job number, other initial
# weights, other settings. Its own initial weights are lost, and its steps count on from those of the first job.
# Outside SLURM the same program starts afresh. (SLURM is imitated by its environment variables, as srun sets them.)
# Instead: give every run a default_root_dir of its own.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT && cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check pytorch-lightning==2.6.6 torch==2.13.0 numpy==2.4.6 >/dev/null
cat >run.py <<'PY'
import sys

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader


class Still(pl.LightningModule):
    """Its weight stays what it was at the beginning."""

    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([weight]))
        self.trained = 0

    def training_step(self, batch, index):
        self.trained += 1
        return 0.0 * self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


model, steps = Still(float(sys.argv[1])), int(sys.argv[2])
quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
trainer = pl.Trainer(max_steps=steps, accelerator="cpu", **quiet)
trainer.fit(model, DataLoader(torch.zeros(4, 1)))
if len(sys.argv) > 3:  # what Lightning writes at the signal of a preemption
    trainer.save_checkpoint(sys.argv[3])
print(f"weight {model.weight.item()}, step {trainer.global_step}, of which {model.trained} by this job")
PY
job() {
    env SLURM_JOB_ID="$1" SLURM_JOB_NAME="job-$1" SLURM_NTASKS=1 SLURM_NTASKS_PER_NODE=1 SLURM_PROCID=0 SLURM_LOCALID=0 \
        SLURM_NODEID=0 SLURM_NNODES=1 SLURM_NODELIST=localhost venv/bin/python run.py "${@:2}" 2>/dev/null
}
first=$(job 1 5 4 hpc_ckpt_1.ckpt)
second=$(job 2 1 8)
outside=$(venv/bin/python run.py 1 8 2>/dev/null)
echo "job 1, weight 5, preempted after 4 steps:  $first"
echo "job 2, weight 1, another job:              $second"
echo "the same as job 2, outside SLURM:          $outside"
[[ $first == "weight 5.0, step 4, of which 4 by this job" ]]
[[ $second == "weight 5.0, step 8, of which 4 by this job" ]]
[[ $outside == "weight 1.0, step 8, of which 8 by this job" ]]
echo "as found"
