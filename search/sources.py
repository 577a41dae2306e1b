"""How a job names its images, and how these are to be read; nothing is opened here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from spaces.errors import DataError, JobError
from spaces.values import Value

NAMED_SOURCES = ("fashion-mnist", "digits")
FILE_SUFFIXES = (".npz", ".npy", ".csv", ".parquet")
TORCHVISION, HUGGING_FACE = "torchvision:", "hf:"
ROOT = "?root="  # between a data set of torchvision and its folder
SCHEMES = (TORCHVISION, HUGGING_FACE)
FORMATS = ("png", "jpeg", "webp", "bmp", "gif", "tiff")
MAX_PIXELS = 25_000_000  # of an image: decoded with an alpha channel, it takes 200 MB
LEAST_SIDE, MAX_SIDE = 4, 1024  # pixels of the images that are trained on

ImageFormat = Literal["png", "jpeg", "webp", "bmp", "gif", "tiff"]


class ImageOptions(Value):
    """How image files become arrays of one shape.

    Attributes:
        image_size: pixels of the short side, and of both where sizes are mixed; None: sizes as they
            are if all are equal and at most 64, else the median of the short sides, at most 64.
        channels: 1 or 3; None: 1 if all images are grey.
        image_formats: what may be read; decoders of rare formats are a risk (docs/data.md).
        max_pixels: of an image; whatever has more is left out.
    """

    image_size: Annotated[int, pydantic.Field(ge=LEAST_SIDE, le=MAX_SIDE)] | None = None
    channels: Literal[1, 3] | None = None
    image_formats: tuple[ImageFormat, ...] = ("png", "jpeg")
    max_pixels: Annotated[int, pydantic.Field(ge=1)] = MAX_PIXELS


AS_THEY_ARE = ImageOptions()


@dataclass(frozen=True, slots=True)
class TorchvisionSource:
    """A data set of torchvision by its class's name; `root`: the folder that it is kept in."""

    name: str
    root: Path | None

    @classmethod
    def parse(cls, source: str) -> "TorchvisionSource":
        """Read `torchvision:NAME[?root=PATH]`; the path is taken as it stands, to the end.

        Raises:
            DataError: it has another form.
        """
        name, query, root = source.removeprefix(TORCHVISION).partition(ROOT)
        if not name or "?" in name or (query and not root):
            raise DataError(
                f"a torchvision data set must look like torchvision:NAME or "
                f"torchvision:NAME?root=FOLDER, but got {source!r}"
            )
        return cls(name, Path(root) if root else None)

    def __str__(self) -> str:
        query = "" if self.root is None else f"{ROOT}{self.root}"
        return f"{TORCHVISION}{self.name}{query}"


def is_path(source: str, *, base: Path = Path()) -> bool:
    """Whether a source is a file or folder; a word may be the name of a folder in `base`."""
    if source in NAMED_SOURCES or source.startswith(SCHEMES):
        return False
    if source.lower().endswith(FILE_SUFFIXES) or "/" in source or source.startswith((".", "~")):
        return True
    return 0 < len(source) < 256 and "\0" not in source and (base / source).exists()


def absolute(source: str, *, base: Path = Path(), where: str = "") -> str:
    """Return a source whose paths do not depend on the current folder.

    Args:
        base: what relative paths are relative to.
        where: what an error begins with.

    Raises:
        JobError: a path begins with the home of nobody.
    """
    if source.startswith(HUGGING_FACE):
        return HUGGING_FACE + str(_absolute(source.removeprefix(HUGGING_FACE), base, where))
    if source.startswith(TORCHVISION):
        parsed = TorchvisionSource.parse(source)
        root = None if parsed.root is None else _absolute(str(parsed.root), base, where)
        return str(TorchvisionSource(parsed.name, root))
    return str(_absolute(source, base, where)) if is_path(source, base=base) else source


def title(source: str) -> str:
    """Return what a source is called: the name of its file, folder or data set."""
    if source.startswith(TORCHVISION):
        return TorchvisionSource.parse(source).name
    path = Path(source.removeprefix(HUGGING_FACE))
    return path.stem if path.suffix.lower() in FILE_SUFFIXES else path.name


def expanded(path: str, *, where: str = "") -> Path:
    """Return a path with `~` and `~user` replaced; `JobError` if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise JobError(f"{where}the home in {path} must be that of a user, but is not") from None


def _absolute(path: str, base: Path, where: str) -> Path:
    return (base / expanded(path, where=where)).absolute()


def image_options(values: dict[str, Any]) -> ImageOptions:
    """Return the options among a job's values."""
    return ImageOptions(**{name: values[name] for name in ImageOptions.model_fields})
