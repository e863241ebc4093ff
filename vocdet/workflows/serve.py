"""Serve a detector over HTTP."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocdet.errors import DependencyError
from vocdet.inference.access import ServeLimits, address_of, binding, family_of, is_local, token_for
from vocdet.workflows.detector import open_detector

if TYPE_CHECKING:
    from vocdet.runtimes.predictor import Predictor

SERVICE_PORT = 8764
GRACE = 10  # seconds for requests that are being answered when the service ends
CONNECTIONS = 1024


def serve(
    detector: Path | Predictor,
    *,
    host: str = "127.0.0.1",
    port: int = SERVICE_PORT,
    token: str = "",
    limits: ServeLimits = ServeLimits(),
    device: str = "auto",
    started: Callable[[str, str], object] = lambda url, token: None,  # noqa: ARG005
) -> None:
    """Serve a detector until SIGTERM or Ctrl-C, which let it answer what it has accepted.

    POST the bytes of an image to `/detect`: JSON, or with `?format=jpeg` a drawing. `/health` is for supervisors, `/`
    explains and tries the service, `/openapi.json` describes it. On another address than the loopback requests need a
    token: the one given, or a new one. `started` gets the address and the token. `DependencyError` without the extra
    `serve`, `MediaError` for an address that cannot be used.
    """
    need_server()
    from vocdet.inference.serve_app import application

    if isinstance(detector, Path):
        detector = open_detector(detector, device=device)
    needed = token_for(host, token)
    app = application(detector, limits, token=needed, local=is_local(host))
    run_application(app, host, port, lambda address: started(address, needed))


def need_server() -> None:
    """Raise a `DependencyError` without the packages of the extra `serve`."""
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        hint = "install them: `pip install vocdet[serve]`"
        raise DependencyError(f"a service needs {' and '.join(missing)}", hint=hint)


def run_application(app: Any, host: str, port: int, started: Callable[[str], object]) -> None:
    """Serve an ASGI application until SIGTERM or Ctrl-C; `started` gets its address."""
    import uvicorn

    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE, lifespan="on", server_header=False,
    )  # fmt: skip
    with binding("service", host, port):
        if not 0 <= port < 1 << 16:
            raise OverflowError(port)  # create_server would leave its socket open
        listening = socket.create_server((host, port), family=family_of(host))
    with listening:
        started(address_of(host, listening.getsockname()[1]))
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, lambda *_: None) if main else None  # uvicorn raises it again at the end
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            if main:
                signal.signal(signal.SIGTERM, before)
