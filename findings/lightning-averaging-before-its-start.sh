#!/usr/bin/env bash
# pytorch-lightning 2.6.6: EMAWeightAveraging(update_starting_at_step=N) before step N.
#
# One should think that averaging begins at step N, and that until then validation, checkpoints and the trained model
# have the current weights. What happens: until then they have the weights from before training. A run of 10 steps
# with N = 20 validates the initial model after every epoch, saves it, and ends with it: what was learned is dropped
# without a word. With N = 6 validation jumps from the initial weight to the averaged one.
# The weight of this model grows by 1 with every step, so that it counts steps.
# Instead: average from the first step with a decay that grows.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT && cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q --disable-pip-version-check pytorch-lightning==2.6.6 torch==2.13.0 numpy==2.4.6 >/dev/null
cat >run.py <<'PY'
import logging
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


class Counter(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.validated = []

    def training_step(self, batch, index):
        return -self.weight.sum()

    def validation_step(self, batch, index):
        self.validated.append(self.weight.item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def train(start):
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    averaging = EMAWeightAveraging(decay=0.5, update_starting_at_step=start)
    trainer = pl.Trainer(max_steps=10, accelerator="cpu", num_sanity_val_steps=0, callbacks=[averaging], **quiet)
    model = Counter()
    trainer.fit(model, DataLoader(torch.zeros(2, 1)), DataLoader(torch.zeros(1, 1)))
    trainer.save_checkpoint("last.ckpt")
    saved = torch.load("last.ckpt", weights_only=True)["state_dict"]["weight"].item()
    print(f"start {start}: validated {model.validated}, trained {model.weight.item()}, saved {saved}")
    return model.validated, model.weight.item(), saved


assert train(20) == ([0.0] * 5, 0.0, 0.0)
assert train(6) == ([0.0, 0.0, 0.0, 7.5, 9.125], 9.125, 9.125)
print("as found")
PY
venv/bin/python run.py 2>/dev/null
