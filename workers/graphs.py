"""Write an ensemble as a graph that runs without Athanor: ONNX, ONNX of 8 bits, torch.export."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from spaces.errors import JobFailed
from workers.deployment import Deployed, example_images
from workers.model_folder import Model
from workers.standalone import INT8, ONNX, PROGRAM, check_program

if TYPE_CHECKING:
    import onnx

INPUT = "images"
TRACED_ROWS = 2  # of one row torch would take a graph's batch for fixed
CALIBRATION_BATCH = 32  # images; the ranges of all activations of a batch are kept at once
TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
QUANTIZED = ["Conv", "Gemm", "MatMul"]  # the rest is a small part of the work and loses accuracy


def write_onnx(model: Model, folder: Path) -> None:
    """Write `model.onnx`: uint8 (batch, height, width, channels) to probabilities, or numbers."""
    name = "probabilities" if model.manifest.class_names else "numbers"
    with _quiet(ONNX):
        program = torch.onnx.export(
            Deployed(model),
            (example_images(model, TRACED_ROWS),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=[name],
            verbose=False,
        )
    assert program is not None
    _save_bare(program.model_proto, folder / ONNX)


def write_program(model: Model, folder: Path) -> None:
    """Write `model.pt2`, the same by torch.export."""
    with _quiet(PROGRAM):
        program = torch.export.export(
            Deployed(model),
            (example_images(model, TRACED_ROWS),),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
        program.example_inputs = None  # they would be pickled
        for node in program.graph.nodes:
            for key in TRACES:
                node.meta.pop(key, None)
        torch.export.save(program, folder / PROGRAM)
    check_program(folder / PROGRAM)


def write_int8(folder: Path, images: NDArray[np.uint8]) -> None:
    """Write `model-int8.onnx` from `model.onnx`: weights by channel and activations in 8 bits.

    Args:
        images: of which the ranges of activations are taken, uint8 (rows, height, width, channels).
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / f".{INT8}.prepared"
    try:
        with _quiet(INT8):
            quant_pre_process(folder / ONNX, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                folder / INT8,
                _Batches(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=QUANTIZED,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
            )
        _save_bare(onnx.load(folder / INT8), folder / INT8)
    finally:
        prepared.unlink(missing_ok=True)


def _save_bare(graph: "onnx.ModelProto", path: Path) -> None:
    """Write a graph without exporters' notes: they are much of a small file, and name our paths."""
    import onnx

    parts = [graph, graph.graph, *graph.graph.node, *graph.graph.value_info]
    for part in [*parts, *graph.graph.input, *graph.graph.output, *graph.graph.initializer]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(graph, path)


class _Batches:
    """Hands images to onnxruntime's calibration, a batch a call, then None."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        starts = range(0, len(images), CALIBRATION_BATCH)
        self._batches = iter([images[start : start + CALIBRATION_BATCH] for start in starts])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next batch."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep what exporters say of their own affairs from the user, but for why they fail.

    Raises:
        JobFailed: the file of this name cannot be written.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError:
        raise
    except Exception as failure:  # exporters raise whatever they like
        reason = failure.__cause__ or failure
        line = (str(reason).strip().splitlines() or ["no message"])[0]
        raise JobFailed(f"{name} cannot be written: {type(reason).__name__}: {line}") from failure
    finally:
        logging.disable(before)
