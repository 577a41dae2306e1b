"""The filters of a whitening stem, fitted to training images."""

import numpy as np
import torch
from torch import Tensor, nn

from spaces.network import Network
from workers.batches import Normalisation
from workers.pixels import as_tensor
from workers.selected import Images

FIT_PATCHES = 1_000_000  # enough for the covariance of a patch of tens of numbers
PATCHES_AT_ONCE = 100_000  # keeps the memory of the fit small, whatever the images' size
MIN_VARIANCE = 1e-4  # of a direction, against the largest one; keeps constant corners finite
LEAST_VARIANCE = 1e-12  # of any direction; keeps constant images finite


def fit_whitening(network: Network, images: Images, *, normalisation: Normalisation) -> None:
    """Set the stem's filters to the principal directions of the patches of `images`.

    Each filter has unit variance over the patches and comes with both signs (arXiv
    2404.00498, section 3.3).

    Args:
        images: uint8 of (rows, height, width, channels); of many, some are taken, evenly spread.
    """
    convolution = network.stem[0]
    assert isinstance(convolution, nn.Conv2d)
    directions = principal_directions(
        images, kernel=convolution.kernel_size[0], normalisation=normalisation
    )
    half = directions[: convolution.out_channels // 2]
    with torch.no_grad():
        filters = torch.cat([half, -half])
        convolution.weight.copy_(filters.view_as(convolution.weight))


def principal_directions(images: Images, *, kernel: int, normalisation: Normalisation) -> Tensor:
    """Return the whitening filters (channels * kernel**2, the same), largest variance first."""
    variance, vectors = torch.linalg.eigh(patch_covariance(images, kernel, normalisation))
    least = max(MIN_VARIANCE * float(variance[-1]), LEAST_VARIANCE)
    filters: torch.Tensor = (vectors / variance.clamp_min(least).sqrt()).T.flip(0)
    return filters.float()


def patch_covariance(images: Images, kernel: int, normalisation: Normalisation) -> Tensor:
    """Return the covariance (channels * kernel**2, the same) of patches, about zero, float64."""
    rows, height, width, channels = images.shape
    narrow = min(height, width) < kernel  # then patches reach over the border, as in the stem
    padding = kernel // 2 if narrow else 0
    in_an_image = (height + 2 * padding - kernel + 1) * (width + 2 * padding - kernel + 1)
    chosen = np.linspace(0, rows - 1, min(rows, max(1, FIT_PATCHES // in_an_image))).astype(int)
    size = channels * kernel**2
    total: Tensor = torch.zeros(size, size, dtype=torch.float64)
    at_once = max(1, PATCHES_AT_ONCE // in_an_image)
    for begin in range(0, len(chosen), at_once):
        part = images[chosen[begin : begin + at_once]]
        pixels = normalisation.apply(as_tensor(part))
        patches = nn.functional.unfold(pixels.contiguous(), kernel, padding=padding)
        columns = patches.transpose(0, 1).reshape(size, -1).double()
        total += columns @ columns.T
    return total.div_(len(chosen) * in_an_image)
