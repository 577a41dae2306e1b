"""The environment variables of a process that computes; torch and glibc read them at its start."""

import os

HUGE_PAGES = "glibc.malloc.hugetlb"


def thread_environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that computes with so many threads.

    Threads that wait for each other sleep: by default they spin, which on a processor that is
    shared takes the time from the very thread that they wait for. Freed memory stays with the
    process: glibc gives large blocks back, and to map a step's activations anew took up to a
    twentieth of the step. It comes in huge pages, which take another 4 to 10 % off a
    step (transparent huge pages, `madvise`; glibc 2.35), unless the environment says otherwise.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if HUGE_PAGES not in tunables:
        tunables = ":".join(filter(None, (tunables, f"{HUGE_PAGES}=1")))
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
        "GLIBC_TUNABLES": tunables,
    }
