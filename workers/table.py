"""A folder of images and a table of them, CSV or Parquet: a row an image.

Columns: `path` (or `file_name`), below the table's folder; `label` (or `class`), or `target`, a
number to be predicted; and if known `group`, `time` (a number or an ISO date), `split` (train,
val, test) and `fold` (from 0; -1 or empty: none). Other columns are not read.
"""

import csv
import os
import stat
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.splits import Columns
from spaces.errors import DataError
from workers.listing import PART_NAMES, TRAIN, Listing, stamp
from workers.npz import MAX_TARGET
from workers.safe_paths import SHOWN, InsideChecker, check_name, check_relative

TABLE_SUFFIXES = (".csv", ".parquet")
NAMES = {
    "path": ("path", "file_name"),
    "label": ("label", "class"),
    "target": ("target",),
    "group": ("group",),
    "time": ("time",),
    "split": ("split",),
    "fold": ("fold",),
}
MAX_TABLE = 2 * 2**30  # bytes of a table's file
MAX_ROWS = 50_000_000
MAX_FIELD = 131_072  # characters of a field of a CSV file
SHOWN_COLUMNS = 8

Table = dict[str, list[Any]]


def find_table(folder: Path) -> Path | None:
    """Return the one table of images in a folder, if there is one; others lie beside class folders.

    Raises:
        DataError: there are several.
    """
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    tables = [path for path in visible if path.suffix.lower() in TABLE_SUFFIXES]
    found = [path for path in tables if _is_of_images(path)]
    if len(found) > 1:
        raise DataError(
            f"a folder must hold one table of images at most, but {folder} has {found[0].name} and "
            f"{found[1].name}: name the one that is meant"
        )
    if not found and not any(path.is_dir() for path in visible):
        found = tables[:1]  # whose columns are refused
    return found[0] if found else None


def _is_of_images(path: Path) -> bool:
    """Whether a table has paths or labels, or cannot be read: what it lacks is then told."""
    try:
        return bool({"path", "label", "target"}.intersection(_columns(path, _header(path))))
    except DataError:
        return True


def _header(path: Path) -> list[str]:
    """Return the names of a table's columns, nothing of an empty file."""
    if path.suffix.lower() != ".parquet":
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                return next(csv.reader(file, strict=True), [])
        except (csv.Error, UnicodeDecodeError, OSError) as failure:
            raise DataError(f"{path} must be a CSV file in UTF-8: {failure}") from None
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return list(parquet.read_schema(path).names)
    except (pa.ArrowException, OSError, ValueError) as failure:
        line = str(failure).replace("\n", " ")
        raise DataError(f"{path} must be a whole Parquet file: {line}") from None


def list_table(path: Path) -> Listing:
    """List the images of a table, in its order.

    Raises:
        DataError: the table is broken, or a row breaks a rule that the message states.
    """
    table = _read(path)
    rows = [_text(value) for value in table["path"]]
    entries = _entries(path, rows)
    labels, class_names = _answers(path, table)
    split = table.get("split")
    return Listing(
        name=path.stem if path.stem not in ("labels", "metadata") else path.parent.name,
        reader={"kind": "files", "root": str(path.parent)},
        rows=rows,
        labels=labels,
        class_names=class_names,
        parts=None if split is None else _split(path, split),
        stamp=stamp(entries),
        columns=Columns(
            groups=_groups(table.get("group")),
            times=_times(path, table.get("time")),
            folds=_folds(path, table.get("fold")),
        ),
    )


def _read(path: Path) -> Table:
    """Return the columns that are known, by the names of `NAMES`' keys."""
    if not path.is_file():
        raise DataError(f"data must be a table of images, but there is none at {path}")
    size = path.stat().st_size
    if size > MAX_TABLE:
        raise DataError(f"{path} must have at most {MAX_TABLE:,} bytes, but has {size:,}")
    read = _read_parquet if path.suffix.lower() == ".parquet" else _read_csv
    table = read(path)
    if "path" not in table or ("label" in table) == ("target" in table):
        known = " or ".join(NAMES["path"]), *NAMES["label"], *NAMES["target"]
        raise DataError(
            f"{path} must have a column {known[0]} and one of {', '.join(known[1:])}, separated by "
            f"commas, but has {', '.join(map(repr, _header(path)[:SHOWN_COLUMNS]))}"
        )
    if not table["path"]:
        raise DataError(f"{path} must have rows, but has only a header")
    return table


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Return at which place of a header each known column stands."""
    stripped = [name.strip() for name in header]
    places: dict[str, int] = {}
    for key, aliases in NAMES.items():
        found = [place for place, name in enumerate(stripped) if name in aliases]
        if len(found) > 1:
            raise DataError(f"{path} must have one column for the {key}, but has {len(found)}")
        places |= {key: found[0]} if found else {}
    return places


def _read_csv(path: Path) -> Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            places = _columns(path, header)
            table: Table = {key: [] for key in places}
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise DataError(
                        f"{path} must have {len(header)} fields in each row, "
                        f"but line {reader.line_num} has {len(fields)}"
                    )
                for key, place in places.items():
                    table[key].append(fields[place])
    except (csv.Error, UnicodeDecodeError) as failure:
        raise DataError(f"{path} must be a CSV file in UTF-8: {failure}") from None
    except OSError as failure:
        raise DataError(f"{path} must be readable: {failure.strerror}") from None
    return table


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            places = _columns(path, file.schema_arrow.names)
            if file.metadata.num_rows > MAX_ROWS:
                raise DataError(f"{path} must have at most {MAX_ROWS:,} rows")
            names = [file.schema_arrow.names[place] for place in places.values()]
            columns = file.read(columns=names)
            return {
                key: columns.column(name).to_pylist()
                for key, name in zip(places, names, strict=True)
            }
    except (pa.ArrowException, OSError, ValueError) as failure:
        line = str(failure).replace("\n", " ")
        raise DataError(f"{path} must be a whole Parquet file: {line}") from None


def _entries(path: Path, rows: list[str]) -> list[tuple[str, int, int]]:
    """Return each file's path, size and time of change; one that is missing has no size."""
    inside, entries = InsideChecker(path.parent), []
    for number, row in enumerate(rows):
        check_relative(row, where=f"{path} row {number}")
        inside.check(row)
        try:
            state = os.stat(path.parent / row)
        except OSError:
            entries.append((row, -1, 0))
            continue
        if not stat.S_ISREG(state.st_mode):
            raise DataError(f"{path} row {number}: images must be plain files, but {row} is none")
        entries.append((row, state.st_size, state.st_mtime_ns))
    most = Counter(rows).most_common(1)[0]
    if most[1] > 1:
        raise DataError(f"{path} must have each image once, but has {most[0]} {most[1]} times")
    return entries


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _answers(path: Path, table: Table) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return labels and the names of classes; or targets, and none."""
    if "target" in table:
        return _numbers(path, table["target"], name="target", most=MAX_TARGET), ()
    words = [_text(value) for value in table["label"]]
    empty = next((row for row, word in enumerate(words) if not word), None)
    if empty is not None:
        raise DataError(f"{path} row {empty}: a label must not be empty")
    for name in dict.fromkeys(words):
        check_name(name, what=f"{path}: a label")
    names = sorted(set(words), key=_in_order)
    if len(names) < 2:
        raise DataError(f"labels must have at least 2 classes, but {path} has only {names[0]!r}")
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[word] for word in words], dtype=np.int64), tuple(names)


def _in_order(name: str) -> tuple[int, float, str]:
    """Numbers stand in their order, before words."""
    return (0, int(name), name) if name.isascii() and name.isdigit() else (1, 0, name)


def _numbers(path: Path, values: list[Any], *, name: str, most: float) -> NDArray[np.float64]:
    found = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        with suppress(TypeError, ValueError):
            found[row] = float(value)
        if not abs(found[row]) < most:
            raise DataError(
                f"{path} row {row}: a {name} must be a number below {most:g}, "
                f"but is {str(value)[:SHOWN]!r}"
            )
    return found


def _groups(values: list[Any] | None) -> NDArray[np.int64] | None:
    """Return a number for each row's group; a row without one is a group of its own."""
    if values is None:
        return None
    words = np.array([_text(value) for value in values])
    groups = np.unique(words, return_inverse=True)[1].astype(np.int64)
    empty = np.flatnonzero(words == "")
    groups[empty] = len(words) + empty
    return groups


def _split(path: Path, values: list[Any]) -> NDArray[np.int8]:
    parts = np.empty(len(values), dtype=np.int8)
    for row, value in enumerate(values):
        part = PART_NAMES.get(_text(value).lower())
        if part is None:
            raise DataError(
                f"{path} row {row}: a split must be train, val or test, "
                f"but is {str(value)[:SHOWN]!r}"
            )
        parts[row] = part
    if TRAIN not in parts:
        raise DataError(f"{path} must have rows whose split is train, but has none")
    return parts


def _times(path: Path, values: list[Any] | None) -> NDArray[np.float64] | None:
    if values is None:
        return None
    return _numbers(path, [_seconds(value) for value in values], name="time", most=np.inf)


def _seconds(value: Any) -> Any:
    """Return a date as seconds, in UTC unless it says otherwise; anything else as it is."""
    with suppress(TypeError, ValueError):
        return float(value)
    try:
        date = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError:
        return value
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _folds(path: Path, values: list[Any] | None) -> NDArray[np.int64] | None:
    if values is None:
        return None
    filled = [-1 if _text(value) == "" else value for value in values]
    numbers = _numbers(path, filled, name="fold", most=1e6)
    if (numbers != np.rint(numbers)).any():
        raise DataError(f"{path}: folds must be whole numbers")
    return numbers.astype(np.int64)
