"""Runs compared on a live page: served to this machine alone, and there to whoever has the address with its token."""

from __future__ import annotations

import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.extras import extra
from unlabeled.report.compare.content import Reading, Shown
from unlabeled.report.compare.page import screening_part
from unlabeled.report.compare.reading import read
from unlabeled.report.compare.views import pair_view
from unlabeled.report.document import shell
from unlabeled.report.markup import Markup, join, tag
from unlabeled.report.pixels import png, to_picture
from unlabeled.report.tables import counted
from unlabeled.runs.folder import Run
from unlabeled.runs.together import opened

LOOPBACK = "127.0.0.1"
KEPT = 8
"""Pairs whose readings are kept in memory."""
SIDE = 112
"""Pixels of the longer side of a picture."""
HEADERS = {
    "cache-control": "no-store",  # nothing of the images stays in the browser's files
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}
Scope = MutableMapping[str, Any]
Messages = Callable[..., Awaitable[Any]]


class Live:
    """A page about runs that computes each pair when it is asked for. It writes nothing.

    Args:
        runs: finished runs, at least two.
        names: theirs, all different.
        data_dir: where data sets lie now.
        port: 0: a free one.

    Raises:
        UserError: the extra is not installed, or the port is taken.
    """

    def __init__(self, runs: Sequence[Run], names: Sequence[str], data_dir: str | None = None, port: int = 0) -> None:
        self._uvicorn = extra("uvicorn", "compare", "compare")
        self.runs, self.names, self.data_dir = runs, names, data_dir
        self.token = secrets.token_urlsafe(24)
        self._lock = threading.Lock()
        self._pairs: OrderedDict[tuple[object, ...], tuple[Shown, list[Reading]]] = OrderedDict()
        application = self._application()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((LOOPBACK, port))
            self._socket.listen()
        except OSError as error:
            self._socket.close()
            raise UserError(f"port {port} cannot be had ({error.strerror}); choose another --port.") from error
        config = self._uvicorn.Config(application, log_level="warning", access_log=False, server_header=False)
        self._server = self._uvicorn.Server(config)

    @property
    def address(self) -> str:
        """Where the page is, with the token."""
        return f"http://{LOOPBACK}:{self._socket.getsockname()[1]}/{self.token}/"

    def serve(self) -> None:
        """Answer until :meth:`stop`, or until the process is interrupted."""
        with self._socket:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End :meth:`serve`; from another thread."""
        self._server.should_exit = True

    def page(self, first: int, second: int) -> str:
        """The page with the pair of these two runs; why they cannot be compared, if so."""
        names = self.names
        links = {name: f"?first={first}&second={i}#compared" for i, name in enumerate(names) if i != first}
        view: Markup
        try:
            shown, (left, right) = self._read(first, second)
            view = pair_view(shown, left, right, "live", thumbs=f"pictures/{first}-{second}/")
        except UserError as error:
            view = tag("p", f"They are not read on the same images: {error}", class_="hint note")
        parts = {
            **screening_part(self.runs, names, links),
            "compared": (f"{names[first]} beside {names[second]}", join([self._form(first, second), view])),
        }
        lead = "This page is live: it is served to this machine alone, reads the runs' own data, and writes nothing."
        return shell(f"{counted(len(names), 'run')} compared", lead, parts, pictures="'self' data:")

    def picture(self, first: int, second: int, number: int) -> bytes | None:
        """An image of a pair as PNG; ``None`` where there is none, or it must not be seen."""
        shown, _ = self._read(first, second)
        if not 0 <= number < len(shown.group) or not shown.visible[number]:
            return None
        return png(to_picture(shown.images[number], SIDE))

    def _read(self, first: int, second: int) -> tuple[Shown, list[Reading]]:
        """Two runs on their images, from memory as long as nothing was forgotten or purged in between."""
        if first == second:
            raise UserError("these are the same run; choose two.")
        pair = [self.runs[first], self.runs[second]]
        key = (first, second, *map(_state, pair))
        with self._lock:
            if key not in self._pairs:
                names = [self.names[first], self.names[second]]
                self._pairs[key] = read([opened(run, self.data_dir) for run in pair], names, live=True)
                for stale in [k for k in self._pairs if k[:2] == key[:2] and k != key]:
                    del self._pairs[stale]
                while len(self._pairs) > KEPT:
                    self._pairs.popitem(last=False)
            return self._pairs[key]

    def _pair(self) -> tuple[int, int]:
        """The pair to begin with: the first two; of more, a run that was made to forget beside the one it came from."""
        places = {run.folder.resolve(): i for i, run in enumerate(self.runs)}
        for i, run in enumerate(self.runs):
            source = str(run.read_json(run_files.RECORD).get("source", "")) if len(self.runs) > 2 else ""
            if source and Path(source).resolve() in places:
                return places[Path(source).resolve()], i
        return 0, 1

    def _form(self, first: int, second: int) -> Markup:
        fields = []
        for name, chosen in (("first", first), ("second", second)):
            options = [tag("option", each, value=i, selected=i == chosen) for i, each in enumerate(self.names)]
            fields.append(tag("label", f"{name} run", tag("select", options, name=name)))
        return tag("form", fields, tag("button", "compare"), class_="pick", action="./#compared")

    def _application(self) -> Messages:
        applications, responses, routing = (
            extra(f"starlette.{part}", "compare", "compare") for part in ("applications", "responses", "routing")
        )

        def chosen(values: Any) -> tuple[int, int] | None:
            usual = zip(("first", "second"), self._pair(), strict=True)
            numbers = [str(values.get(key, default)) for key, default in usual]
            if not all(n.isascii() and n.isdigit() and int(n) < len(self.runs) for n in numbers):
                return None
            return int(numbers[0]), int(numbers[1])

        def nothing() -> Any:
            return responses.PlainTextResponse("there is no such page\n", 404)

        def page(request: Any) -> Any:
            pair = chosen(request.query_params)
            return nothing() if pair is None else responses.HTMLResponse(self.page(*pair))

        def picture(request: Any) -> Any:
            pair = chosen(request.path_params)
            try:
                found = None if pair is None else self.picture(*pair, int(request.path_params["number"]))
            except UserError:
                found = None
            return nothing() if found is None else responses.Response(found, media_type="image/png")

        routes = [
            routing.Route("/", page),
            routing.Route("/pictures/{first:int}-{second:int}/{number:int}.png", picture),
        ]
        inner = applications.Starlette(routes=routes)
        return Guard(inner, self.token, lambda: self._socket.getsockname()[1])


class Guard:
    """Lets a request through that names this machine and has the token as the first part of its path; others get 403.

    The name is looked at because a page from elsewhere may have its own name point to this machine.
    """

    def __init__(self, inner: Messages, token: str, port: Callable[[], int]) -> None:
        self.inner, self.token, self.port = inner, token.encode(), port

    async def __call__(self, scope: Scope, receive: Messages, send: Messages) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.inner(scope, receive, send)
            return
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        given, _, rest = str(scope["path"]).removeprefix("/").partition("/")
        allowed = host in {f"{name}:{self.port()}" for name in (LOOPBACK, "localhost")}

        async def sending(message: Scope) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        if not allowed or not secrets.compare_digest(given.encode("utf-8", "replace"), self.token):
            await sending({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send(
                {"type": "http.response.body", "body": b"403: open the whole address that the command printed\n"}
            )
            return
        path = f"/{rest}"
        await self.inner({**scope, "path": path, "raw_path": path.encode()}, receive, sending)


def _state(run: Run) -> tuple[int | None, ...]:
    """Changes when a run is made again, forgets, or is purged."""
    paths = [run.folder / name for name in (run_files.REQUEST, run_files.LEFT_OUT)] + [run.backbone / "config.json"]
    return tuple(path.stat().st_mtime_ns if path.is_file() else None for path in paths)
