"""Predict with the model in this folder: PNG or JPEG files in, CSV or JSON out.

    python predict.py INPUT... [--json] [--out FILE] [--model FILE]

Needs numpy, pillow and onnxruntime; with model.pt2 torch instead of that. Nothing else: this file
goes with the model as it is.
"""

import argparse
import ast
import csv
import io
import json
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")
MAX_FILE = 256 * 2**20  # bytes of an image file
MAX_PIXELS = 25_000_000  # of an image; a larger one is not decoded
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPPED = (5, 6, 7, 8)  # orientations that exchange height and width
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
KEPT_DETAIL = 2  # a JPEG is decoded at this many times the size that is wanted, or more
BATCH = 64  # images that are predicted at once
ONNX, PROGRAM, INT8 = "model.onnx", "model.pt2", "model-int8.onnx"
LIBRARIES = {ONNX: "onnxruntime", PROGRAM: "torch", INT8: "onnxruntime"}  # the first one wins
PARTS = (  # of a .pt2 archive: names without a dot here are numbered
    "archive_format",
    "archive_version",
    "byteorder",
    ".data/version",
    ".data/serialization_id",
    "models/model.json",
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
    "data/weights/weight_",
    "data/constants/tensor_",
)
SAFE_CALLS, UNSAFE_CALL = "torch.ops.aten.", "torch.ops.aten.from_file"  # this opens any file

ARITHMETIC = ("Symbol", "Integer", "Mul", "Add", "FloorDiv", "Mod", "Max", "Min")  # of sizes
STRUCTURES = (None, "builtins.tuple", "builtins.list", "builtins.dict")

Predict = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


class Unusable(Exception):
    """Something that was given cannot be used; the message is one line."""


def load(path: Path) -> Predict:
    """Return a function from uint8 images (n, height, width, channels) to (n, classes or 1).

    Raises:
        Unusable: a .pt2 file is broken or holds more than a graph and its weights.
    """
    if path.suffix == ".pt2":
        return _load_program(path)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def predict(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        answer: np.ndarray[Any, Any] = session.run(None, {name: images})[0]
        return answer

    return predict


def _load_program(path: Path) -> Predict:
    check_program(path)
    import torch

    torch.set_num_threads(usable_cores())
    module = torch.export.load(path).module()

    def predict(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            answer: np.ndarray[Any, Any] = module(torch.from_numpy(images)).numpy()
        return answer

    return predict


def check_program(path: Path) -> None:
    """Make sure that a .pt2 archive holds tensors and arithmetic alone.

    torch unpickles whatever else an archive has, and runs the libraries in it.

    Raises:
        Unusable: it holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.partition("/")[2]
                empty = name == "data/sample_inputs/model.pt" and not member.file_size
                if not (name.rstrip("0123456789") in PARTS or empty):
                    raise Unusable(f"{path} must hold tensors and a graph alone, but has {name}")
                if name.endswith("_config.json"):
                    _check_tensors(json.loads(archive.read(member)), path)
                if name == "models/model.json":
                    program = json.loads(archive.read(member))
                    if program["guards_code"]:
                        raise Unusable(f"{path} must hold no code, but has guards")
                    _check_calls(program, path)
    except (LookupError, OSError, TypeError, ValueError, AttributeError) as failure:
        raise Unusable(f"{path} must be a whole .pt2 archive: {failure!r}") from None
    except zipfile.BadZipFile as failure:
        raise Unusable(f"{path} must be a whole .pt2 archive: {failure}") from None


def _check_tensors(config: Any, path: Path) -> None:
    for name, tensor in config["config"].items():
        if tensor["use_pickle"] is not False:
            raise Unusable(f"{path} must hold plain tensors, but {name} is pickled")


def _check_calls(part: Any, path: Path) -> None:
    """Look for a call of anything but a tensor's arithmetic, however deep it lies."""
    if isinstance(part, dict):
        target = part.get("target")
        called = target if isinstance(target, str) and "inputs" in part else SAFE_CALLS
        if not called.startswith(SAFE_CALLS) or called.startswith(UNSAFE_CALL):
            raise Unusable(f"{path} must call torch's own operators alone, but calls {target}")
        _check_expression(part.get("expr_str", "0"), path)
        for name in ("in_spec", "out_spec"):
            _check_structure(json.loads(part.get(name) or "null"), path)
    for inner in part.values() if isinstance(part, dict) else part:
        if isinstance(inner, (dict, list)):
            _check_calls(inner, path)


def _check_expression(text: Any, path: Path) -> None:
    """Look for anything but arithmetic of sizes: torch has sympy evaluate the text as Python."""
    for node in ast.walk(ast.parse(text, mode="eval")):
        harmless = isinstance(node, (ast.Expression, ast.Load, ast.UnaryOp, ast.USub, ast.keyword))
        if isinstance(node, ast.Name):
            harmless = node.id in ARITHMETIC
        elif isinstance(node, ast.Call):
            harmless = isinstance(node.func, ast.Name)
        elif isinstance(node, ast.Constant):
            value = node.value
            harmless = isinstance(value, int) or re.fullmatch(r"[su]\d+", str(value)) is not None
        if not harmless:
            raise Unusable(f"{path} must state sizes by numbers and symbols, but has {text!r}")


def _check_structure(spec: Any, path: Path) -> None:
    """Look for arguments of other kinds than tuples, lists and dictionaries: these name modules."""
    if isinstance(spec, dict):
        context = json.loads(spec.get("context") or "null")
        plain = context is None or all(isinstance(key, (str, int)) for key in context)
        if spec.get("type") not in STRUCTURES or not plain or isinstance(context, dict):
            raise Unusable(f"{path} must have arguments of plain kinds, but has {spec.get('type')}")
        spec = spec["children_spec"]
    for inner in spec if isinstance(spec, list) else ():
        _check_structure(inner, path)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def model_file(folder: Path, name: str | None) -> Path:
    """Return the folder's model of this name, or the first one that has its library here."""
    names = list(LIBRARIES) if name is None else [name]
    there = [each for each in names if (folder / each).is_file()]
    if not there or there[0] not in LIBRARIES:
        raise Unusable(
            f"{folder} must hold {' or '.join(LIBRARIES)}, but has no {', '.join(names)}"
        )
    for each in there:
        if find_spec(LIBRARIES[each]) is not None:
            return folder / each
    wanted = ", ".join(f"{each} needs {LIBRARIES[each]}" for each in there)
    raise Unusable(f"a library is missing: {wanted}")


def read_image(path: Path, *, image_shape: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Read one PNG or JPEG file as uint8 (height, width, channels), as the training images were.

    It is turned as its EXIF says, scaled until it covers the wanted size, and its middle is cut
    out. Transparent parts are white; grey values of 16 bits are divided by the largest that as
    many bits as the file uses can hold.

    Raises:
        Unusable: the file is missing, of another format, too large or broken.
    """
    height, width, _ = image_shape
    try:
        if path.stat().st_size > MAX_FILE:
            raise Unusable(f"an image file must have at most {MAX_FILE:,} bytes: {path}")
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as image:
            warnings.simplefilter("ignore")  # of odd metadata: they do not matter
            if image.width * image.height > MAX_PIXELS:
                raise Unusable(
                    f"an image must have at most {MAX_PIXELS:,} pixels, "
                    f"but {path} has {image.width * image.height:,}"
                )
            if image.format == "JPEG":  # decoded smaller, where that leaves twice what is wanted
                side = KEPT_DETAIL * max(height, width)
                image.draft(None, (side, side))
            image.load()
            return fitted(image, image_shape)
    except FileNotFoundError:
        raise Unusable(f"{path} must be an image file, but there is none") from None
    except Unusable:
        raise
    except Exception as failure:  # decoders raise whatever they like of a broken file
        reason = str(failure).replace("\n", " ") or type(failure).__name__
        raise Unusable(f"{path} must be a whole PNG or JPEG image: {reason}") from None


def fitted(image: Image.Image, image_shape: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Return an image that is open as uint8 of a shape; `Unusable` if its pixels are strange."""
    height, width, channels = image_shape
    orientation = image.getexif().get(ORIENTATION, 1)
    if orientation in SWAPPED:
        height, width = width, height
    if image.mode in WIDE_MODES:
        image = _narrowed(image, height, width)
    plain = _opaque(_cut(_plain(image), height, width)).convert("L" if channels == 1 else "RGB")
    if orientation in TURNS:
        plain = plain.transpose(TURNS[orientation])
    return np.asarray(plain, dtype=np.uint8).reshape(image_shape)


def _plain(image: Image.Image) -> Image.Image:
    """Return an image in one of the modes L, LA, RGB, RGBA, which can be scaled."""
    if image.mode in ("1", "L", "RGB") and "transparency" in image.info:  # a transparent colour
        return image.convert("RGBA")
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "PA") and (image.mode == "PA" or "transparency" in image.info):
        return image.convert("RGBA")
    if image.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        return image.convert("RGB")
    raise Unusable(f"pixels must be grey or coloured bytes, but are {image.mode}")


def _cut(image: Image.Image, height: int, width: int) -> Image.Image:
    """Scale an image until it covers the size, and cut out its middle."""
    if image.size == (width, height):
        return image
    scale = max(width / image.width, height / image.height)
    part = (min(width / scale, image.width), min(height / scale, image.height))
    left, top = (image.width - part[0]) / 2, (image.height - part[1]) / 2
    box = (left, top, min(left + part[0], image.width), min(top + part[1], image.height))
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)


def _opaque(image: Image.Image) -> Image.Image:
    """Put an image with an alpha channel onto white."""
    if image.mode not in ("LA", "RGBA"):
        return image
    white = Image.new("RGBA", image.size, "white")
    flat = Image.alpha_composite(white, image.convert("RGBA"))
    return flat.convert("L" if image.mode == "LA" else "RGB")


def _narrowed(image: Image.Image, height: int, width: int) -> Image.Image:
    """Return 16-bit grey values as bytes; large images are averaged down on the way."""
    values = np.asarray(image)
    if values.dtype.kind not in "iu" or int(values.min()) < 0 or int(values.max()) >= 2**16:
        raise Unusable("grey values must be whole numbers from 0 to 65535")
    largest = (1 << max(8, int(values.max()).bit_length())) - 1
    wanted = (KEPT_DETAIL * height, KEPT_DETAIL * width)
    by = max(1, min(values.shape[0] // wanted[0], values.shape[1] // wanted[1]))
    rows, columns = (values.shape[0] // by) * by, (values.shape[1] // by) * by
    strips = values[:rows, :columns].reshape(rows // by, by, columns // by, by)
    means = strips.mean(axis=(1, 3), dtype=np.float32)
    return Image.fromarray(np.rint(means * (255.0 / largest)).astype(np.uint8))


def image_files(inputs: Iterable[str]) -> Iterator[Path]:
    """Yield the files that were named, and the PNG and JPEG files below folders, in order."""
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            yield from sorted(file for file in found if file.is_file() and not file.is_symlink())
        else:
            yield path


def predictions(
    predict: Predict, files: Iterable[Path], *, image_shape: tuple[int, int, int]
) -> Iterator[tuple[Path, np.ndarray[Any, Any]]]:
    """Yield each file and its row (classes or 1); one that cannot be read is told and skipped."""
    names: list[Path] = []
    images: list[np.ndarray[Any, Any]] = []
    for path in files:
        try:
            images.append(read_image(path, image_shape=image_shape))
        except Unusable as reason:
            print(f"skipped: {reason}", file=sys.stderr)
            continue
        names.append(path)
        if len(images) == BATCH:
            yield from zip(names, predict(np.stack(images)), strict=True)
            names, images = [], []
    if images:
        yield from zip(names, predict(np.stack(images)), strict=True)


def as_csv(rows: Iterable[tuple[Path, np.ndarray[Any, Any]]], classes: list[str]) -> Iterator[str]:
    """Yield lines: an image, its class, that class's probability, then all; or its number."""
    header = ["image", "class", "probability", *classes] if classes else ["image", "value"]
    yield _csv_line(header)
    for path, row in rows:
        if not classes:
            yield _csv_line([str(path), f"{row[0]:.10g}"])
            continue
        values = [f"{value:.6f}" for value in row]
        best = int(row.argmax())
        yield _csv_line([str(path), classes[best], values[best], *values])


def _csv_line(cells: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def as_json(rows: Iterable[tuple[Path, np.ndarray[Any, Any]]], classes: list[str]) -> Iterator[str]:
    """Yield a list of the same, an image a line."""
    between = "["
    for path, row in rows:
        told: dict[str, Any] = {"image": str(path)}
        if classes:
            values = [round(float(value), 6) for value in row]
            best = int(row.argmax())
            told |= {"class": classes[best], "probability": values[best]}
            told["probabilities"] = dict(zip(classes, values, strict=True))
        else:
            told["value"] = float(row[0])
        yield f"{between}\n{json.dumps(told)}"
        between = ","
    yield "\n]\n" if between == "," else "[]\n"


def write(lines: Iterable[str], out: Path | None) -> int:
    """Write lines to a file, whole or not at all, or print them; return how many there are."""
    count = 0
    if out is None:
        for line in lines:
            sys.stdout.write(line)
            count += 1
        return count
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(line)
                count += 1
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return count


def run(arguments: list[str], folder: Path) -> int:
    """Predict as a command line asks; return the exit status: 1 if no image could be read."""
    parser = argparse.ArgumentParser(description="Predict with the model in this folder.")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image files or folders of them")
    parser.add_argument("--json", action="store_true", help="JSON in place of CSV")
    parser.add_argument("--out", type=Path, help="file to write to")
    parser.add_argument("--model", choices=list(LIBRARIES), help="[the first one that can be used]")
    options = parser.parse_args(arguments)
    manifest = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    classes: list[str] = manifest["class_names"]
    height, width, channels = manifest["image_shape"]
    predict = load(model_file(folder, options.model))
    shape = (height, width, channels)
    rows = predictions(predict, image_files(options.inputs), image_shape=shape)
    count = write((as_json if options.json else as_csv)(rows, classes), options.out) - 1
    if not count:
        print("no image could be read", file=sys.stderr)
    return 0 if count else 1


def main() -> int:
    """Run the script; return the exit status."""
    try:
        return run(sys.argv[1:], Path(__file__).resolve().parent)
    except BrokenPipeError:  # whoever read what was printed has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Unusable, OSError, ValueError, KeyError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
