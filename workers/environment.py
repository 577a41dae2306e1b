"""The environment variables of a process that computes; torch and glibc read them at its start."""

import os

HUGE_PAGES = "glibc.malloc.hugetlb"
KEPT, TRIMMED, TUNABLES = "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"


def thread_environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that computes with so many threads.

    Threads that wait for each other sleep: by default they spin, which on a processor that is
    shared takes the time from the very thread that they wait for. Freed memory stays with the
    process: glibc gives large blocks back, and to map a step's activations anew took up to a
    twentieth of the step. It comes in huge pages, which take another 4 to 10 % off a
    step (transparent huge pages, `madvise`; glibc 2.35), unless the environment says otherwise.
    """
    tunables = os.environ.get(TUNABLES, "")
    if HUGE_PAGES not in tunables:
        tunables = ":".join(filter(None, (tunables, f"{HUGE_PAGES}=1")))
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        KEPT: "0",
        TRIMMED: str(1 << 40),
        TUNABLES: tunables,
    }


def allocation() -> tuple[str, ...]:
    """Return what the environment says of how memory is given, as speeds depend on it."""
    return tuple(os.environ.get(name, "") for name in (KEPT, TRIMMED, TUNABLES))
