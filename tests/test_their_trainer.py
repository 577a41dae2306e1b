"""The tutorials' trainer in a worker of ours: what a benchmark compares ours with."""

import inspect

import numpy as np
import pytest
import torch

from benchmarks.their_trainer import EXCHANGED, THEIR_PLAN, LoaderBatches, ReadingStepper
from spaces.architecture import Architecture, Stage, Stem
from spaces.recipe import Candidate, Recipe
from workers.batches import Batch
from workers.rows import Rows
from workers.training import Training

NETWORK = Architecture(stem=Stem(width=4), stages=(Stage(width=4, depth=1, downsampling="none"),))


def test_a_training_sees_what_their_loader_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (48, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(48) % 3
    for module, name, theirs in EXCHANGED:
        monkeypatch.setattr(module, name, theirs)
    seven = torch.full((1, 8, 8), 7.0)
    monkeypatch.setattr(LoaderBatches, "_transform", lambda _: lambda _: seven)
    seen: list[torch.Tensor] = []
    step = ReadingStepper.step

    def noted(self: ReadingStepper, batch: Batch) -> None:
        seen.append(batch.images)
        step(self, batch)

    monkeypatch.setattr(ReadingStepper, "step", noted)
    recipe = Recipe(batch_size=16, epochs=2, skip=0.75, augmentation="flip")
    training = Training(
        Candidate(architecture=NETWORK, recipe=recipe),
        Rows(images[:32], labels[:32], images[32:], labels[32:], 3),
        plan=THEIR_PLAN,
        seed=0,
    )
    training.run(on_epoch=lambda *_: None, interrupt=lambda: None)
    assert len(seen) == 4  # no row is left out
    assert all(torch.equal(batch, seven.expand(16, 1, 8, 8)) for batch in seen)


@pytest.mark.parametrize(
    ("module", "name", "theirs"), EXCHANGED, ids=[name for _, name, _ in EXCHANGED]
)
def test_theirs_takes_what_ours_takes(module: object, name: str, theirs: object) -> None:
    assert callable(theirs)
    ours = inspect.signature(getattr(module, name)).parameters
    assert list(inspect.signature(theirs).parameters) == list(ours)
