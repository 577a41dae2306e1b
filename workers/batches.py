"""Training batches: shuffling, augmentation and normalisation, vectorised over a whole batch.

Images stay as they are, uint8, in memory or in a file (`workers.pixels`). Shift and flip are a
single gather: every output pixel looks up its source row and column in the padded image, so no
image is touched on its own.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search.numbers import is_numbers
from spaces.recipe import Recipe
from workers.augmentation import AUGMENTATIONS
from workers.pixels import Resident, Streamed
from workers.row_losses import RowLosses
from workers.selected import Images, Selected
from workers.staging import staged

MEASURED_AT_ONCE = 1024  # images whose pixels are measured at a time
SHIFT_SHARE = 0.08  # largest shift as a share of the side: 2 pixels of 28


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Mean and standard deviation of each channel, in units of pixel values 0..255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: Images) -> "Normalisation":
        """Measure uint8 images of (rows, height, width, channels)."""
        totals = np.zeros((2, images.shape[-1]), dtype=np.float64)  # whole numbers, so exact
        for begin in range(0, len(images), MEASURED_AT_ONCE):
            part = images[begin : begin + MEASURED_AT_ONCE]
            pixels = part.reshape(-1, part.shape[-1])
            totals[0] += pixels.sum(axis=0, dtype=np.int64)
            totals[1] += np.square(pixels, dtype=np.uint16).sum(axis=0, dtype=np.int64)
        mean, squares = totals / (len(images) * images.shape[1] * images.shape[2])
        std = np.sqrt(np.maximum(squares - mean**2, 1.0))  # a constant channel is left alone
        return cls(mean=tuple(map(float, mean)), std=tuple(map(float, std)))

    def apply(self, images: Tensor) -> Tensor:
        """Map uint8 (n, height, width, channels) to float32 (n, channels, height, width).

        The result is channels-last in memory, as the images are.
        """
        mean, scale = _mean_and_scale(self.mean, self.std, images.device)
        return images.float().sub_(mean).mul_(scale).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=16)  # or each batch would wait for two small copies to a GPU
def _mean_and_scale(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # predictions are made in it, trainings are not
        return torch.tensor(mean, device=device), 1.0 / torch.tensor(std, device=device)


@dataclass(frozen=True, slots=True)
class Batch:
    """Normalised images (n, channels, height, width) and their labels, or numbers, (n,).

    Labels may be soft: probabilities (n, classes).

    With mixup, the image's second share belongs to `other_labels`: the loss weighs the
    labels by `share` and the other labels by 1 - `share`.

    Attributes:
        rows: the images' numbers (n,) among the training rows, where their losses are wanted.
        weights: of each image's loss (n,), about 1 on average; None: all weigh the same.
    """

    images: Tensor
    labels: Tensor
    other_labels: Tensor | None = None
    share: Tensor | float = 1.0
    rows: Tensor | None = None
    weights: Tensor | None = None

    def split(self, pieces: int) -> list["Batch"]:
        """Cut the batch into so many pieces of about the same size."""
        if pieces == 1:
            return [self]
        columns = zip(
            self.images.tensor_split(pieces),
            self.labels.tensor_split(pieces),
            _cut(self.other_labels, pieces),
            _cut(self.rows, pieces),
            _cut(self.weights, pieces),
            strict=True,
        )
        return [
            Batch(images, labels, others, self.share, rows, weights)
            for images, labels, others, rows, weights in columns
        ]


def _cut(column: Tensor | None, pieces: int) -> Sequence[Tensor | None]:
    return [None] * pieces if column is None else column.tensor_split(pieces)


def _rows_by_class(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def always() -> bool:
    """Return true."""
    return True


class Batches:
    """Passes of augmented batches over fixed rows, without an end, drawn from a seeded generator.

    Attributes:
        passes: that have begun so far.
        row_losses: of the rows when they were last seen, if the recipe leaves easy ones out;
            whoever trains notes them.
    """

    def __init__(
        self,
        images: Images,
        labels: NDArray[Any],
        *,
        recipe: Recipe,
        seed: int,
        device: torch.device,
    ) -> None:
        self.recipe = recipe
        self.parts = frozenset(recipe.augmentation.split("_"))
        self.normalisation = Normalisation.of(images)
        self.random = np.random.default_rng(seed)
        self.passes = 0
        self.rows = len(images)
        self.size = min(recipe.batch_size, self.rows)
        self.side = images.shape[1:3]
        self.shift = self._shift()
        self.first_flip = self.random.integers(0, 2, self.rows).astype(bool)
        self.pixels: Resident | Streamed
        if isinstance(images, Selected):
            self.pixels = Streamed(images, shift=self.shift, device=device)
        else:
            self.pixels = Resident(images, shift=self.shift, device=device)
        self.labels = torch.from_numpy(labels).to(device)
        classes = labels.argmax(1) if labels.ndim > 1 else labels
        by_class = recipe.sampling == "balanced" and not is_numbers(classes)
        self.class_rows = _rows_by_class(classes) if by_class else []
        skips = recipe.skip > 0.0 and recipe.mixup == 0.0 and recipe.sampling == "plain"
        self.row_losses = RowLosses(self.rows, skip=recipe.skip, device=device) if skips else None

    @property
    def per_epoch(self) -> int:
        """Number of batches in an epoch: in a whole pass, without its incomplete last one."""
        return max(1, self.rows // self.size)

    def state(self) -> dict[str, Any]:
        """Return what the next passes depend on, as JSON; `row_losses` are apart."""
        return {"passes": self.passes, "generator": dict(self.random.bit_generator.state)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue as if the passes before `state` had been drawn here."""
        self.passes = int(state["passes"])
        self.random.bit_generator.state = state["generator"]

    def one_pass(
        self, *, whole: bool = False, augment: Callable[[], bool] = always
    ) -> Iterator[Batch]:
        """Yield the batches of a pass, each row at most once but for balanced sampling.

        Args:
            whole: also the rows that the recipe leaves out.
            augment: asked before each batch; if not, its images are mirrored at most.
        """
        odd, self.passes = bool(self.passes % 2), self.passes + 1
        order = self._balanced_order() if self.class_rows else self.random.permutation(self.rows)
        weights: NDArray[np.float32] | None = None
        if self.row_losses is not None:
            weights = np.ones(self.rows, dtype=np.float32)
            kept, drawn = (None, weights) if whole else self.row_losses.draw(self.random)
            if kept is not None and kept.sum() >= self.size:
                order, weights = order[kept[order]], drawn
        for first in range(0, len(order) - self.size + 1, self.size):
            rows = order[first : first + self.size]
            self.pixels.expect(rows, order[first + self.size : first + 2 * self.size])
            yield self._batch(rows, weights, odd=odd, augment=augment())

    def _balanced_order(self) -> NDArray[np.int64]:
        """Return as many rows as there are, equally many of each class, in random order.

        Rows of a class come equally often, up to once.
        """
        share = -(-self.rows // len(self.class_rows))
        drawn = []
        for rows in self.class_rows:
            times = -(-share // len(rows))
            drawn.append(np.concatenate([self.random.permutation(rows) for _ in range(times)]))
        order = np.concatenate([rows[:share] for rows in drawn])
        return self.random.permutation(order)[: self.rows]

    def _batch(
        self,
        rows: NDArray[np.int64],
        weights: NDArray[np.float32] | None,
        *,
        odd: bool,
        augment: bool,
    ) -> Batch:
        images = self.normalisation.apply(self._gather(rows, odd=odd, shift=augment))
        device = self.labels.device
        numbers = staged(rows, device)
        for name, alter in AUGMENTATIONS.items():
            if augment and name in self.parts:
                images = alter(images, self.random)
        batch = Batch(
            images,
            self.labels[numbers],
            rows=None if self.row_losses is None else numbers,
            weights=None if weights is None else staged(weights[rows], device),
        )
        return self._mixed(batch) if augment and self.recipe.mixup > 0.0 else batch

    def _shift(self) -> int:
        if "shift" not in self.parts:
            return 0
        return max(1, round(SHIFT_SHARE * float(min(self.side))))

    def _gather(self, rows: NDArray[np.int64], *, odd: bool, shift: bool) -> Tensor:
        """Cut a shifted, possibly mirrored window out of each padded image, in one gather."""
        device = self.labels.device
        places = self.random.integers(0, 2 * self.shift + 1, (2, len(rows)))
        if not shift:
            places[:] = self.shift
        images = self.pixels.cut(rows, places)
        if "flip" in self.parts:
            # alternating flip: each image is seen mirrored in every second pass (2404.00498)
            flipped = staged(self.first_flip[rows] ^ odd, device)
            images = torch.where(flipped[:, None, None, None], images.flip(2), images)
        return images

    def _mixed(self, batch: Batch) -> Batch:
        drawn = self.random.beta(self.recipe.mixup, self.recipe.mixup)
        share = staged(np.array(drawn, dtype=np.float32), batch.labels.device)
        order = staged(self.random.permutation(len(batch.labels)), batch.labels.device)
        mixed = batch.images * share + batch.images[order] * (1.0 - share)
        return replace(batch, images=mixed, other_labels=batch.labels[order], share=share)
