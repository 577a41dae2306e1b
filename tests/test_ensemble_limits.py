"""What the networks of a model may cost together: how it is stated, and if nothing is within it."""

from pathlib import Path

import pytest

from athanor.landing_again import parse_limits
from spaces.errors import InputError
from tests.small_job import worked
from tests.statements import statement_of
from workers.ensemble_limits import EnsembleLimits


def test_a_search_s_networks_are_kept_where_none_is_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latencies vary: what the search allowed may be a little too slow in the end."""
    monkeypatch.setattr("workers.ensemble_limits._cost", lambda *_: 60_000.0)
    job, _ = worked(tmp_path, ensemble_parameters=50_000, max_parameters=80_000)
    assert job.plan is not None and job.plan.limits.parameters == 50_000
    assert job.result is not None
    found = job.result
    assert found["networks"] == 1 and found["limits"] == {"parameters": 50_000.0}
    told = statement_of(job)
    assert "parameters 60,000 of 50,000; no network that was trained is within the limits" in told


@pytest.mark.parametrize(("limit", "missed"), [(1_000, True), (4_000, False)])
def test_limits_that_no_network_keeps_are_those_of_the_cheapest(limit: int, missed: bool) -> None:
    limits = EnsembleLimits(
        limits={"latency": 0.5, "parameters": float(limit)}, costs={3: (0.2, 9e3), 5: (0.4, 2e3)}
    )
    found = limits.reachable()
    assert (found is limits) != missed
    assert found.limits == {"latency": 0.5, "parameters": max(2e3, limit)}
    assert found.networks_each(4) == 1


@pytest.mark.parametrize(
    ("texts", "keys"),
    [
        (["latency=5ms"], {"ensemble_latency": 0.005}),
        (
            ["latency=300us", "parameters=1.5m"],
            {"ensemble_latency": 3e-4, "ensemble_parameters": 1_500_000},
        ),
        (["parameters=20k"], {"ensemble_parameters": 20_000}),
        (["latency=2s"], {"ensemble_latency": 2.0}),
    ],
)
def test_limits_are_read(texts: list[str], keys: dict[str, float]) -> None:
    assert parse_limits(texts) == pytest.approx(keys)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("latency", "one of latency=..., parameters=..., but got 'latency'"),
        ("size=5", "but got 'size=5'"),
        ("latency=fast", "5ms, 300us or 1s, but got 'fast'"),
        ("parameters=-3", "200000, 500k or 1.5m, but got '-3'"),
    ],
)
def test_what_is_no_limit_is_refused(text: str, rule: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_limits([text])
    assert rule in str(refusal.value)
