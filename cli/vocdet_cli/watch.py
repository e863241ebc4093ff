"""`vocdet predict` and `vocdet live`: a trained detector at work."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from vocdet_cli import render
from vocdet_cli.options import Device

app = typer.Typer()

Run = Annotated[
    Path | None,
    typer.Option(
        "--run", help="Run folder of the detector.", show_default="the newest in ./runs, unless it is given first"
    ),
]
Score = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Score from which a detection is shown.", show_default="each label's own"),
]


@app.command(no_args_is_help=True)
def predict(
    given: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Images, folders and videos; a run folder may stand first."),
    ],
    run: Run = None,
    out: Annotated[Path, typer.Option(help="Folder for what is written: new, empty, or an earlier result.")] = Path(
        "found"
    ),
    score: Score = None,
    batch: Annotated[int, typer.Option(min=1, help="Images that go through the network together.")] = 8,
    device: Device = "auto",
) -> None:
    """Draw what a detector finds in images, folders and videos, and list it in detections.json (COCO results)."""
    from vocdet.cpu import prepare_cpu
    from vocdet.workflows import watch

    prepare_cpu()
    chosen, sources = watch.choose_run(given, run=run)
    if not sources:
        raise typer.BadParameter("name an image, a folder or a video after the run", param_hint="SOURCE")
    pictures = objects = 0
    seen = watch.predict(chosen, sources, out=out, score=score, batch=batch, device=device)
    try:
        with closing(seen), render.progress("looking") as progress:
            for one in seen:
                pictures, objects = pictures + 1, objects + len(one.found)
                progress(one.done, one.total)
    finally:
        if pictures:
            render.done(
                f"wrote {out}: {objects} objects found in {pictures} pictures with {chosen}", then="vocdet live"
            )


@app.command()
def live(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder of the detector.", show_default="the newest in ./runs")
    ] = None,
    source: Annotated[str, typer.Option(help="A camera's number, a video file or a URL.")] = "0",
    save: Annotated[Path | None, typer.Option(help="Write what is shown as a video, too: out.mp4")] = None,
    frames: Annotated[int, typer.Option(min=0, help="End after so many frames.", show_default="never")] = 0,
    score: Score = None,
    device: Device = "auto",
) -> None:
    """Show a camera, a stream or a video with what a detector finds in it; q or Esc ends it."""
    from vocdet.cpu import prepare_cpu
    from vocdet.workflows import watch

    prepare_cpu()
    chosen, _ = watch.choose_run((), run=run)
    count, rate = 0, 0.0
    shown = watch.live(chosen, source, save=save, score=score, frames=frames, device=device)
    try:
        with closing(shown), render.err.status("starting") as status:
            for one in shown:
                count, rate = one.number + 1, one.fps
                status.update(f"{rate:.1f} frames a second, {len(one.found)} found")
    finally:
        if count:
            wrote = f", wrote {save}" if save else ""
            render.done(f"showed {count} frames, {rate:.1f} a second at the end{wrote}")
