"""`vocdet predict` and `vocdet live`: apply a trained detector."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocdet.errors import VocdetError
from vocdet_cli import render
from vocdet_cli.backends import chosen_backend
from vocdet_cli.option_groups import Without, grouped
from vocdet_cli.options import DetectOptions
from vocdet_cli.prelabel import report_prelabels
from vocdet_cli.startup import load_torch

if TYPE_CHECKING:
    from vocdet.inference.tracking import VideoOptions
    from vocdet.workflows.live import LiveFrame
    from vocdet.workflows.live_page import PageStart
    from vocdet.workflows.prediction_folder import Also

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlsoOptions:
    """Files beside detections.json."""

    voc: Annotated[
        bool, typer.Option("--voc", help="Also write VOC files for images: XML for labelImg, PNGs of masks.")
    ] = False
    csv: Annotated[bool, typer.Option("--csv", help="Also write detections.csv, one row per detection.")] = False
    yolo: Annotated[
        bool, typer.Option("--yolo", help="Also write YOLO label files with scores, one per image or frame.")
    ] = False

    def forms(self) -> list[Also]:
        """Those that are wanted."""
        flags: dict[Also, bool] = {"voc": self.voc, "csv": self.csv, "yolo": self.yolo}
        return [form for form, wanted in flags.items() if wanted]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameOptions:
    """What is done with videos, cameras and streams."""

    frames: Annotated[
        int, typer.Option(min=0, help="Stop after N frames of each video, camera or stream.", show_default="no limit")
    ] = 0
    track: Annotated[bool, typer.Option("--track", help="Follow the objects of videos: each gets an id.")] = False
    count: Annotated[
        str,
        typer.Option(
            "--count", metavar="X1,Y1,X2,Y2",
            help="Count the objects that cross this line, in pixels or fractions of the frame; implies --track.",
            show_default=False,
        ),
    ] = ""  # fmt: skip

    def video_options(self) -> VideoOptions:
        """The same for the library."""
        from vocdet.inference.tracking import VideoOptions, parse_line

        return VideoOptions(self.track, parse_line(self.count) if self.count else None, self.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOptions:
    """The page that stands for a window."""

    web: Annotated[bool, typer.Option("--web", help="Show it on a page in the browser instead of a window.")] = False
    host: Annotated[str, typer.Option(help="Address of the page; any but the loopback needs the token.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0: a free one.")] = 8765
    token: Annotated[
        str, typer.Option(help="Token of the page.", envvar="VOCDET_TOKEN", show_default="a new one if needed")
    ] = ""


@app.command(no_args_is_help=True)
@grouped
def predict(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Images, folders, patterns, videos, camera numbers, RTSP and HTTP streams; a run or checkpoint may "
            "come first (default: the newest run).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Output folder: new, empty, or an earlier result.")] = Path("found"),
    *,
    also: AlsoOptions,
    video: FrameOptions,
    to_annotate: Annotated[
        bool,
        typer.Option(
            "--to-annotate",
            help="Instead write annotations to correct beside the images: XML for labelImg, labelme's JSON for masks.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also replace files of an earlier result that were changed since.")
    ] = False,
    runner: DetectOptions,
) -> None:
    """Detect objects in images, videos and streams; draw them, and list them in detections.json (COCO results).

    Masks are drawn and listed as RLE. A camera or stream ends with Ctrl-C, or after --frames. An earlier result is
    replaced, but for files that were changed since, such as corrected annotations.
    """
    load_torch()
    from vocdet.inference.tracking import VideoOptions
    from vocdet.wording import counted
    from vocdet.workflows import predict as workflow

    videos = video.video_options()
    run, sources = workflow.choose_run(given, runs=runner.runs)
    if not sources:
        raise typer.BadParameter("give an image, a folder or a video after the run", param_hint="SOURCE")
    if to_annotate:
        if also.forms() or videos != VideoOptions() or force:
            others = "--voc, --csv, --yolo, --frames, --track, --count and --force"
            raise typer.BadParameter(f"cannot be combined with {others}", param_hint="--to-annotate")
        report_prelabels(run, sources, out, chosen_backend(run, runner))
        return
    images, shown, objects, with_objects, then = 0, 0, 0, 0, ""
    _report_skipped(sources, out)
    options = chosen_backend(run, runner)
    predictions = workflow.predict(
        run, sources, out=out, options=options, videos=videos, also=also.forms(), force=force
    )
    try:
        with closing(predictions), render.progress("predicting") as progress:
            for prediction in predictions:
                image = prediction.source.kind == "image"
                images, shown = images + image, shown + (not image)
                objects += len(prediction.detections)
                with_objects += len(prediction.detections) > 0
                progress(prediction.done, prediction.total)
        then = render.command("live", str(run))
    finally:
        processed = [counted(n, noun) for n, noun in ((images, "image"), (shown, "frame")) if n]
        if processed:
            all_of = images + shown
            empty = f" ({with_objects} of {all_of} with any, {objects / all_of:.2f} on average)"
            some = empty if with_objects < all_of else ""
            render.done(
                f"Detected {counted(objects, 'object')} in {' and '.join(processed)}{some} with {run}. Saved to {out}",
                then=then,
            )
            _report_kept(out)


def _report_skipped(sources: list[str], out: Path) -> None:
    """Name the files in folders that are no images and no videos."""
    from vocdet.inference.frames import skipped_files
    from vocdet.wording import counted, listed

    names: dict[str, list[str]] = {}
    for path, why in skipped_files(sources, skip=out):
        names.setdefault(why, []).append(path.name)
    for why, some in names.items():
        render.warning(f"{counted(len(some), 'path')} passed over, {why}: {listed(some, most=3)}")


def _report_kept(out: Path) -> None:
    """Name the files that an earlier result left, and that a user changed since."""
    from vocdet.outputs import read_marker
    from vocdet.wording import counted, listed

    marker = read_marker(out)
    if marker is not None and marker.kept:
        names = f"{counted(len(marker.kept), 'file')} in {out}: {listed(marker.kept, most=3)}"
        render.warning(f"kept what was changed or added by hand, {names}; `force=True` replaces it")


@app.command()
@grouped
def live(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder or checkpoint of a detector.", show_default="the newest in ./runs")
    ] = None,
    source: Annotated[str, typer.Option(help="Camera number, video file or URL.")] = "0",
    save: Annotated[Path | None, typer.Option(help="Also write a video: out.mp4")] = None,
    *,
    page: PageOptions,
    video: FrameOptions,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that vocdet did not write.")] = False,
    runner: Annotated[DetectOptions, Without("batch tile overlap whole")],
) -> None:
    """Show a camera, a stream or a video with the detected objects; q or Esc stops.

    --web shows it on a page with thresholds to move and a snapshot. Frames of a camera or stream that come faster than
    they are detected are dropped and counted, and lost streams are opened again.
    """
    load_torch()
    from vocdet.wording import counted
    from vocdet.workflows.live import live as show_window
    from vocdet.workflows.live_page import PageStart, WebOptions, live_page
    from vocdet.workflows.predict import choose_run

    if page.web and (save or force):
        raise typer.BadParameter("writes no video: give --web or --save", param_hint="--web")
    if not page.web and replace(page, token="") != PageOptions():  # a token may be of the environment
        raise typer.BadParameter("are those of a page: give --web, too", param_hint="--host and --port")
    run = run or choose_run((), runs=runner.runs)[0]
    options, videos = chosen_backend(run, runner), video.video_options()
    shown: Generator[PageStart | LiveFrame, None, None]
    if page.web:
        shown = live_page(run, source, WebOptions(page.host, page.port, page.token), options=options, videos=videos)
    else:
        shown = show_window(run, source, save=save, options=options, videos=videos, force=force)
    count, rate, dropped = 0, 0.0, ""
    try:
        with closing(shown), render.screen().status("starting; Ctrl-C stops") as status:
            for one in shown:
                if isinstance(one, PageStart):
                    render.done(f"Open {one.url}")
                    continue
                count, rate, dropped = count + 1, one.fps, f", {one.dropped} dropped" if one.dropped else ""
                status.update(f"{rate:.1f} fps, {counted(len(one.detections), 'object')}{dropped}")
    except VocdetError:
        count = 0  # the error is reported instead
        raise
    finally:
        if count:
            saved = f". Saved to {save}" if save else ""
            render.done(f"Showed {counted(count, 'frame')}, {rate:.1f} fps at the end{dropped}{saved}")
