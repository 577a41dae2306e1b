"""IDX files are decoded whole, or refused."""

import numpy as np
import pytest

from spaces.errors import DataError
from tests.refusals import one_line
from workers.idx import read_idx

IDX = b"\0\0\x08\x02" + bytes([0, 0, 0, 2, 0, 0, 0, 3]) + bytes([1, 2, 3, 4, 5, 255])


def test_idx_is_decoded_row_by_row() -> None:
    decoded = read_idx(IDX, name="file")
    assert decoded.dtype == np.uint8 and decoded.flags.writeable
    assert decoded.tolist() == [[1, 2, 3], [4, 5, 255]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x1f\x8b" + IDX[2:], r"IDX magic number, but has b'\x1f\x8b\x08\x02'"),
        (b"", "IDX magic number, but has b''"),
        (IDX[:3], "IDX magic number"),
        (b"\0\0\x0d" + IDX[3:], "must hold bytes (type 8), but has type 13 in 2 dimensions"),
        (IDX[:3] + b"\0", "type 8 in 0 dimensions"),
        (IDX[:-1], "must have 18 bytes for [2, 3], but has 17"),
        (IDX + b"\0", "must have 18 bytes for [2, 3], but has 19"),
        (IDX[:7], "but has 7"),
    ],
)
def test_broken_idx_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(DataError) as refusal:
        read_idx(content, name="file")
    message = one_line(refusal)
    assert said in message and message.startswith("file must")
