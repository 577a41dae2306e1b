"""The reference of a job file's keys is that of the code."""

from pathlib import Path

import yaml

from athanor.job_reference import EXAMPLE, job_reference, meanings
from search.job_spec import JobSpec

PAGE = Path(__file__).parent.parent / "docs" / "job.md"


def test_the_page_is_what_the_models_say() -> None:
    assert PAGE.read_text() == job_reference(), "python -m athanor.job_reference > docs/job.md"


def test_every_key_is_explained() -> None:
    missing = set(JobSpec.model_fields) - set(meanings(JobSpec))
    assert not missing


def test_the_page_s_example_is_a_job() -> None:
    spec = JobSpec.parse(yaml.safe_load(EXAMPLE))
    assert spec.minimize == "latency" and spec.budget == 1800.0
