"""The pictures of a report: mistakes, filters, feature maps, and where a network sees a class."""

import io
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from athanor.report.reading import Source
from athanor.report.values import Report
from search.mistakes import Confusion, Mistake
from search.store import FoldTask
from spaces.errors import StoreError
from workers.out_of_fold import JudgedRows, fold_files, member_name

LARGEST_SIDE = 128  # pixels of a picture; larger images are made smaller
SEEN_SIDE = 112  # pixels of an image with what is seen on it, at least
OF_A_PAIR = 8  # images of two classes that are confused, at most
PAIRS = 6
MAPS = 8  # of each part
FILTERS = 32
VEIL = 0.65  # how much of an image its class map hides where it is highest
PALETTES = {"maps": "viridis", "filters": "RdBu_r", "seen": "magma"}


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image, and what is written below it."""

    content: bytes
    kind: str
    caption: str


@dataclass(frozen=True, slots=True)
class Row:
    """Pictures that belong together."""

    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """All pictures of a report.

    Attributes:
        network: whose filters and maps these are, in words.
        filters: of the first convolution.
        maps: what each part of the network gives for the first picture, an image.
        right, wrong: an image, and where the network sees its class or the one it takes it for.
        missing: what cannot be shown, and why.
    """

    pairs: tuple[Row, ...] = ()
    worst: tuple[Picture, ...] = ()
    network: str = ""
    filters: tuple[Picture, ...] = ()
    maps: tuple[Row, ...] = ()
    right: tuple[Row, ...] = ()
    wrong: tuple[Row, ...] = ()
    missing: tuple[str, ...] = ()


def gallery_of(source: Source, report: Report, *, images: int) -> Gallery:
    """Draw what can be drawn.

    Args:
        images: how many mistakes, and how many images with class maps.
    """
    if source.data is None or source.judged is None or images < 1:
        return Gallery()
    judged, pixels = source.judged, source.data.train_images
    names = source.data.class_names
    if report.mistakes is None:
        worst = tuple(
            picture(pixels[each.row], f"{each.target:.4g}, predicted {each.predicted:.4g}")
            for each in report.number_mistakes[:images]
        )
        return Gallery(worst=worst)
    try:
        network = _Network(source, report)
    except StoreError as failure:
        return Gallery(
            pairs=_pairs(report.mistakes.pairs[:PAIRS], judged, pixels, names),
            worst=tuple(_mistake(each, pixels, names) for each in report.mistakes.worst[:images]),
            missing=(f"no layer is shown: {failure}",),
        )
    return Gallery(
        pairs=_pairs(report.mistakes.pairs[:PAIRS], judged, pixels, names),
        worst=tuple(_mistake(each, pixels, names) for each in report.mistakes.worst[:images]),
        network=network.words,
        filters=network.filters(),
        maps=network.maps(),
        right=network.seen(right=True, most=images),
        wrong=network.seen(right=False, most=images),
    )


class _Network:
    """The heaviest member's network of one fold, and the rows that it has left out."""

    def __init__(self, source: Source, report: Report) -> None:
        from workers.explanation import load_trained  # loads torch

        assert source.data is not None and source.judged is not None and report.winner is not None
        task = _shown(source.progress.folds, source.judged, trial=report.winner.trial)
        self._data, self._judged = source.data, source.judged
        self._said = source.judged.each[member_name(task.trial)]
        self._mine = np.flatnonzero(source.judged.fold == task.fold)
        self._trained = load_trained(
            fold_files(source.files, task),
            channels=source.data.image_shape[2],
            classes=source.data.classes,
        )
        self.words = (
            f"the network of trial {task.trial} that was trained without fold {task.fold}; the "
            "images are of that fold"
        )

    def filters(self) -> tuple[Picture, ...]:
        """Return the first convolution's filters, each in its own scale."""
        from workers.explanation import first_filters

        weights = first_filters(self._trained.network)[:FILTERS]
        return tuple(
            picture(_filter_pixels(each), f"{number}") for number, each in enumerate(weights)
        )

    def maps(self) -> tuple[Row, ...]:
        """Return one image, and of each part the maps that vary most over it."""
        from workers.explanation import feature_maps

        place = self._surest()[0]
        image = self._image(place)
        shown = Row("image", (picture(image, self._name(int(self._judged.targets[place]))),))
        rows = [shown]
        for found in feature_maps(self._trained, image):
            order = np.argsort(-found.maps.std((1, 2)), kind="stable")[:MAPS]
            height, width = found.maps.shape[1:]
            pictures = tuple(
                picture(_coloured(_scaled(found.maps[n]), "maps"), f"channel {n}") for n in order
            )
            title = f"{found.part}: {len(found.maps)} maps of {height}x{width}"
            rows.append(Row(title, pictures))
        return tuple(rows)

    def seen(self, *, right: bool, most: int) -> tuple[Row, ...]:
        """Return images with what speaks for their classes, and for those they are taken for."""
        from workers.explanation import class_maps

        places = self._surest()[:most] if right else self._worst()[:most]
        if not len(places):
            return ()
        images = np.stack([self._image(place) for place in places])
        said = self._said[places].argmax(1)
        targets = self._judged.targets[places]
        of_said = class_maps(self._trained, images, said)
        of_targets = class_maps(self._trained, images, targets)
        rows = []
        for n, image in enumerate(images):
            own, other = self._name(int(targets[n])), self._name(int(said[n]))
            pictures = [picture(image, own), picture(_veiled(image, of_said[n]), f"for {other}")]
            if not right:
                pictures.append(picture(_veiled(image, of_targets[n]), f"for {own}"))
            title = own if right else f"{own}, taken for {other}"
            rows.append(Row(title, tuple(pictures)))
        return tuple(rows)

    def _surest(self) -> NDArray[np.intp]:
        """Return right predictions, the surest of each class, the classes in turn."""
        said, targets = self._said[self._mine], self._judged.targets[self._mine]
        right = np.flatnonzero(said.argmax(1) == targets)
        order = right[np.argsort(-said[right].max(1), kind="stable")]
        turn = np.empty(len(order), dtype=np.int64)
        for label in np.unique(targets):
            of_class = targets[order] == label
            turn[of_class] = np.arange(of_class.sum())
        return self._mine[order[np.lexsort((targets[order], turn))]]

    def _worst(self) -> NDArray[np.intp]:
        """Return wrong predictions, those first that give the true class least."""
        said, targets = self._said[self._mine], self._judged.targets[self._mine]
        lead = said.max(1) - said[np.arange(len(targets)), targets]
        wrong = np.flatnonzero(said.argmax(1) != targets)
        return self._mine[wrong[np.argsort(-lead[wrong], kind="stable")]]

    def _image(self, place: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self._data.train_images[self._judged.rows[place]]
        return image

    def _name(self, label: int) -> str:
        return self._data.class_names[label]


def _shown(tasks: list[FoldTask], judged: JudgedRows, *, trial: int) -> FoldTask:
    mine = [task for task in tasks if task.done and task.trial == trial]
    known = [task for task in mine if (judged.fold == task.fold).any()]
    if not known:
        raise StoreError(f"trial {trial} must have a network of a fold, but has none")
    return known[0]


def _pairs(
    pairs: tuple[Confusion, ...],
    judged: JudgedRows,
    pixels: NDArray[np.uint8],
    names: tuple[str, ...],
) -> tuple[Row, ...]:
    """Return images of the classes that are confused most, those first that are furthest off."""
    said, rows = judged.together.argmax(1), list[Row]()
    for pair in pairs:
        wrong = np.flatnonzero((judged.targets == pair.target) & (said == pair.predicted))
        sure = wrong[np.argsort(-judged.together[wrong, pair.predicted], kind="stable")]
        title = (
            f"{names[pair.target]}, taken for {names[pair.predicted]}: {pair.rows:,} rows "
            f"({pair.share:.1%} of the class)"
        )
        shown = sure[:OF_A_PAIR]
        rows.append(
            Row(title, tuple(picture(pixels[judged.rows[n]], f"{judged.rows[n]}") for n in shown))
        )
    return tuple(rows)


def _mistake(mistake: Mistake, pixels: NDArray[np.uint8], names: tuple[str, ...]) -> Picture:
    return picture(
        pixels[mistake.row],
        f"{names[mistake.target]} ({mistake.given:.0%}), taken for {names[mistake.predicted]} "
        f"({mistake.probability:.0%}); row {mistake.row}",
    )


def picture(pixels: NDArray[np.uint8], caption: str) -> Picture:
    """Encode an image (height, width, channels): PNG, or JPEG where it is large."""
    shown = pixels[..., 0] if pixels.shape[-1] not in (3,) else pixels
    image = Image.fromarray(np.ascontiguousarray(shown))
    kind = "png"
    if max(image.size) > LARGEST_SIDE:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        kind = "jpeg"
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return Picture(buffer.getvalue(), kind, caption)


def _filter_pixels(weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a filter (channels, height, width) as colours: 0 is the middle."""
    largest = float(np.abs(weights).max()) or 1.0
    scaled = 0.5 + weights / (2.0 * largest)
    if len(weights) == 3:
        return _bytes(scaled.transpose(1, 2, 0))
    return _coloured(scaled.mean(0), "filters")


def _scaled(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map from its least value, 0, to its largest, 1."""
    low, high = float(maps.min()), float(maps.max())
    return (maps - low) / ((high - low) or 1.0)


def _veiled(image: NDArray[np.uint8], seen: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return an image with colours where a class is seen, from 0 to the map's largest value."""
    times = max(1, -(-SEEN_SIDE // max(image.shape[:2])))
    large = image.repeat(times, 0).repeat(times, 1)
    largest = float(seen.max()) or 1.0
    size = (large.shape[1], large.shape[0])
    share = np.asarray(Image.fromarray(seen / largest).resize(size, Image.Resampling.BILINEAR))
    colours = _coloured(share, "seen").astype(np.float32)
    base = np.broadcast_to(large[..., :1], (*large.shape[:2], 3)) if large.shape[2] < 3 else large
    veil = VEIL * share[..., None]
    return _bytes((base * (1.0 - veil) + colours * veil) / 255.0)


def _coloured(shares: NDArray[np.floating[Any]], palette: str) -> NDArray[np.uint8]:
    """Return (height, width, 3) colours of shares from 0 to 1."""
    return _bytes(_colour_map(PALETTES[palette])(shares)[..., :3])


@cache
def _colour_map(name: str) -> Any:
    from matplotlib import colormaps

    return colormaps[name]


def _bytes(shares: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = np.clip(np.rint(shares * 255.0), 0, 255).astype(np.uint8)
    return found
