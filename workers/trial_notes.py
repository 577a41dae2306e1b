"""A note on a trial, for the Optuna dashboard: how it ended, its network drawn, its curves."""

from collections.abc import Sequence

from optuna.trial import Trial

from search.metrics import METRICS, score_text
from search.plan import Plan
from search.store import Lease, TrialRecord
from search.store.annotations import MOST_NOTED
from spaces.drawing import parts_of
from workers.epoch_report import EpochReport
from workers.workbench import Workbench

WORDS = {
    "complete": "trained to its end",
    "copied": "the same as an earlier trial, whose result it has",
    "pruned": "stopped early, as others were clearly better",
    "infeasible": "beyond a limit, so it was not trained",
    "diverged": "its loss was no longer a finite number",
    "out of memory": "a step of it took more memory than there is",
    "out of time": "stopped when the search's time was over",
    "failed": "given up after attempts that all ended badly",
}
LEVELS = "▁▂▃▄▅▆▇█"
BAR = 10  # characters of the widest part


def note_trial(
    bench: Workbench, trial: Trial, lease: Lease, curve: Sequence[EpochReport] = ()
) -> None:
    """Write a note on a trial that has ended, if it is one of the first.

    Args:
        curve: of its training under this lease and before.
    """
    if trial.number >= MOST_NOTED:
        return
    record = bench.trials.records()[trial.number]
    taken = "" if lease.fence <= 1 else _taken_over(lease)
    text = trial_note(record, bench.plan, curve=curve, taken_over=taken)
    bench.trials.annotations.note_trial(trial, text)


def trial_note(
    record: TrialRecord, plan: Plan, *, curve: Sequence[EpochReport] = (), taken_over: str = ""
) -> str:
    """Return what there is to say of a trial, in Markdown.

    Args:
        taken_over: said of who worked on it.
    """
    words = WORDS.get(record.state, record.state)
    lines = [f"**{record.state}**: {words}."]
    lines += [f"{part[:1].upper()}{part[1:]}." for part in (record.note, taken_over) if part]
    figures = _figures(record, METRICS[plan.metric].label)
    blocks = [" ".join(lines), figures, _network(record, plan), _curves(record, curve)]
    return "\n\n".join(block for block in blocks if block)


def _taken_over(lease: Lease) -> str:
    times = "once" if lease.fence == 2 else f"{lease.fence - 1} times"
    return f"taken over {times} from a worker that had stopped or died"


def _figures(record: TrialRecord, label: str) -> str:
    parts = []
    if record.score is not None:
        error = "" if record.error is None else f" ± {record.error:.4f}"
        parts.append(f"{label} {score_text(record.score)}{error}")
    if record.parameters is not None and record.macs is not None:
        parts += [f"{record.parameters:,} parameters", f"{record.macs:,} MACs"]
    if record.latency is not None:
        parts.append(f"{1e3 * record.latency:.3g} ms")
    if record.seconds:
        parts.append(f"{record.seconds:.1f} s")
    return " · ".join(parts)


def _network(record: TrialRecord, plan: Plan) -> str:
    """Draw the network: a line for each part, with what it gives and a bar as long as its cost."""
    if record.candidate is None:
        return ""
    architecture = record.candidate.architecture
    parts = parts_of(architecture, image_shape=plan.image_shape, classes=plan.classes)
    most = max(part.macs for part in parts) or 1
    lines = [
        f"{part.name:<11}{'x'.join(map(str, part.shape)):>10} "
        f"{'█' * round(BAR * part.macs / most):<{BAR}} {part.what}"
        for part in parts
    ]
    return f"`{architecture}` (bars: MACs)\n\n```\n" + "\n".join(lines) + "\n```"


def _curves(record: TrialRecord, curve: Sequence[EpochReport]) -> str:
    lines = []
    if record.curve:
        epochs = list(record.curve)
        lines.append(_line("validation", list(record.curve.values()), f"epochs {epochs}"))
    if curve:
        losses = [report.train_loss for report in curve]
        lines.append(_line("training loss", losses, f"{len(losses)} epochs"))
    return "\n\n".join(lines)


def _line(name: str, values: Sequence[float], told: str) -> str:
    low, high = min(values), max(values)
    places = (round((value - low) / ((high - low) or 1.0) * (len(LEVELS) - 1)) for value in values)
    drawn = "".join(LEVELS[place] for place in places)
    return f"{name} `{drawn}` {score_text(values[0])} → {score_text(values[-1])} ({told})"
