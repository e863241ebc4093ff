"""What `--skip-bad` left out: listed at the start of a command, counted again at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vocdet_cli import render

if TYPE_CHECKING:
    from vocdet.data.usable import LeftOut

MOST_LISTED = 20  # errors that are listed


def show_left_out(left_out: LeftOut, check: str) -> None:
    """Print what was left out, and why; `check` is the command that lists all errors."""
    if not left_out:
        return
    from vocdet.wording import counted

    render.warning(f"{_left_out_summary(left_out)}, because of {counted(len(left_out.errors), 'error')}:")
    for finding in left_out.errors[:MOST_LISTED]:
        render.warning(f"{finding.place}: {finding.problem}")
    if len(left_out.errors) > MOST_LISTED:
        render.warning(f"and {len(left_out.errors) - MOST_LISTED} more: see {check} --all")


def count_left_out(left_out: LeftOut) -> None:
    """Print how much was left out."""
    if left_out:
        render.warning(_left_out_summary(left_out))


def skipping(skip_bad: bool) -> list[str]:
    """The option for the next command on the same dataset."""
    return ["--skip-bad"] if skip_bad else []


def _left_out_summary(left_out: LeftOut) -> str:
    from vocdet.wording import counted

    text = f"left out {left_out}" if str(left_out) else "left out no image and no object"
    return f"{text}; clipped {counted(left_out.clipped, 'box', 'boxes')}" if left_out.clipped else text
