"""The viewer as an ASGI application: a page, lists of images as JSON, pictures as JPEG. Needs Starlette.

Requests name images by their row: no path comes from outside. The page and its script are static; names from files
reach the browser as JSON alone, and become text there.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import fields
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from vocdet.errors import ImageError, VocdetError
from vocdet.inference.access import may_access
from vocdet.resources import bundled_text
from vocdet.viewing.items import describe
from vocdet.viewing.notes import NOTES, Notes
from vocdet.viewing.table import ERROR_NAMES, ORDERS, SIZES, Filters, ViewTable
from vocdet.viewing.thumbnails import Pictures

PAGE = 120  # images of an answer
LONGEST_BODY = 1000  # bytes
_HEADERS = {
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}  # fmt: skip
_FILES = {"page.js": "text/javascript", "page.css": "text/css"}


class Viewer:
    """Answers requests about one dataset."""

    def __init__(self, table: ViewTable, notes: Notes, findings: dict[int, list[str]], title: str) -> None:
        """`findings` are the texts of the findings of images by row."""
        self.table, self.notes, self.findings, self.title = table, notes, findings, title
        table.select(Filters(size=0, name="/", order=2), notes.codes)  # computes the columns that filters need
        self.pictures = Pictures(table.dataset)
        self.version = secrets.token_hex(4)  # in the addresses of pictures: a browser caches those of other datasets
        self._room = asyncio.Semaphore(max(2, os.cpu_count() or 2))  # images that are decoded at once

    def page(self, request: Request) -> Response:
        """The page; a token in its address becomes a cookie."""
        if token := request.query_params.get("token", ""):
            answer: Response = RedirectResponse("/", 303)
            answer.set_cookie(_cookie_name(request), token, httponly=True, samesite="strict")
            return answer
        return Response(bundled_text("view/page.html"), media_type="text/html")

    def file(self, request: Request) -> Response:
        """The script or the style of the page."""
        name = request.path_params["name"]
        if name not in _FILES:
            raise HTTPException(404, "there is no such page")
        before = bundled_text("report/page.css") if name == "page.css" else ""
        return Response(before + bundled_text(f"view/{name}"), media_type=_FILES[name])

    def state(self, request: Request) -> Response:  # noqa: ARG002
        """What there is to filter by."""
        table, dataset = self.table, self.table.dataset
        found = table.predictions
        return _json({
            "title": self.title, "version": self.version, "images": len(dataset), "labels": dataset.labels,
            "splits": [[name, len(rows)] for name, rows in dataset.splits.items()],
            "flags": table.flags, "sizes": SIZES, "orders": ORDERS, "notes": NOTES, "note_counts": self.notes.counts(),
            "notes_file": str(self.notes.path),
            "findings": [[code, len(rows)] for code, rows in table.findings.items()],
            "errors": [[ERROR_NAMES.index(name), name, count] for name, count in table.errors.items()],
            "thresholds": None if found is None else [float(str(one)) for one in found.thresholds],
        })  # fmt: skip

    def images(self, request: Request) -> Response:
        """Some images of those that pass, from `start` on."""
        rows = self._selected(request)
        start = _number(request.query_params.get("start", "0"), len(rows) + 1)
        some = rows[start : start + PAGE].tolist()
        return _json({"count": len(rows), "start": start, "images": [self._item(row) for row in some]})

    def list(self, request: Request) -> Response:
        """The paths of all images that pass, one a line."""
        root, files = str(self.table.dataset.root.absolute()), self.table.dataset.images.files
        lines = (f"{root}/{files[row]}\n" for row in self._selected(request).tolist())
        return PlainTextResponse("".join(lines).encode(errors="surrogateescape"))

    def image(self, request: Request) -> Response:
        """One image with its masks."""
        row = self._row(request)
        return _json(self._item(row, whole=True) | {"findings": self.findings.get(row, [])})

    async def thumbnail(self, request: Request) -> Response:
        """A small JPEG."""
        return await self._picture(request, self.pictures.thumbnail)

    async def picture(self, request: Request) -> Response:
        """A JPEG for a screen."""
        return await self._picture(request, self.pictures.jpeg)

    async def note(self, request: Request) -> Response:
        """Set the note on an image: the body is wrong, unsure or ok, or empty to delete it."""
        row = self._row(request)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > LONGEST_BODY:
                raise HTTPException(413, "the body is too large")
        text = body.decode(errors="replace").strip()
        if text not in ("", *NOTES):
            raise HTTPException(400, f"give one of {', '.join(NOTES)}, or nothing")
        try:
            await run_in_threadpool(self.notes.set, row, 1 + NOTES.index(text) if text else 0)
        except VocdetError as error:  # a full disk, or a file that another program has changed
            raise HTTPException(409, str(error)) from error
        return _json({"note": text, "note_counts": self.notes.counts()})

    def _selected(self, request: Request) -> NDArray[np.int64]:
        return self.table.select(_filters(request), self.notes.codes)

    def _row(self, request: Request) -> int:
        return _number(request.path_params["row"], len(self.table.dataset))

    def _item(self, row: int, *, whole: bool = False) -> dict[str, Any]:
        return describe(self.table, row, whole=whole) | {"note": int(self.notes.codes[row])}

    async def _picture(self, request: Request, make: Callable[[int], bytes]) -> Response:
        """A JPEG, or a drawing that says why the image cannot be read: an error status would appear in the console."""
        row = self._row(request)
        async with self._room:
            if await request.is_disconnected():  # scrolled past
                return Response(status_code=204)
            try:
                data = await run_in_threadpool(make, row)
            except ImageError as error:
                return Response(_no_picture(error.problem), media_type="image/svg+xml")
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})


def application(viewer: Viewer, *, token: str, local: bool) -> Starlette:
    """The viewer as an ASGI application, for whoever has the token."""
    routes = [
        Route("/", viewer.page), Route("/state", viewer.state), Route("/images", viewer.images),
        Route("/list.txt", viewer.list), Route("/images/{row}", viewer.image),
        Route("/thumbnails/{row}", viewer.thumbnail), Route("/pictures/{row}", viewer.picture),
        Route("/notes/{row}", viewer.note, methods=["POST"]), Route("/{name}", viewer.file),
    ]  # fmt: skip
    return Starlette(routes=routes, middleware=[Middleware(_Guard, token=token, local=local)])


class _Guard:
    """Lets requests with the token pass, from pages of its own, and adds the headers that every answer has."""

    def __init__(self, app: ASGIApp, *, token: str, local: bool) -> None:
        self.app, self.token, self.local = app, token, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                known = {name for name, _ in message["headers"]}
                extra = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *(one for one in extra if one[0] not in known)]}
            await send(message)

        refused = self._refusal(Request(scope))
        answer: ASGIApp = PlainTextResponse(f"{refused}\n", 403) if refused else self.app
        await answer(scope, receive, with_headers)

    def _refusal(self, request: Request) -> str:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not may_access("", "", host, local=self.local):
            return "other hosts are refused: open the address that vocdet printed"
        if origin and urlsplit(origin).netloc != host:
            return "requests of other sites are refused"
        given = request.query_params.get("token") or _cookie(request)
        return "" if may_access(self.token, given, host, local=self.local) else (
            "open the address that vocdet printed, with its token"
        )  # fmt: skip


def _cookie_name(request: Request) -> str:
    """With the port, because browsers send the cookies of a host to each of its ports."""
    return f"vocdet-view-{request.url.port or 80}"


def _cookie(request: Request) -> str:
    try:
        morsel = SimpleCookie(request.headers.get("cookie", "")).get(_cookie_name(request))
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _filters(request: Request) -> Filters:
    """The filters in the query; a 400 for one that is no number."""
    values: dict[str, Any] = {}
    for one in fields(Filters):
        text = request.query_params.get(one.name, "")
        if text and one.name == "name":
            values["name"] = text[:200]
        elif text:
            try:
                values[one.name] = float(text) if one.type == "float" else int(text)
            except ValueError as error:
                raise HTTPException(400, f"{one.name} is not a number") from error
    return Filters(**values)


def _number(text: str, limit: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) >= limit:
        raise HTTPException(404, "there is no such image")
    return int(text)


def _json(content: object) -> Response:
    """JSON in ASCII: halves of surrogate pairs, in names that are not UTF-8, stay escapes."""
    return Response(json.dumps(content), media_type="application/json")


def _no_picture(problem: str) -> str:
    from xml.sax.saxutils import escape

    text = escape(problem if len(problem) < 60 else f"{problem[:60]}…")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="480" height="360" viewBox="0 0 480 360">'
        '<rect width="480" height="360" fill="#777"/><text x="240" y="180" text-anchor="middle" fill="#fff" '
        f'font-family="sans-serif" font-size="15">{text}</text></svg>'
    )
