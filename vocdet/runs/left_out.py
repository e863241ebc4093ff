"""The list of what a run left out of its dataset."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vocdet.data.usable import LeftOut
from vocdet.files import write_bytes

LEFT_OUT = "left-out.json"


def write_left_out(run: Path, left_out: LeftOut) -> None:
    """Write what was left out because of errors, and each error; nothing if nothing was."""
    if left_out:
        content = msgspec.json.encode(left_out.as_dict())
        write_bytes(run / LEFT_OUT, msgspec.json.format(content, indent=1) + b"\n")
