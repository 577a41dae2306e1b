"""The final statement of a job: its model, what it scored, and what each phase took."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from athanor.progress import Progress, clock_text, phase_spans
from athanor.report.values import Opening
from search.estimate import THOROUGH
from search.finalists import CHALLENGERS
from search.folds import ALL_ROWS
from search.job import Job
from search.joint_costs import exceed
from search.metrics import METRICS, score_text
from search.overfitting import gaps
from search.store.results import LOOK

EARLY_SECONDS = 5.0  # of the search's time that were left when it ended
TELLING = 1.2  # design effect of groups from which it is worth a word


def print_statement(console: Console, progress: Progress) -> None:
    """Print the final statement: what each phase took, members, test accuracy with interval."""
    job, result = progress.job, progress.job.result or {}
    console.print(f"\n{progress.states()}")
    console.print(f"time: {phases_line(job)}")
    console.print(f"processors: {processor_line(job)}")
    early = early_line(progress)
    if early is not None:
        console.print(early)
    for note in job.plan.notes if job.plan is not None else ():
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    members = ", ".join(f"trial {m['trial']} x {m['weight']:.2f}" for m in result["members"])
    counts = {m["networks"] for m in result["members"]}
    each = (
        f"{min(counts)} networks of each" if len(counts) == 1 else f"{result['networks']} networks"
    )
    kept = {
        "bag": f"ensemble: {members}; {each}",
        "best": f"{_best_text(result)}: {members}",
        "refit": f"trained again on all rows: {members}",
    }
    label = METRICS[result["metric"]].label
    score, images = result["out_of_fold_score"], result["out_of_fold_rows"]
    console.print(
        f"{kept[result['final']]}; out-of-fold {label} {score_text(score)} ({images:,} images)"
    )
    if result["final"] == "refit" and result.get("refit_share", 1.0) < THOROUGH:
        console.print(f"{_refit_line(result['refit_share'])}: its score may be lower than theirs")
    if "unverified" in result:
        console.print(_unverified_line(result["unverified"]), highlight=False)
    if "incomparable" in result:
        console.print(_incomparable_line(result["incomparable"]), highlight=False)
    if result.get("stacking") is not None:
        console.print(_stacking_line(result["stacking"], label), highlight=False)
    if "limits" in result:
        console.print(_limits_line(result), highlight=False)
    if "teacher" in result:
        console.print(_teacher_line(result, label), highlight=False)
    for gap in gaps(progress.folds):
        console.print(
            f"trial {gap.trial}: accuracy {gap.training:.4f} on what it learnt, "
            f"{gap.left_out:.4f} on what it left out ({gap.points:+.1f} points)"
            f"{_tested(result, gap.trial)}: {gap.word}",
            highlight=False,
        )
    low, high = result["expected"]["interval"]
    console.print(
        f"expected before the test was opened: {label} {score_text(result['expected']['score'])}"
        f"{' or more' if result['expected']['lower'] else ''} "
        f"(95 % interval {score_text(low)} to {score_text(high)})"
    )
    if "chosen_among" in result:
        console.print(
            f"the same rows chose these trials among {result['chosen_among']} before, "
            "hence this is flattered a little"
        )
    if result.get("design_effect", 1.0) > TELLING:
        console.print(
            f"rows of a group are alike: {images:,} that judged tell as much as "
            f"{images / result['design_effect']:,.0f} of groups of their own, "
            "and the intervals are as wide"
        )
    if result.get("temperature", 1.0) != 1.0:
        before, after = (result[f"out_of_fold_log_loss{part}"] for part in ("", "_at_temperature"))
        console.print(
            f"probabilities at temperature {result['temperature']:.2f}: "
            f"out-of-fold log-loss {before:.4f} → {after:.4f}"
        )
    if job.plan is not None and result["final"] != job.plan.final:
        chosen = {member["trial"] for member in result["members"]}
        refits = [task for task in progress.folds if task.fold == ALL_ROWS and not task.done]
        why = {task.report["reason"] for task in refits if task.report and task.trial in chosen}
        if not why:
            why = {_refit_line(result.get("refit_share", 1.0))}
        console.print(
            f"no '{job.plan.final}' ({', '.join(sorted(why))}): the folds' networks are kept",
            highlight=False,
            markup=False,
        )
    for line in _test_lines(result, label, keep_closed=job.spec.keep_test_closed):
        console.print(line)


def _tested(result: dict[str, Any], trial: int) -> str:
    """Say what a finalist's networks together had right in the test, if that was opened."""
    share = result.get("test_accuracy_of_members", {}).get(f"trial-{trial}")
    return "" if share is None else f", {share:.4f} in the test"


def _best_text(result: dict[str, Any]) -> str:
    count = result.get("best_of", 1)
    return f"best of {count} networks of the folds" if count > 1 else "best network of the folds"


def _refit_line(share: float) -> str:
    """Say how much less a refit has been trained than the networks that speak for it."""
    return f"the refit saw {share:.0%} of the images that a network of the folds saw"


def _teacher_line(result: dict[str, Any], label: str) -> str:
    """Say by whom the network was taught, and what it costs to have but one."""
    teacher = result["teacher"]
    line = f"taught by {teacher['networks']} networks of {teacher['job']}"
    if teacher["score"] is None:
        return line
    return (
        f"{line}: {label} {result['out_of_fold_score']:.4f}, theirs {teacher['score']:.4f} "
        f"(out of fold, {teacher['rows']:,} images)"
    )


def print_openings_since(console: Console, openings: Sequence[Opening], *, job: Job) -> None:
    """Say who has looked at a job's test set after the job had ended, opened or left closed."""
    result = job.result or {}
    known = {(each["job"], each["at"]) for each in result.get("test_opened_before", [])}
    since = [
        _opening_text({"job": each.job, "at": each.at, "score": each.score})
        for each in openings
        if (each.job, each.at) not in known and (each.job != job.id or each.reason == LOOK)
    ]
    if since:
        again = "again " if result.get("test_opened") else ""
        told = f"test set opened {again}since, by {'; '.join(since)}"
        console.print(told, highlight=False, markup=False, soft_wrap=True)


def _unverified_line(count: int) -> str:
    return f"{count} more networks are left out: the budget leaves no time to verify them"


def _incomparable_line(count: int) -> str:
    return (
        f"{count} networks of finalists that lack half of the folds are not used: "
        "too few rows would compare them with the others"
    )


def _stacking_line(stacking: dict[str, Any], label: str) -> str:
    """Say whether a linear model of the members is better than their mean."""
    scores = f"{score_text(stacking['score'])}, the mean {score_text(stacking['mean_score'])}"
    verdict = "used" if stacking["used"] else "not clearly better, hence not used"
    return f"stacking: {label} {scores} on rows that neither was fitted to: {verdict}"


def _limits_line(result: dict[str, Any]) -> str:
    """Say what the networks cost together, of what they may."""
    costs = []
    for name, limit in result["limits"].items():
        cost = result["costs"][name]
        pair = (f"{1e3 * cost:.3g}", f"{1e3 * limit:.3g} ms")
        if name == "parameters":
            pair = (f"{cost:,.0f}", f"{limit:,.0f}")
        costs.append(f"{name} {' of '.join(pair)}")
    line = f"{result['networks']} networks together: {', '.join(costs)}"
    over = exceed(result["costs"], result["limits"])
    return f"{line}; no network that was trained is within the limits" if over else line


def early_line(progress: Progress) -> str | None:
    """Say why the landing began although there was time for more trials; None if it did not.

    Nor where a number of trials was to be made, or an earlier job's are landed.
    """
    job, plan = progress.job, progress.job.plan
    end = None if plan is None else plan.search_seconds
    counted = job.spec.counts_trials or plan is None or plan.most_trials is not None
    if end is None or counted or "landing" not in job.phases:
        return None
    if end - job.phases["landing"] <= EARLY_SECONDS:
        return None
    stood = sum(not record.open for record in progress.trials) >= CHALLENGERS
    why = (
        "no trial clearly beat the default network, whose training has the time that was left"
        if stood
        else "networks are slower than was foreseen, and the best would hardly be trained"
    )
    return f"the search ended before its time: {why}"


def _test_lines(result: dict[str, Any], label: str, *, keep_closed: bool) -> list[str]:
    """Say what the test set showed, and who has opened it before."""
    earlier = [_opening_text(opening) for opening in result["test_opened_before"]]
    times = f"opened {len(earlier) + 1} times" if earlier else "opened once"
    shown = []
    if "test_score" in result:
        shown.append((label, result["test_score"], result["test_score_interval"]))
    if "test_accuracy" in result:
        shown.append(("accuracy", result["test_accuracy"], result["test_interval"]))
    lines = [
        f"[bold]test {name} {score_text(score)}[/bold] (95 % interval "
        f"{' to '.join(map(score_text, interval))}, {result['test_rows']:,} images, {times})"
        for name, score, interval in shown
    ]
    if not shown and result.get("test_opened"):
        lines.append(
            f"[bold]test {label} is no number[/bold] on these {result['test_rows']:,} images"
        )
    elif not shown and keep_closed:
        lines.append("[bold]test set kept closed[/bold], as was asked for")
    elif not shown:
        lines.append("[bold]test set not opened[/bold]: that is done once, unless --reopen-test")
    if earlier:
        lines.append(f"opened before by {'; '.join(earlier)}")
    return lines


def _opening_text(opening: dict[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d", time.localtime(opening["at"]))
    score = "" if opening["score"] is None else f", score {score_text(opening['score'])}"
    return f"{opening['job']} ({when}{score})"


def phases_line(job: Job) -> str:
    """Say what each phase took of what it had: the search of its share, the others of the rest."""
    end = None if job.plan is None else job.plan.search_seconds
    ends = {name: job.spec.budget for name in ("landing", "assembling")}
    if job.spec.lands is None:  # else another job has searched
        ends["searching"] = end
    had = {
        name: max(0.0, second - job.phases[name])
        for name, second in ends.items()
        if second is not None and name in job.phases
    }
    budget = "" if job.spec.budget is None else f" of {clock_text(job.spec.budget)} promised"
    return f"{_spans_text(job.phases, had)}; {clock_text(job.seconds_used)}{budget}"


def processor_line(job: Job) -> str:
    """Say what each phase took of all processors together."""
    promised, on_gpu = job.spec.device_budget, job.plan is not None and job.plan.on_gpu
    budget = "" if promised is None or on_gpu else f" of {clock_text(promised)} promised"
    return f"{_spans_text(job.processor_phases, {})}; {clock_text(job.processor_seconds)}{budget}"


def _spans_text(begun: dict[str, float], promised: dict[str, float]) -> str:
    texts = []
    for name, span in phase_spans(begun).items():
        if span >= 1:
            of = f" of {clock_text(promised[name])}" if name in promised else ""
            # before a job is created its command has begun, and read the data
            told = "starting" if name == "queued" else name
            texts.append(f"{told} {clock_text(span)}{of}")
    return ", ".join(texts)
