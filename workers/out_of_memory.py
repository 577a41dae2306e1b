"""Whether an error says that memory ran out: torch has no type for it on a processor."""

MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "status_alloc_failed",  # of cuBLAS and cuDNN, on a card that is full
)


def is_out_of_memory(failure: BaseException) -> bool:
    """Whether an error says that memory ran out, on the processor or on a GPU."""
    return isinstance(failure, MemoryError) or any(
        words in str(failure).lower() for words in MEMORY_WORDS
    )
