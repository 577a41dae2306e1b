"""Batches are normalised and augmented as said, leave out only easy rows, and repeat."""

import json
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from spaces.recipe import Augmentation, Recipe
from workers.augmentation import AUGMENTATIONS
from workers.batches import Batch, Batches, Normalisation
from workers.device import DevicePlan
from workers.row_losses import RowLosses

CPU = DevicePlan()
Images = NDArray[np.uint8]


def test_normalisation_is_numpys_mean_and_deviation_by_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    images[..., 1] //= 4
    images[..., 2] = 7
    made = Normalisation.of(images)
    pixels = images.reshape(-1, 3).astype(float)
    assert made.mean == pytest.approx(tuple(pixels.mean(0)))
    assert made.std == pytest.approx((pixels[:, 0].std(), pixels[:, 1].std(), 1.0))
    mapped = made.apply(torch.from_numpy(images)).numpy()
    expected = (images - pixels.mean(0)) / np.array(made.std)
    assert mapped.shape == (50, 3, 6, 5)
    assert np.allclose(mapped, expected.transpose(0, 3, 1, 2), atol=1e-4)


def batches_of(
    images: Images,
    augmentation: Augmentation,
    *,
    seed: int = 0,
    batch_size: int = 64,
    mixup: float = 0.0,
    skip: float = 0.0,
) -> Batches:
    """Return batches in which the label of each image is its row."""
    recipe = Recipe(augmentation=augmentation, batch_size=batch_size, mixup=mixup, skip=skip)
    labels = np.arange(len(images), dtype=np.int64)
    return Batches(images, labels, recipe=recipe, seed=seed, device=CPU.torch_device)


def pixels_of(batches: Batches, images: Tensor) -> NDArray[np.float64]:
    """Return normalised images as pixel values of (rows, height, width, channels)."""
    values: NDArray[np.float64] = images.permute(0, 2, 3, 1).numpy().astype(np.float64)
    values *= np.array(batches.normalisation.std)
    values += np.array(batches.normalisation.mean)
    return values


def drawn(batches: Batches) -> dict[int, NDArray[np.float64]]:
    """Return each image of the next pass by its row, as pixel values."""
    return {
        int(label): image
        for batch in batches.one_pass()
        for label, image in zip(batch.labels, pixels_of(batches, batch.images), strict=True)
    }


def single_pixels(side: int, *, at: tuple[int, int], rows: int = 128) -> Images:
    """Return black images with one bright pixel at (row, column)."""
    images = np.zeros((rows, side, side, 1), dtype=np.uint8)
    images[:, at[0], at[1]] = 250
    return images


def places(batches: Batches) -> dict[int, tuple[int, int]]:
    """Return where the one bright pixel of each image is."""
    found = {}
    for row, image in drawn(batches).items():
        bright = np.argwhere(image[..., 0] > 125)
        assert len(bright) == 1
        found[row] = (int(bright[0, 0]), int(bright[0, 1]))
    return found


def noise(rows: int = 64, *, side: int = 8, channels: int = 1) -> Images:
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (rows, side, side, channels), dtype=np.uint8)


def test_without_augmentation_images_and_labels_stay_as_they_are() -> None:
    images = noise(channels=3)
    batches = batches_of(images, "none", batch_size=16)
    for _ in range(2):
        seen = drawn(batches)
        assert len(seen) == len(images)
        for row, image in seen.items():
            assert np.allclose(image, images[row], atol=1e-2)


@pytest.mark.parametrize("augmentation", ["none", "flip", "shift", "flip_shift_erase"])
def test_a_pass_sees_each_row_at_most_once_in_another_order(augmentation: Augmentation) -> None:
    batches = batches_of(noise(50), augmentation, batch_size=16)
    assert batches.per_epoch == 3
    orders = [[int(x) for batch in batches.one_pass() for x in batch.labels] for _ in range(2)]
    for order in orders:
        assert len(order) == len(set(order)) == 48
    assert orders[0] != orders[1]


def test_fewer_rows_than_a_batch_are_one_batch() -> None:
    batches = batches_of(noise(10), "none", batch_size=256)
    assert batches.per_epoch == 1 and len(drawn(batches)) == 10


@pytest.mark.parametrize(("side", "most"), [(8, 1), (28, 2), (40, 3)])
def test_a_shift_moves_at_most_the_stated_pixels_each_way(side: int, most: int) -> None:
    batches = batches_of(single_pixels(side, at=(3, 4)), "shift")
    moves = [(y - 3, x - 4) for _ in range(2) for y, x in places(batches).values()]
    for direction in (0, 1):
        assert {move[direction] for move in moves} == set(range(-most, most + 1))


def test_what_a_shift_brings_in_is_black() -> None:
    images = np.full((128, 8, 8, 1), 200, dtype=np.uint8)
    images[0] = 100  # so that the deviation is not zero
    for row, image in drawn(batches_of(images, "shift")).items():
        values = set(np.rint(image).astype(int).ravel().tolist())
        assert values <= {0, int(images[row, 0, 0, 0])}


def test_a_flip_mirrors_each_image_in_every_second_pass() -> None:
    batches = batches_of(single_pixels(8, at=(2, 1)), "flip")
    passes = [places(batches) for _ in range(4)]
    assert {place for place in passes[0].values()} == {(2, 1), (2, 6)}
    assert passes[0] == passes[2] and passes[1] == passes[3]
    assert all(passes[0][row] != passes[1][row] for row in passes[0])


def test_a_flip_mirrors_whole_images() -> None:
    images = noise(channels=2)
    for row, image in drawn(batches_of(images, "flip")).items():
        either = (images[row], images[row][:, ::-1])
        assert any(np.allclose(image, each, atol=1e-2) for each in either)


def test_flip_and_shift_together_do_both() -> None:
    batches = batches_of(single_pixels(28, at=(9, 4)), "flip_shift")
    for _ in range(2):
        found = places(batches).values()
        assert {y for y, _ in found} == set(range(7, 12))
        assert {x for _, x in found} == {*range(2, 7), *range(21, 26)}


def test_erasing_sets_one_square_of_half_of_the_images_to_the_mean() -> None:
    batches = batches_of(noise(256, side=20), "flip_shift_erase", batch_size=256)
    (batch,) = batches.one_pass()
    erased = 0
    for image in batch.images[:, 0].numpy():
        rows, columns = np.nonzero(image == 0.0)  # the mean, once normalised
        if len(rows):
            erased += 1
            assert np.ptp(rows) == np.ptp(columns) == 6 and len(rows) == 49  # 35 % of 20 is 7
    assert 0.35 < erased / 256 < 0.65


def test_an_affine_change_turns_scales_and_moves_each_image_by_itself() -> None:
    images = np.zeros((200, 40, 40, 1), dtype=np.uint8)
    images[:, 17:23, 10:30] = 200  # a bar
    found = drawn(batches_of(images, "affine", batch_size=200)).values()
    y, x = np.mgrid[:40, :40] - 19.5
    angles, sizes, moves = [], [], []
    for image in (each[:, :, 0] for each in found):
        mass = image.sum()
        centre = np.array([(image * y).sum(), (image * x).sum()]) / mass
        dy, dx = y - centre[0], x - centre[1]
        cross, wide, high = ((image * each).sum() for each in (dx * dy, dx**2, dy**2))
        angles.append(math.degrees(0.5 * math.atan2(2.0 * cross, wide - high)))
        sizes.append(mass / (200 * 120))
        moves.append(np.abs(centre).max())
    assert 7.0 < max(map(abs, angles)) < 11.0
    assert 0.80 < min(sizes) < 0.88 and 1.14 < max(sizes) < 1.25  # 1.1 squared is 1.21
    assert 2.5 < max(moves) < 3.8  # 8 % of 40 pixels, and scaled
    assert len(set(map(float, angles))) == 200


def test_jitter_changes_contrast_and_brightness_alone() -> None:
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = AUGMENTATIONS["jitter"](images, np.random.default_rng(0)).numpy()
    factors = []
    for before, after in zip(images.numpy(), changed, strict=True):
        factor, offset = np.polyfit(before.ravel(), after.ravel(), 1)
        assert np.allclose(after, factor * before + offset, atol=1e-4)
        assert 0.8 <= factor <= 1.2 and abs(offset) <= 0.2
        factors.append(factor)
    assert np.ptp(factors) > 0.2


def test_mixup_mixes_images_as_it_mixes_labels() -> None:
    images = np.repeat(np.arange(200, dtype=np.uint8), 64).reshape(200, 8, 8, 1)
    batches = batches_of(images, "none", batch_size=50, mixup=0.4)
    shares = []
    for batch in batches.one_pass():
        assert batch.other_labels is not None and 0.0 <= batch.share <= 1.0
        assert sorted(batch.labels.tolist()) == sorted(batch.other_labels.tolist())
        expected = batch.share * batch.labels + (1.0 - batch.share) * batch.other_labels
        found = pixels_of(batches, batch.images)[:, 0, 0, 0]
        assert np.allclose(found, expected.numpy(), atol=1e-2)
        shares.append(batch.share)
    assert len(set(shares)) == 4


@pytest.mark.parametrize("augmentation", ["none", "flip_shift_erase", "flip_affine_jitter"])
def test_equal_seeds_draw_equal_batches_also_after_a_restore(augmentation: Augmentation) -> None:
    first = batches_of(noise(), augmentation, batch_size=16, mixup=0.4)
    list(first.one_pass())
    state = json.loads(json.dumps(first.state()))
    again = batches_of(noise(), augmentation, batch_size=16, mixup=0.4)
    again.restore(state)
    for one, other in zip(first.one_pass(), again.one_pass(), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
        assert one.share == other.share
    labels = [
        next(iter(batches_of(noise(), augmentation, batch_size=16, seed=seed).one_pass())).labels
        for seed in (0, 0, 1)
    ]
    assert torch.equal(labels[0], labels[1]) and not torch.equal(labels[0], labels[2])


# --- rows left out ----------------------------------------------------------------------------


def losses_of(*values: float, skip: float = 0.75) -> RowLosses:
    made = RowLosses(len(values), skip=skip, device=torch.device("cpu"))
    made.note(torch.arange(len(values)), torch.tensor(values))
    return made


def test_rows_that_nobody_has_seen_are_all_kept() -> None:
    kept, weights = losses_of(*[math.inf] * 50).draw(np.random.default_rng(0))
    assert kept.all() and (weights == 1.0).all()
    half = losses_of(*[0.1, 0.2] * 20, *[math.inf] * 20)
    kept, _ = half.draw(np.random.default_rng(0))
    assert kept[40:].all() and not kept[0:40:2].all()


def test_only_easy_rows_are_left_out_and_the_mean_gradient_stays() -> None:
    losses = np.array([0.1, 0.2] * 400 + [5.0] * 200, dtype=np.float32)
    made, random = losses_of(*losses), np.random.default_rng(0)
    means, shares = [], []
    for _ in range(200):
        kept, weights = made.draw(random)
        assert kept[800:].all()
        assert weights[kept].mean() == pytest.approx(1.0)
        assert weights[0] == pytest.approx(4.0 * weights[800])
        means.append((losses * weights)[kept].mean())
        shares.append(kept[:800].mean())
    assert np.mean(shares) == pytest.approx(0.25, abs=0.01)
    assert np.mean(means) == pytest.approx(losses.mean(), rel=0.01)


@pytest.mark.parametrize("whole", [False, True])
def test_a_pass_leaves_easy_rows_out_unless_it_is_whole(whole: bool) -> None:
    batches = batches_of(noise(100), "flip", batch_size=8, skip=0.75)
    assert batches.row_losses is not None
    assert len(list(batches.one_pass())) == 12
    losses = torch.full((100,), 3.0)
    losses[:80] = 0.1
    batches.row_losses.note(torch.arange(100), losses)
    one_pass = list(batches.one_pass(whole=whole))
    rows = torch.cat([batch.labels for batch in one_pass]).tolist()
    assert len(rows) == len(set(rows)) == 8 * len(one_pass)
    if whole:
        assert len(one_pass) == 12
        for batch in one_pass:  # of the same parts as those of other passes, for CUDA graphs
            assert batch.weights is not None and (batch.weights == 1.0).all()
    else:
        assert 3 <= len(one_pass) <= 7 and sum(row >= 80 for row in rows) > 12
        for batch in one_pass:
            assert batch.rows is not None and batch.rows.tolist() == batch.labels.tolist()
            assert batch.weights is not None
            heavy = batch.weights > 1.0
            assert torch.equal(heavy, batch.labels < 80)


def test_no_row_is_left_out_where_too_few_for_a_batch_would_stay() -> None:
    batches = batches_of(noise(20), "none", batch_size=16, skip=0.95)
    assert batches.row_losses is not None
    batches.row_losses.note(torch.arange(20), torch.tensor([0.1] * 19 + [9.0]))
    (batch,) = batches.one_pass()
    assert batch.weights is not None and (batch.weights == 1.0).all()
    assert len(batch.labels) == 16


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_batches_that_are_not_augmented_are_mirrored_at_most(mixup: float) -> None:
    images = noise()
    batches = batches_of(images, "flip_shift_erase", mixup=mixup)
    mirrored = 0
    for batch in batches.one_pass(augment=lambda: False):
        assert batch.other_labels is None
        for row, image in zip(batch.labels, pixels_of(batches, batch.images), strict=True):
            original = images[int(row)]
            if not np.allclose(image, original, atol=0.01):
                assert np.allclose(image, original[:, ::-1], atol=0.01)
                mirrored += 1
    assert mirrored > 0


def test_mixed_rows_have_no_loss_of_their_own() -> None:
    assert batches_of(noise(), "none", mixup=0.2, skip=0.75).row_losses is None
    assert batches_of(noise(), "none").row_losses is None


def test_pieces_of_a_batch_keep_rows_and_weights() -> None:
    whole = Batch(
        torch.zeros(8, 1, 2, 2),
        torch.arange(8),
        rows=torch.arange(8) + 100,
        weights=torch.linspace(0.0, 1.0, 8),
    )
    pieces = whole.split(3)
    assert torch.cat([piece.rows for piece in pieces if piece.rows is not None]).equal(
        torch.arange(8) + 100
    )
    for piece in pieces:
        assert piece.weights is not None
        assert torch.equal(piece.weights, whole.weights[piece.labels])  # type: ignore[index]
