"""What a job tries first depends on its space and on how many images a trial sees."""

import pytest

from spaces.cnn import CnnSpace
from workers.preparation import first_trials


def test_the_first_trials_are_the_prior_with_and_without_mirroring() -> None:
    mirrored, plain = first_trials(CnnSpace(), width=16, images=46_000)
    assert (mirrored["augmentation"], plain["augmentation"]) == ("flip", "none")
    assert mirrored | {"augmentation": "none"} == plain
    assert mirrored["batch_size"] == 256
    narrowed = CnnSpace.from_json({"recipe": {"augmentations": ["flip"]}})
    assert len(first_trials(narrowed, width=16, images=46_000)) == 1


@pytest.mark.parametrize(("images", "size"), [(100, 64), (13_000, 128), (10**6, 256)])
def test_few_images_call_for_small_batches(images: int, size: int) -> None:
    assert first_trials(CnnSpace(), width=16, images=images)[0]["batch_size"] == size
