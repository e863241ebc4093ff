"""A detector behind HTTP: an image in, JSON or a drawing out. Needs Starlette.

Bodies go to temporary files, decoding and detection have few places, and what waits beyond a limit is refused at once:
however many requests come, memory stays the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from vocdet.data.detections import Detections
from vocdet.data.image_files import read_header
from vocdet.errors import ImageError, VocdetError
from vocdet.inference.access import ServeLimits, may_access
from vocdet.inference.draw import draw
from vocdet.inference.frames import quiet
from vocdet.inference.output import encode_picture
from vocdet.inference.results import coco_entries, exact_score
from vocdet.inputs.images import Image, decode
from vocdet.resources import bundled_text

if TYPE_CHECKING:
    from vocdet.runtimes.predictor import Predictor


class Service:
    """Requests that wait, and the task that detects in batches."""

    def __init__(self, detector: Predictor, limits: ServeLimits, *, token: str, local: bool) -> None:
        self.detector, self.limits, self.token, self.local = detector, limits, token, local
        self.waiting = 0
        self.served = 0

    def start(self) -> None:
        """Make what belongs to the running event loop."""
        self.queue: asyncio.Queue[tuple[Image, asyncio.Future[Detections]]] = asyncio.Queue()
        self.room = asyncio.Semaphore(2 * self.limits.batch)  # decoded images in memory

    async def work(self) -> None:
        """Detect in all images that wait, up to a batch, again and again."""
        while True:
            batch = [await self.queue.get()]
            while len(batch) < self.limits.batch and not self.queue.empty():
                batch.append(self.queue.get_nowait())
            try:
                results = await run_in_threadpool(self.detector.detect, [image for image, _ in batch])
            except Exception as error:  # of the network or its memory: the requests fail, the service goes on
                for _, future in batch:
                    if not future.done():
                        future.set_exception(HTTPException(500, f"the detector failed: {type(error).__name__}"))
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def detect(self, request: Request) -> Response:
        """Detect the objects in the image that is the body."""
        self._check(request)
        if self.waiting >= self.limits.waiting:
            raise HTTPException(503, "too many requests wait: try again", {"Retry-After": "1"})
        limit, drawing = self._options(request.query_params), _wants_drawing(request)
        self.waiting += 1
        try:
            async with self._body(request) as path, self.room:
                image = await run_in_threadpool(self._decoded, path)
                future: asyncio.Future[Detections] = asyncio.get_running_loop().create_future()
                self.queue.put_nowait((image, future))
                found = (await future).above(limit)
                self.served += 1
                if drawing:
                    labels = self.detector.labels
                    data = await run_in_threadpool(lambda: encode_picture(Path("a.jpg"), draw(image, found, labels)))
                    return Response(data, media_type="image/jpeg")
                return JSONResponse(_answer(found, image, self.detector.labels))
        except asyncio.CancelledError:  # the service ends, and waits no longer
            return JSONResponse({"error": "the service ends: try again"}, 503)
        finally:
            self.waiting -= 1

    @contextlib.asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[Path]:
        """A temporary file with the body of a request."""
        handle, name = tempfile.mkstemp(prefix="vocdet-")
        try:
            with os.fdopen(handle, "wb") as file:
                await self._receive(request, file)
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def _check(self, request: Request) -> None:
        header = request.headers.get("authorization", "").encode("latin-1").decode(errors="replace")  # sent as UTF-8
        scheme, _, rest = header.partition(" ")
        given = rest.strip() if scheme.lower() == "bearer" else header
        if not may_access(self.token, given, request.headers.get("host", ""), local=self.local):
            raise HTTPException(401, "give the token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    def _options(self, query: Mapping[str, str]) -> Any:
        """The thresholds of a request."""
        if "score" not in query:
            return self.detector.thresholds
        try:
            score = float(query["score"])
        except ValueError:
            score = np.nan
        if not 0 <= score <= 1:
            raise HTTPException(400, f"score is {query['score'][:40]!r}: give a number from 0 to 1")
        return score

    async def _receive(self, request: Request, file: Any) -> None:
        """Write the body to a file, as far as it keeps to the limits."""
        most = int(1e6 * self.limits.megabytes)
        too_large = HTTPException(413, f"the body is larger than {self.limits.megabytes:g} MB")
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > most:
            raise too_large
        size = 0
        try:
            async with asyncio.timeout(self.limits.seconds) if hasattr(asyncio, "timeout") else _no_timeout():
                async for piece in request.stream():
                    size += len(piece)
                    if size > most:
                        raise too_large
                    file.write(piece)
        except TimeoutError as error:
            raise HTTPException(408, f"the body did not arrive within {self.limits.seconds:g} seconds") from error
        except ClientDisconnect as error:
            raise HTTPException(400, "the body is incomplete") from error
        if not size:
            raise HTTPException(400, "the body is empty: POST the bytes of an image")

    def _decoded(self, path: Path) -> Image:
        """The image in a file, if its header keeps to the limits."""
        try:
            header = read_header(path)
            if header.width * header.height > 1e6 * self.limits.megapixels:
                text = (
                    f"the image has {header.width}×{header.height} pixels, more than {self.limits.megapixels:g} million"
                )
                raise HTTPException(413, text)
            with quiet():
                return decode(path, oriented=True, levels=self.detector.levels)
        except ImageError as error:
            raise HTTPException(422, f"the image {error.problem}") from error

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        """Whether the service works, for a supervisor."""
        return JSONResponse({"status": "ok", "waiting": self.waiting, "served": self.served})

    async def about(self, request: Request) -> Response:
        """The OpenAPI description."""
        self._check(request)
        return JSONResponse(openapi(self.detector.labels, self.limits, token=bool(self.token)))

    async def page(self, request: Request) -> Response:  # noqa: ARG002
        """A page that explains the service, and tries it."""
        return HTMLResponse(bundled_text("serve.html"))


@contextlib.asynccontextmanager
async def _no_timeout() -> AsyncIterator[None]:
    yield  # Python 3.10 has no asyncio.timeout; the limit of bytes remains


def application(detector: Predictor, limits: ServeLimits, *, token: str = "", local: bool = True) -> Starlette:
    """The service as an ASGI application, for any server."""
    service = Service(detector, limits, token=token, local=local)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        task = asyncio.create_task(service.work())
        try:
            yield
        finally:
            task.cancel()

    routes = [
        Route("/", service.page), Route("/health", service.health), Route("/openapi.json", service.about),
        Route("/detect", service.detect, methods=["POST"]),
    ]  # fmt: skip
    handlers = {HTTPException: _refused, VocdetError: _failed}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)  # type: ignore[arg-type]


async def _refused(_: Request, error: HTTPException) -> Response:
    headers = {**(error.headers or {}), **({"Connection": "close"} if error.status_code in (408, 413, 503) else {})}
    return JSONResponse({"error": error.detail}, error.status_code, headers)


async def _failed(_: Request, error: VocdetError) -> Response:
    return JSONResponse({"error": error.problem}, 500)


def _wants_drawing(request: Request) -> bool:
    form = request.query_params.get("format", "")
    if form not in ("", "json", "jpeg"):
        raise HTTPException(400, f"format is {form[:40]!r}: give json or jpeg")
    return form == "jpeg" or (not form and request.headers.get("accept", "").startswith("image/"))


def _answer(found: Detections, image: Image, labels: tuple[str, ...]) -> dict[str, Any]:
    """The detections of an image (H, W, 3) for JSON; boxes are xmin, ymin, xmax, ymax in pixels."""
    objects: list[dict[str, Any]] = []
    entries = coco_entries(found, image_id=1) if found.masks is not None else [{}] * len(found)
    for label, box, score, entry in zip(
        found.labels, found.boxes.round(2).tolist(), found.scores, entries, strict=True
    ):
        one = {"label": labels[label], "score": exact_score(score), "box": box}
        if "segmentation" in entry:
            one["segmentation"] = _json_value(entry["segmentation"])
        objects.append(one)
    return {"width": image.shape[1], "height": image.shape[0], "objects": objects}


def _json_value(raw: Any) -> Any:
    import msgspec

    return msgspec.json.decode(bytes(raw))


def openapi(labels: tuple[str, ...], limits: ServeLimits, *, token: bool) -> dict[str, Any]:
    """The OpenAPI description of a service."""
    number, text = {"type": "number"}, {"type": "string"}
    thing = {
        "type": "object",
        "properties": {
            "label": {"type": "string", "enum": list(labels)}, "score": number,
            "box": {"type": "array", "items": number, "minItems": 4, "maxItems": 4,
                    "description": "xmin, ymin, xmax, ymax in pixels"},
            "segmentation": {"type": "object", "description": "COCO RLE, of a detector with masks"},
        },
    }  # fmt: skip
    found = {"type": "object", "properties": {"width": {"type": "integer"}, "height": {"type": "integer"},
                                              "objects": {"type": "array", "items": thing}}}  # fmt: skip
    error = {"content": {"application/json": {"schema": {"type": "object", "properties": {"error": text}}}}}
    reasons = {400: "an option is invalid", 401: "the token is missing", 408: "the body takes too long",
               413: f"more than {limits.megabytes:g} MB or {limits.megapixels:g} megapixels",
               422: "not an image that can be decoded", 503: "too many requests wait"}  # fmt: skip
    detect = {
        "summary": "Detect the objects in an image",
        "parameters": [
            {"name": "score", "in": "query", "schema": number, "description": "least score, instead of the thresholds"},
            {"name": "format", "in": "query", "schema": {"type": "string", "enum": ["json", "jpeg"]},
             "description": "jpeg: the image with the objects drawn"},
        ],
        "requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}},
        "responses": {
            "200": {"description": "the objects, best first, or a drawing",
                    "content": {"application/json": {"schema": found}, "image/jpeg": {}}},
            **{str(status): {"description": why} | error for status, why in reasons.items()},
        },
    }  # fmt: skip
    health = {"summary": "Whether the service works", "responses": {"200": {"description": "it does"}}}
    made: dict[str, Any] = {
        "openapi": "3.1.0", "info": {"title": "A detector of vocdet", "version": "1"},
        "paths": {"/detect": {"post": detect}, "/health": {"get": health}},
    }  # fmt: skip
    if token:
        made["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        made["security"] = [{"token": []}]
    return made
