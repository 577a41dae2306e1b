"""A report as Markdown: all its figures and words, without pictures."""

from collections.abc import Iterable, Sequence

from athanor.energy import WATT_HOUR
from athanor.progress import clock_text
from athanor.report.html import count_text, date_text, scored, value_text
from athanor.report.values import Report
from search.metrics import score_text

MOST_CLASSES = 20  # whose confusion is written as a table


def render_markdown(report: Report) -> str:
    """Return the text."""
    parts = [f"# {report.job}", *report.headline]
    parts += [f"> Not shown: {line}" for line in report.missing]
    for section in (
        _advice,
        _asked,
        _leaderboard,
        _winner,
        _gaps,
        _front,
        _influence,
        _ensemble,
        _mistakes,
        _calibration,
        _costs,
        _openings,
    ):
        parts += section(report)
    return "\n\n".join(parts) + "\n"


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; what would end a cell is escaped."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _advice(report: Report) -> list[str]:
    if not report.advice:
        return []
    lines = [f"- **{each.what}**: {each.evidence}" for each in report.advice]
    return ["## What to try next", "\n".join(lines)]


def _asked(report: Report) -> list[str]:
    settings = table(("key", "value"), [(each.name, each.value) for each in report.asked])
    protocol = "\n".join(f"- {sentence}" for sentence in report.protocol.sentences)
    return ["## What was asked", settings, "## Data and protocol", protocol]


def _leaderboard(report: Report) -> list[str]:
    rows = [
        (
            row.trial,
            row.state,
            scored(row.score),
            row.behind_text and f"{row.behind_text}{' (tied)' if row.tied else ''}",
            "" if row.folds is None else f"{score_text(row.folds[0])} x {row.folds[1]}",
            count_text(row.parameters),
            count_text(row.macs),
            f"`{row.network}`",
        )
        for row in report.board.rows
    ]
    names = ("trial", "state", report.protocol.label, "behind", "folds", "parameters", "MACs", "")
    baselines = [
        f"- {each.name}: {score_text(each.score) if each.score is not None else each.note}"
        for each in report.board.baselines
    ]
    words = [" ".join(report.board.words)] if report.board.words else []
    simple = ["Simple models on the same rows:\n\n" + "\n".join(baselines)] if baselines else []
    return ["## Leaderboard", *words, table(names, rows), *simple]


def _winner(report: Report) -> list[str]:
    winner = report.winner
    if winner is None:
        return []
    rows = [
        (p.name, p.what, "x".join(map(str, p.shape)), f"{p.parameters:,}", f"{p.macs:,}")
        for p in winner.parts
    ]
    recipe = ", ".join(f"{each.name} {each.value}" for each in winner.recipe)
    return [
        "## The network, layer by layer",
        f"Trial {winner.trial}, `{winner.network}`: {winner.parameters:,} parameters, "
        f"{winner.macs:,} MACs.",
        table(("part", "what it does", "gives", "parameters", "MACs"), rows),
        f"Recipe: {recipe}.",
    ]


def _gaps(report: Report) -> list[str]:
    if not report.gaps:
        return []
    rows = [
        (
            gap.trial,
            score_text(gap.training),
            score_text(gap.left_out),
            "" if gap.test is None else score_text(gap.test),
            f"{gap.points:+.1f}",
            gap.word,
        )
        for gap in report.gaps
    ]
    names = ("trial", "training", "left out", "test", "gap in points", "")
    return ["## The gap between training and validation", table(names, rows)]


def _front(report: Report) -> list[str]:
    if report.front is None:
        return []
    rows = [
        (point.trial, point.role, score_text(point.score), f"{point.cost:g}")
        for point in sorted(report.front.points, key=lambda point: point.cost)
        if point.role != "beaten"
    ]
    return ["## Accurate and cheap", table(("trial", "", "score", report.front.cost), rows)]


def _influence(report: Report) -> list[str]:
    found = report.importance
    if not found.parameters:
        return ["## Which hyperparameters mattered", found.reason]
    rows = []
    for each in found.parameters:
        ranked = sorted(each.effects, key=lambda effect: -effect.score)
        ends = [f"{value_text(e.value)} → {score_text(e.score)}" for e in (ranked[0], ranked[-1])]
        rows.append((each.name, f"{each.fanova:.3f}", f"{each.ped_anova:.3f}", *ends))
    names = ("parameter", "fANOVA", "PED-ANOVA", "best value", "worst value")
    return [
        "## Which hyperparameters mattered",
        f"Explained is the {found.target} score of {found.trials} trials.",
        table(names, rows),
    ]


def _ensemble(report: Report) -> list[str]:
    found = report.ensemble
    if found is None:
        return []
    rows = [
        (
            member.trial,
            f"{member.weight:.2f}",
            member.networks,
            scored(member.score),
            "" if member.without is None else score_text(member.without),
            "" if member.test is None else score_text(member.test),
            f"`{member.network}`",
        )
        for member in found.members
    ]
    names = ("trial", "weight", "networks", "alone", "without it", "test, alone", "network")
    test = "" if found.test is None else f" The test gave {scored(found.test)}."
    said = (
        f"Out of fold together: {scored(found.score)} on {found.rows:,} rows. Expected of the "
        f"test: {scored(found.expected)}.{test}"
    )
    return ["## The ensemble, and what each member adds", said, table(names, rows), *found.words]


def _mistakes(report: Report) -> list[str]:
    if report.number_mistakes:
        rows = [
            (m.row, f"{m.target:.5g}", f"{m.predicted:.5g}") for m in report.number_mistakes[:10]
        ]
        return ["## The worst mistakes", table(("row", "true", "predicted"), rows)]
    found, names = report.mistakes, report.protocol.class_names
    if found is None:
        return []
    said = f"{found.wrong:,} of {found.rows:,} training rows are wrong out of fold."
    parts = ["## What is confused with what", said]
    if 0 < len(found.counts) <= MOST_CLASSES:
        counts = [(names[n], *row) for n, row in enumerate(found.counts)]
        parts.append(table(("true \\ predicted", *names), counts))
    pairs = [
        (names[pair.target], names[pair.predicted], pair.rows, f"{pair.share:.1%}")
        for pair in found.pairs
    ]
    return [*parts, table(("true", "taken for", "rows", "of the class"), pairs)]


def _calibration(report: Report) -> list[str]:
    found = report.calibration
    if found is None:
        return []
    rows = [
        (f"{b.low:.2f}–{b.high:.2f}", b.rows, f"{b.confidence:.3f}", f"{b.accuracy:.3f}")  # noqa: RUF001
        for b in found.bins
    ]
    return [
        "## Is it as sure as it is right?",
        f"Expected calibration error {found.error:.4f} at temperature {found.temperature:.2f}; "
        f"{found.error_before:.4f} without it.",
        table(("probability", "rows", "mean", "right"), rows),
    ]


def _costs(report: Report) -> list[str]:
    costs = report.costs
    rows = [
        (phase.name, clock_text(phase.seconds), clock_text(phase.processor_seconds))
        for phase in costs.phases
    ]
    rows.append(("all", clock_text(costs.seconds), clock_text(costs.processor_seconds)))
    said = [] if costs.budget is None else [f"Promised were {clock_text(costs.budget)}."]
    if costs.joules is not None:
        said.append(f"Energy of the machine's processors: {costs.joules / WATT_HOUR:.1f} Wh.")
    return ["## What it cost", table(("phase", "time", "processors"), rows), *said]


def _openings(report: Report) -> list[str]:
    rows = [
        (
            date_text(each.at),
            each.job,
            each.by,
            each.reason,
            "" if each.score is None else score_text(each.score),
        )
        for each in report.openings
    ]
    if not rows:
        return ["## Who has opened the test set", "Nobody: it is sealed."]
    names = ("when", "job", "by", "why", "score")
    return ["## Who has opened the test set", table(names, rows)]
