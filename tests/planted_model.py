"""A model that nobody has trained: three networks of two trials, with first weights."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from search.stacking import Stack
from spaces.architecture import Architecture, Head, Stage, Stem, Views
from spaces.network import build_network
from spaces.recipe import Recipe
from workers.device import DevicePlan
from workers.model_folder import Manifest, Model, NetworkEntry, sha256_of, write_manifest
from workers.targets import TargetScale

SHAPE = (9, 12, 3)  # odd and even sides
IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)


def model_of(
    views: Views,
    *,
    scale: TargetScale | None = None,
    temperature: float = 1.0,
    stack: Stack | None = None,
) -> Model:
    """Return three networks of two trials, with first weights."""
    architecture = Architecture(
        stem=Stem(kind="whitening", width=6),
        stages=(Stage(depth=1, width=8, block="separable"), Stage(depth=1, width=8, squeeze=2)),
        head=Head(pooling="max", hidden=(5,), scale=2.0),
        activation="silu",
        norm="group",
        views=views,
    )
    classes = ("a", "b", "c", "d") if scale is None else ()
    entries, networks = [], []
    for seed, weight in enumerate((0.5, 0.3, 0.2)):
        entry = NetworkEntry(
            file=f"{seed}.safetensors",
            sha256="",
            trial=min(seed, 1),
            fold=1,
            weight=weight,
            architecture=architecture,
            recipe=Recipe(),
            mean=(100.0 + seed, 110.0, 120.0),
            std=(50.0, 60.0, 70.0),
            scale=scale,
            report={},
        )
        network = build_network(architecture, channels=3, classes=len(classes) or 1, seed=seed)
        entries.append(entry)
        networks.append(network.to(memory_format=torch.channels_last).eval())
    manifest = Manifest(
        job="planted",
        data="planted",
        class_names=classes,
        image_shape=SHAPE,
        networks=tuple(entries),
        stack=stack,
        temperature=temperature,
        scores={},
        protocol={},
        versions={},
    )
    return Model(manifest, tuple(networks), DevicePlan())


def write_model(model: Model, folder: Path) -> None:
    """Write a model's folder."""
    entries = []
    pairs = zip(model.manifest.networks, model.networks, strict=True)
    for entry, network in pairs:
        tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(tensors, folder / entry.file)
        digest = sha256_of(folder / entry.file)
        entries.append(entry.model_copy(update={"sha256": digest}))
    write_manifest(folder, model.manifest.model_copy(update={"networks": tuple(entries)}))
