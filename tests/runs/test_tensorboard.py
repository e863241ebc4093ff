"""TensorBoard reads the event files back: their checksums are those of RFC 3720."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader  # type: ignore[import-untyped]
from tensorboard.compat.proto import event_pb2  # type: ignore[import-untyped]

from vocdet.runs.tensorboard import EventFile, crc32c


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C), (b"123456789", 0xE3069283),
    ],
)  # fmt: skip
def test_a_checksum_is_that_of_the_rfc(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


def test_a_picture_is_read_back(tmp_path: Path) -> None:
    file, picture = EventFile(tmp_path), bytes(range(256)) * 40
    file.image(3, "examples", picture, (64, 48))
    file.close()
    *_, last = (event_pb2.Event.FromString(data) for data in RawEventFileLoader(str(file.path)).Load())
    (value,) = last.summary.value
    assert (last.step, value.tag, value.image.encoded_image_string) == (3, "examples", picture)
    assert (value.image.width, value.image.height) == (64, 48)
