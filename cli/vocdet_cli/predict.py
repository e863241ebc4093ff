"""`vocdet predict` and `vocdet live`: a trained detector at work."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from vocdet.errors import VocdetError
from vocdet_cli import render
from vocdet_cli.options import Device, Runs
from vocdet_cli.startup import load_torch

app = typer.Typer()

Score = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Score from which a detection is shown.", show_default="each label's own"),
]


@app.command(no_args_is_help=True)
def predict(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN] SOURCE", help="A run folder or checkpoint, else the newest; images, folders, videos."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for what is written: new, empty, or an earlier result.")] = Path(
        "found"
    ),
    score: Score = None,
    batch: Annotated[int, typer.Option(min=1, help="Images that go through the network together.")] = 8,
    voc: Annotated[
        bool, typer.Option("--voc", help="Write VOC files of the images too: XML for labelImg, and PNGs of masks.")
    ] = False,
    runs: Runs = Path("runs"),
    device: Device = "auto",
) -> None:
    """Draw what a detector finds in images, folders and videos, and list it in detections.json (COCO results).

    A detector with masks draws them, and lists them as RLE.
    """
    load_torch()
    from vocdet.wording import counted
    from vocdet.workflows import predict as watch

    run, sources = watch.choose_run(given, runs=runs)
    if not sources:
        raise typer.BadParameter("name an image, a folder or a video after the run", param_hint="SOURCE")
    pictures, frames, objects, then = 0, 0, 0, ""
    seen = watch.predict(run, sources, out=out, score=score, batch=batch, device=device, voc=voc)
    try:
        with closing(seen), render.progress("looking") as progress:
            for one in seen:
                film = one.source.kind == "video"
                pictures, frames, objects = pictures + (not film), frames + film, objects + len(one.found)
                progress(one.done, one.total)
        then = render.command("live", str(run))
    finally:
        seen_in = [counted(n, noun) for n, noun in ((pictures, "picture"), (frames, "frame")) if n]
        if seen_in:
            found = f"{counted(objects, 'object')} found in {' and '.join(seen_in)} with {run}"
            render.done(f"wrote {out}: {found}", then=then)


@app.command()
def live(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run folder or checkpoint of a detector.", show_default="the newest in ./runs"),
    ] = None,
    source: Annotated[str, typer.Option(help="A camera's number, a video file or a URL.")] = "0",
    save: Annotated[Path | None, typer.Option(help="Write what is shown as a video, too: out.mp4")] = None,
    frames: Annotated[int, typer.Option(min=0, help="End after so many frames.", show_default="never")] = 0,
    score: Score = None,
    runs: Runs = Path("runs"),
    device: Device = "auto",
) -> None:
    """Show a camera, a stream or a video with what a detector finds in it; q or Esc ends it."""
    load_torch()
    from vocdet.wording import counted
    from vocdet.workflows import predict as watch

    count, rate = 0, 0.0
    run = run or watch.choose_run((), runs=runs)[0]
    shown = watch.live(run, source, save=save, score=score, frames=frames, device=device)
    try:
        with closing(shown), render.screen().status("starting; Ctrl-C ends") as status:
            for one in shown:
                count, rate = one.number + 1, one.fps
                status.update(f"{rate:.1f} frames a second, {len(one.found)} found")
    except VocdetError:
        count = 0  # the error says it all
        raise
    finally:
        if count:
            wrote = f", wrote {save}" if save else ""
            render.done(f"showed {counted(count, 'frame')}, {rate:.1f} a second at the end{wrote}")
