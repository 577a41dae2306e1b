"""The environment variables of a process that computes; torch reads them when it is imported."""

import os


def thread_environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that computes with so many threads.

    Threads that wait for each other sleep: by default they spin, which on a processor that is
    shared takes the time from the very thread that they wait for. Freed memory stays with the
    process: glibc gives large blocks back, and to map a step's activations anew took up to a
    twentieth of the step.
    """
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    }
