"""The environment variables of a process that computes; torch and glibc read them at its start."""

import os

HUGE_PAGES = "glibc.malloc.hugetlb=1"  # memory is asked for in huge pages, where the system has any


def thread_environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that computes with so many threads.

    Threads that wait for each other sleep: by default they spin, which on a processor that is
    shared takes the time from the very thread that they wait for. Freed memory stays with the
    process: glibc gives large blocks back, and to map a step's activations anew took up to a
    twentieth of the step. It comes in huge pages, which take another twentieth to tenth off a
    step (transparent huge pages, `madvise`; glibc 2.35). What the user says of them goes first.
    """
    told = os.environ.get("GLIBC_TUNABLES")
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
        "GLIBC_TUNABLES": f"{HUGE_PAGES}:{told}" if told else HUGE_PAGES,  # the last one counts
    }
