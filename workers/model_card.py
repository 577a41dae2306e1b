"""The model card of an exported folder: what it is, how good, how measured, how it is used."""

import json
from collections.abc import Sequence
from typing import Any

from search.folds import times
from search.metrics import METRICS, MetricName, score_text
from spaces.limits import Complexity
from workers.model_folder import Manifest
from workers.standalone import INT8, ONNX, PROGRAM

NOT_STATED = "not stated"
KINDS = {ONNX: "ONNX, float32", INT8: "ONNX, 8 bits", PROGRAM: "torch.export, float32"}
LIMITS = (
    "It knows images like those that it was trained on and no others: of any image it says one of "
    "its classes, however little it has to do with them.",
    "Images of another size are scaled until they cover it, and their middle is cut out.",
    "Its scores hold for rows parted as the training data were; how it does on images from other "
    "sources, times or devices nobody has measured.",
    "Nobody has looked for groups of people or things that it serves worse than others.",
)


def model_card(
    manifest: Manifest,
    verification: dict[str, Any],
    *,
    licence: str | None,
    complexity: Complexity,
) -> str:
    """Return the text of `README.md`.

    Args:
        verification: what `verification.json` holds.
        complexity: of all networks together, for an image.
    """
    height, width, channels = manifest.image_shape
    parts = [
        "---",
        f"license: {json.dumps(licence or NOT_STATED)}",
        "library_name: athanor",
        f"tags: [image-{'classification' if manifest.class_names else 'regression'}]",
        "---",
        "",
        f"# {manifest.job}",
        "",
        _what(manifest),
        f"Input: uint8 images of {height} x {width} pixels and "
        f"{channels} channel{'' if channels == 1 else 's'}; normalisation is part of the model.",
        f"Together the networks have {complexity.parameters:,} parameters and take "
        f"{complexity.macs:,} multiply-accumulates for an image.",
        "",
        "## Use",
        "",
        *_usage(verification["files"]),
        "",
        "## Data and protocol",
        "",
        *_protocol(manifest),
        "",
        "## Scores",
        "",
        *_scores(manifest),
        "",
        "## Calibration",
        "",
        _calibration(manifest),
        "",
        "## Files",
        "",
        *_files(verification),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in LIMITS),
        f"- Licence: {licence or NOT_STATED + '; that of the training data may bind it, too'}.",
    ]
    return "\n".join(parts) + "\n"


def _what(manifest: Manifest) -> str:
    count, trials = len(manifest.networks), len({each.trial for each in manifest.networks})
    task = "predicts a number for an image."
    if manifest.class_names:
        names = ", ".join(manifest.class_names[:20])
        more = ", …" if len(manifest.class_names) > 20 else ""
        task = f"tells {len(manifest.class_names)} classes apart: {names}{more}."
    plural = "" if trials == 1 else "s"
    if count == 1:
        return f"A network that Athanor has found. It {task}"
    how = "" if manifest.stack is None else ", combined by a linear model of what they say"
    return f"An ensemble of {count} networks of {trials} architecture{plural}{how}. It {task}"


def _usage(files: Sequence[str]) -> list[str]:
    lines = ["```sh"]
    if ONNX in files or INT8 in files:
        lines.append("pip install numpy pillow onnxruntime")
    elif PROGRAM in files:
        lines.append("pip install numpy pillow torch")
    if {ONNX, INT8, PROGRAM} & set(files):
        lines.append("python predict.py image.png folder/ > predictions.csv    # or --json")
    lines += [
        "athanor predict . image.png    # with Athanor",
        "```",
        "",
    ]
    lines += ["```python", "from athanor import load", ""]
    lines += ['model = load(".")', "model.predict_proba(images)  # uint8 (rows, height, width)"]
    return [*lines, "```"]


def _protocol(manifest: Manifest) -> list[str]:
    protocol = manifest.protocol
    lines = [
        f"- Data: {manifest.data}, {protocol['train_rows']:,} training rows "
        f"(fingerprint {protocol['train_fingerprint'][:16]}…); "
        f"test rows: {protocol['test_split']}.",
        f"- The rows were parted into {protocol['splits']} parts{times(protocol['repeats'])} (hash "
        f"{protocol['folds_hash'][:16]}…). Chosen by {METRICS[protocol['metric']].label} on "
        f"{protocol['selected_on']}.",
        f"- Seed {protocol['seed']}; "
        + ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
        + ".",
    ]
    return [*lines, *(f"- Note: {note}." for note in protocol["notes"])]


def _scores(manifest: Manifest) -> list[str]:
    scores = manifest.scores
    name: MetricName = scores["metric"]
    label = METRICS[name].label
    lines = ["| measured on | score | 95 % interval | images |", "| --- | --- | --- | --- |"]
    rows = [
        ("validation rows of the search", label, "validation_score", "", "validation_rows"),
        (
            "rows that each network has left out",
            label,
            "out_of_fold_score",
            "out_of_fold_interval",
            "out_of_fold_rows",
        ),
        ("test set", label, "test_score", "test_score_interval", "test_rows"),
        ("test set", "accuracy", "test_accuracy", "test_interval", "test_rows"),
    ]
    for where, what, score, interval, count in rows:
        if scores.get(score) is None:
            continue
        low, high = scores.get(interval) or (None, None)
        span = "" if low is None or high is None else f"{score_text(low)} to {score_text(high)}"
        value = f"{what} {score_text(scores[score])}"
        lines.append(f"| {where} | {value} | {span} | {scores[count]:,} |")
    if "expected" in scores:
        expected = scores["expected"]
        low, high = expected["interval"]
        lines += [
            "",
            f"Before the test set was opened, {label} {score_text(expected['score'])} was expected "
            f"there ({score_text(low)} to {score_text(high)}).",
        ]
    if not scores.get("test_opened"):
        lines += ["", "These networks were not scored on the test set."]
    if scores.get("final") == "best":
        lines += ["", "It is the best of several by these very rows, so the score flatters it."]
    return lines


def _calibration(manifest: Manifest) -> str:
    if not manifest.class_names:
        return "Numbers have no probabilities to be calibrated."
    if "out_of_fold_log_loss_at_temperature" not in manifest.scores:
        return "The probabilities are the networks' own: no temperature was fitted."
    if manifest.temperature == 1.0:
        return "The probabilities are the networks' own: no temperature made them clearly better."
    before, after = (
        manifest.scores[f"out_of_fold_log_loss{part}"] for part in ("", "_at_temperature")
    )
    return (
        f"The probabilities are taken at temperature {manifest.temperature:.2f}, fitted on rows "
        f"that the networks have left out: log-loss {before:.4f} → {after:.4f} there."
    )


def _files(verification: dict[str, Any]) -> list[str]:
    machine = verification["machine"]
    lines = [
        f"Compared with the float32 networks on {verification['rows']:,} "
        f"{verification['rows_from']}, each in a process of its own, the graphs where Athanor "
        f"cannot be imported. Measured on {machine['processor']}, {machine['cores']} cores; other "
        "programs may have run beside. Memory is that of the whole process at batches of 64.",
        "",
        "| file | size | largest difference | same class | 1 image | 64 images | memory |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, told in verification["files"].items():
        same = f"{told['same_class']:.2%}" if "same_class" in told else ""
        difference = f"{told['max_difference']:.1e}" if "max_difference" in told else ""
        kind = f" ({KINDS[name]})" if name in KINDS else ""
        lines.append(
            f"| {name}{kind} | {told['bytes'] / 1e6:.2f} MB | {difference} | {same} "
            f"| {1e3 * told['latency_1']:.2f} ms | {1e3 * told['latency_64']:.1f} ms "
            f"| {told['peak_memory'] / 2**20:.0f} MiB |"
        )
    return lines
