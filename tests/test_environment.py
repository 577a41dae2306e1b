"""The environment of processes that compute."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from workers.environment import thread_environment

PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
GLIBC = platform.libc_ver()
MEASURE = """
import re, torch
tensors = [torch.ones(1 << 20) for _ in range(16)]  # 4 MB each, as activations are
print(re.search(r"AnonHugePages: *(\\d+) kB", open("/proc/self/smaps_rollup").read()).group(1))
"""


@pytest.mark.skipif(
    GLIBC[0] != "glibc"
    or tuple(int(part) for part in GLIBC[1].split(".")) < (2, 35)
    or not PAGES.exists()
    or "[never]" in PAGES.read_text(),
    reason="huge pages need glibc 2.35 and a system that has them",
)
def test_tensors_lie_in_huge_pages() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env=thread_environment(1),
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) > 48 << 10  # of 64 MB, in kB


@pytest.mark.parametrize(
    ("told", "made"),
    [
        ("", "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.arena_max=2", "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ],
)
def test_what_the_user_says_of_the_allocator_is_kept(
    told: str, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "GLIBC_TUNABLES", told)
    assert thread_environment(1)["GLIBC_TUNABLES"] == made
