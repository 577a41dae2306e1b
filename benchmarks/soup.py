"""The weights of a folder's networks averaged into one network, its norms measured again.

(M. Wortsman et al., "Model soups", arXiv 2203.05482, average networks that were tuned further from
one; the folds' networks begin apart.)
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spaces.network import build_network
from workers.batches import Normalisation
from workers.evaluation import predict
from workers.model_folder import load_model
from workers.pixels import as_tensor

NORM_ROWS, BATCH = 10_000, 500  # images by which norms are measured


def soup(
    folder: Path, train_images: NDArray[np.uint8], images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return what the mean of a folder's networks, which must be of one architecture, predicts."""
    model = load_model(folder)
    first, *others = model.manifest.networks
    if any(entry.architecture != first.architecture for entry in others):
        raise ValueError("a soup must be of networks of one architecture, but these have several")
    states: list[dict[str, Tensor]] = [network.state_dict() for network in model.networks]
    mean = {name: torch.stack([s[name].double() for s in states]).mean(0) for name in states[0]}
    network = build_network(
        first.architecture, channels=images.shape[-1], classes=model.manifest.outputs
    )
    kinds = network.state_dict()
    network.load_state_dict({name: value.to(kinds[name].dtype) for name, value in mean.items()})
    normalisation = Normalisation(mean=first.mean, std=first.std)
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    network.train()
    with torch.no_grad():
        for begin in range(0, min(NORM_ROWS, len(train_images)), BATCH):
            network(normalisation.apply(as_tensor(train_images[begin : begin + BATCH])))
    return predict(network.eval(), images, normalisation=normalisation, plan=model.plan)
