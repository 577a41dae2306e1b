"""The pictures of a report: mistakes, and what the layers of a network have learnt."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from athanor.report.encoding import Picture, Row, picture
from athanor.report.layers import ShownNetwork
from athanor.report.reading import Source
from athanor.report.values import Report
from search.mistakes import Confusion, Mistake
from spaces.errors import StoreError
from workers.judged_rows import JudgedRows

OF_A_PAIR = 8  # images of two classes that are confused, at most
PAIRS = 6


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
    judged, pixels, names = source.judged, source.data.train_images, source.data.class_names
    if report.mistakes is None:
        mistakes = Gallery(
            worst=tuple(
                picture(pixels[each.row], f"{each.target:.4g}, predicted {each.predicted:.4g}")
                for each in report.number_mistakes[:images]
            )
        )
    else:
        worst = report.mistakes.worst[:images]
        mistakes = Gallery(
            pairs=_pairs(report.mistakes.pairs[:PAIRS], judged, pixels, names),
            worst=tuple(_mistake(each, pixels, names) for each in worst),
        )
    try:
        network = ShownNetwork(source, report)
    except StoreError as failure:
        return replace(mistakes, missing=(f"no layer is shown: {failure}",))
    return replace(
        mistakes,
        network=network.words,
        filters=network.filters(),
        maps=network.maps(),
        right=network.seen(right=True, most=images),
        wrong=network.seen(right=False, most=images),
    )


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
