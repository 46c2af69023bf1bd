"""The loader under Lightning's loops, which stop at the length and never ask for more."""

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from sources import Numbered

from clip_lightning.data import CenterCrop, PairLoader
from clip_lightning.text import CLIPTokenizer

EPOCHS, BATCHES = 3, 4


class Recorder(lightning.LightningModule):
    """Notes which samples each step had."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch):
        self.seen.append((self.current_epoch, self.global_step, batch.key[:, 2].tolist()))
        return self.weight * 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, num_workers=0, checkpoint=None, **arguments):
    loader = PairLoader(
        [Numbered([17])],
        tokenizer=CLIPTokenizer(),
        transform=CenterCrop(4),
        batch_size=4,
        num_workers=num_workers,
    )
    module = Recorder()
    trainer = lightning.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)],
        **{"max_epochs": EPOCHS, **arguments},
    )
    trainer.fit(module, loader, ckpt_path=checkpoint)
    return module.seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, fit(folder)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_epoch_has_other_batches_and_all_of_them(whole):
    _, seen = whole
    assert [(epoch, step) for epoch, step, _ in seen] == [(n // BATCHES, n) for n in range(EPOCHS * BATCHES)]
    for epoch in range(EPOCHS):
        samples = [key for number, _, keys in seen for key in keys if number == epoch]
        assert len(set(samples)) == len(samples) == 16


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("step", range(1, EPOCHS * BATCHES))
def test_resumes_exactly_after_any_step(whole, tmp_path, step):
    folder, seen = whole
    assert fit(tmp_path, num_workers=2 * (step == 6), checkpoint=folder / f"step={step}.ckpt") == seen[step:]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_steps_decide_over_epochs_and_limits_skip_no_sample(whole, tmp_path):
    _, seen = whole
    limited = fit(tmp_path, max_epochs=6, limit_train_batches=2)
    assert [keys for _, _, keys in limited] == [keys for _, _, keys in seen]
    assert fit(tmp_path, max_epochs=-1, max_steps=7) == seen[:7]
