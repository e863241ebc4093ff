"""`vocdet serve`: a detector over HTTP."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from vocdet_cli import render
from vocdet_cli.option_groups import Without, grouped
from vocdet_cli.options import RunnerOptions
from vocdet_cli.startup import load_torch

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """What a service accepts."""

    batch: Annotated[int, typer.Option(min=1, help="Images per forward pass: those that wait.")] = 8
    megabytes: Annotated[float, typer.Option(min=0.001, help="Largest body.")] = 20.0
    megapixels: Annotated[float, typer.Option(min=0.001, help="Largest image.")] = 50.0


@app.command()
@grouped
def serve(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder or checkpoint of a detector.", show_default="the newest in ./runs")
    ] = None,
    host: Annotated[str, typer.Option(help="Address; any but the loopback needs the token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.")] = 8764,
    token: Annotated[
        str, typer.Option(help="Token of requests.", envvar="VOCDET_TOKEN", show_default="a new one if needed")
    ] = "",
    *,
    limit: LimitOptions,
    place: Annotated[RunnerOptions, Without("backend")],
) -> None:
    """Serve a detector: POST an image, get JSON or a drawing.

    The page at the address explains it, /openapi.json describes it, and /health is for supervisors. SIGTERM and Ctrl-C
    end it after the requests that it has accepted. Needs the extra serve.
    """
    load_torch()
    from vocdet.inference.access import ServeLimits
    from vocdet.workflows.predict import choose_run
    from vocdet.workflows.serve import serve as run_service

    run = run or choose_run((), runs=place.runs)[0]
    limits = ServeLimits(**asdict(limit))

    def started(url: str, needed: str) -> None:
        text = f"Authorization: Bearer {needed}" if needed and not token else ""
        render.done(f"Serving {run} at {url}; Ctrl-C stops{f'. Requests need: {text}' if text else ''}")

    run_service(run, host=host, port=port, token=token, limits=limits, device=place.device, started=started)
