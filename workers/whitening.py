"""The filters of a whitening stem, fitted to training images."""

import torch
from torch import Tensor, nn

from spaces.network import Network

FIT_IMAGES = 5000  # enough for the covariance of a patch of tens of numbers
MIN_VARIANCE = 1e-4  # of a direction, against the largest one; keeps constant corners finite


def fit_whitening(network: Network, images: Tensor) -> None:
    """Set the stem's filters to the principal directions of the patches of `images`.

    Each filter has unit variance over the patches and comes with both signs (arXiv
    2404.00498, section 3.3).

    Args:
        images: normalised, float32 of (n, channels, height, width).
    """
    convolution = network.stem[0]
    assert isinstance(convolution, nn.Conv2d)
    directions = principal_directions(images[:FIT_IMAGES], kernel=convolution.kernel_size[0])
    half = directions[: convolution.out_channels // 2]
    with torch.no_grad():
        filters = torch.cat([half, -half])
        convolution.weight.copy_(filters.view_as(convolution.weight))


def principal_directions(images: Tensor, *, kernel: int) -> Tensor:
    """Return the whitening filters (channels * kernel**2, the same), largest variance first."""
    patches = nn.functional.unfold(images.double(), kernel)
    patches = patches.transpose(1, 2).reshape(-1, patches.shape[1])
    covariance = patches.T @ patches / len(patches)
    variance, vectors = torch.linalg.eigh(covariance)
    variance = variance.clamp_min(MIN_VARIANCE * float(variance[-1]))
    filters: torch.Tensor = (vectors / variance.sqrt()).T.flip(0)
    return filters.float()
