"""What the documentation tells people to type is there, and its quick start works."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from athanor.cli import app
from search.job_spec import JobSpec
from tests.command import LIMIT_SECONDS, asked, on_one_core

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each `athanor` command in a page, its blocks' and its sentences'."""
    blocks = [code for language, code in FENCE.findall(text) if language == "sh"]
    blocks += INDENTED.findall(FENCE.sub("", text)) + CODE.findall(FENCE.sub("", text))
    for block in blocks:
        for line in block.splitlines():
            for part in re.split(r"&&|;|\| ", line.split("  #")[0]):
                if found := re.fullmatch(r"\s*(?:\w+=\$\()?athanor (.*?)\)?\s*", part):
                    yield shlex.split(found[1], comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_that_a_page_names_are_there(page: Path) -> None:
    root = typer.main.get_command(app)
    for words in commands(page.read_text(encoding="utf-8")):
        command, rest = root, list(words)
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]  # type: ignore[attr-defined]
        named = not rest or rest[0].startswith("-") or not hasattr(command, "commands")
        assert command is not root and named, words
        known = {"--help", *(name for each in command.params for name in each.opts)}
        given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert given <= known, words


def test_the_job_file_that_the_readme_shows_is_valid() -> None:
    blocks = FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    (job,) = (code for language, code in blocks if language == "yaml")
    assert JobSpec.parse(yaml.safe_load(job)).budget == 1800.0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_documentation_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.slow
def test_the_quick_start_works_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "athanor").write_text(f'#!/bin/sh\nexec {sys.executable} -m athanor "$@"\n')
    (tmp_path / "athanor").chmod(0o755)
    runs = {"sh": ["sh", "-e", "-c"], "python": [sys.executable, "-c"]}
    text = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    blocks = FENCE.findall(text)
    assert {language for language, _ in blocks} == set(runs)
    job = ""
    for language, code in blocks:
        done = subprocess.run(
            [*on_one_core(), *runs[language], re.sub(r"\bJOB\b", job, code)],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        job = job or json.loads(asked("jobs", "--json", cwd=tmp_path).stdout)[0]["job"]
    assert (tmp_path / "report.html").stat().st_size < 10_000_000
