"""Where the files of a finalist on a fold lie."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FoldFiles:
    """The files of a finalist on a fold."""

    folder: Path

    @property
    def weights(self) -> Path:
        """Weights and buffers of the network, float32."""
        return self.folder / "weights.safetensors"

    @property
    def predictions(self) -> Path:
        """Probabilities of the rows that were left out, float32."""
        return self.folder / "out_of_fold.npy"

    @property
    def meta(self) -> Path:
        """Candidate, normalisation and how it was trained, epoch by epoch."""
        return self.folder / "meta.json"
