"""The next round of annotation: `vocdet frames`, `vocdet predict --to-annotate`, `vocdet progress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocdet_cli import render

if TYPE_CHECKING:
    from vocdet.workflows.detector import DetectorOptions

app = typer.Typer()

STATES = ("without", "machine-made", "corrected", "human")
MEANINGS = {
    "without": "not annotated",
    "machine-made": "machine-made, not corrected yet",
    "corrected": "machine-made, then corrected",
    "human": "annotated by people",
}


@app.command(no_args_is_help=True)
def frames(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO", help="Videos, folders with videos, or patterns.")],
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = Path("frames"),
    every: Annotated[float, typer.Option(min=0.001, help="Seconds between two images.")] = 1.0,
) -> None:
    """Take images to annotate out of videos, without those that hardly differ.

    Existing files are never replaced.
    """
    from vocdet.wording import counted
    from vocdet.workflows.film_frames import frames as extract

    written, alike, there = 0, 0, 0
    try:
        with render.progress("extracting") as progress:
            for frame in extract(videos, out=out, every=every):
                written, alike = written + frame.written, alike + (not frame.differs)
                there += frame.differs and not frame.written
                progress(frame.done, frame.total)
    finally:
        if written or alike or there:
            left = f" ({alike} hardly differ and are left out)" if alike else ""
            exist = f" ({there} exist already)" if there else ""
            render.done(
                f"Wrote {counted(written, 'image')}{left}{exist}. Saved to {out}",
                then=render.command("predict", str(out), "--to-annotate"),
            )


@app.command(no_args_is_help=True)
def progress(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE", help="Images, folders or patterns.")],
) -> None:
    """Count the images whose annotations are machine-made, corrected, or of people.

    A machine-made annotation counts as corrected once it was saved again in labelImg or labelme.
    """
    from vocdet.wording import counted, listed
    from vocdet.workflows.prelabel import progress as count

    made = count(sources)
    table = render.table("annotations", "state", "images")
    for state in STATES:
        if made.states[state]:
            table.add_row(MEANINGS[state], str(made.states[state]))
    render.show(table)
    if made.left:
        names = listed((path.name for path in made.left), most=3)
        render.done(f"{counted(len(made.left), 'image')} of {made.images} left: {names}")
    else:
        render.done(f"All {counted(made.images, 'image')} are annotated or corrected")


def report_prelabels(run: Path, sources: list[str], out: Path, options: DetectorOptions) -> None:
    """Write annotations to correct, and report them."""
    from vocdet.wording import counted
    from vocdet.workflows.prelabel import DIFFERENCE_LISTS, PrelabelReport, prelabel

    report = None
    with render.progress("predicting") as progress:
        for event in prelabel(run, sources, out=out, options=options):
            if isinstance(event, PrelabelReport):
                report = event
            else:
                progress(event.done, event.total)
    if report is None or not report.order:
        return
    states = "; ".join(f"{report.states[state]} {MEANINGS[state]}" for state in STATES if report.states[state])
    render.note(f"before: {states}")
    rows = (report.new, report.missed, report.different)
    if report.states["human"] or report.states["corrected"]:
        what = ("beside the annotations", "that the model lacks", "drawn otherwise")
        render.note("; ".join(f"{counted(len(some), 'object')} {text} ({name})"
                              for some, text, name in zip(rows, what, DIFFERENCE_LISTS, strict=True)))  # fmt: skip
    render.done(
        f"Wrote {counted(report.added, 'object')} to correct in {counted(len(report.order), 'image')}; the order to "
        f"label them in is in {out}",
        then=render.command("progress", *sources),
    )
