"""The server as an ASGI application: its paths, and what each answers."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from segzoo.base.records import Json
from segzoo.errors import UsageError
from segzoo.serve import counters as metrics
from segzoo.serve.asked import AskedFor, UnknownNameError, asked_of
from segzoo.serve.bodies import Bodies
from segzoo.serve.described import openapi
from segzoo.serve.doors import Door, request_id_of
from segzoo.serve.pages import page_routes
from segzoo.serve.problems import Problem, problem_response
from segzoo.serve.processes import Answer, Gone, Late, Overloaded, Processes
from segzoo.serve.settings import ServerSettings

__all__ = ["Server"]

# What an error in a worker is to a client.
STATUS = {"PictureError": 422, "PictureTooLargeError": 413, "UsageError": 422}
# Of a picture, in seconds.
STEPS = ("queue", "load", "decode", "wait", "network", "finish", "total")
Endpoint = Callable[[Request], Awaitable[Response]]


class Server:
    """What stands behind the paths. processes: run the networks; started by who runs the app."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.counters = metrics.Counters()
        self.bodies = Bodies(settings.limits)
        self.processes = Processes(settings, self.counters)
        self.models = [*settings.networks.models]
        self.document = openapi(self.models, token=bool(settings.token))
        self.counters.watch(
            pending=lambda: self.processes.pending,
            pids=lambda: [p.child.pid for p in self.processes.each if p.child is not None],
        )
        self.counters.held.set_function(lambda: self.bodies.held)

    def app(self, *, local: bool, ancestors: str = "'none'") -> ASGIApp:
        """The application. local, ancestors: as `Door` says."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            yield
            await self.processes.stop()

        inner = Starlette(
            routes=self.routes(),
            lifespan=lifespan,
            exception_handlers={HTTPException: self._refused, Exception: self._defect},
        )
        inner.router.redirect_slashes = False
        return Door(inner, token=self.settings.token, local=local, ancestors=ancestors)

    def routes(self) -> list[Route]:
        """Every path that is answered."""
        routes = [
            Route("/predict", self._counted(self.predict), methods=["POST"]),
            Route("/models", self._counted(self.list_models)),
            Route("/health", self.health),
            Route("/ready", self.ready),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.describe),
        ]
        return routes + (page_routes(self.settings) if self.settings.page else [])

    # --- paths ---

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(self, _: Request) -> Response:
        if not self.processes.are_ready:
            raise HTTPException(503, "no worker is ready")
        return JSONResponse({"status": "ready"})

    async def metrics(self, _: Request) -> Response:
        return Response(self.counters.text(), media_type=metrics.CONTENT_TYPE)

    async def describe(self, _: Request) -> Response:
        return JSONResponse(self.document)

    async def list_models(self, _: Request) -> Response:
        known = self.processes.facts
        models = [{"name": n, "loaded": n in known, **known.get(n, {})} for n in self.models]
        return JSONResponse({"models": models})

    async def predict(self, request: Request) -> Response:
        began = time.monotonic()
        asked_of(request.query_params.multi_items(), self.models)  # before the body is received
        if not self.processes.are_ready:
            raise Problem(503, "no worker is ready")
        if self.processes.are_full:
            raise Problem(503, "too many pictures wait")
        async with self.bodies.of(request) as body:
            given = [*request.query_params.multi_items(), *body.fields]
            asked = asked_of(given, self.models)
            as_json = _wants_json(request)
            if len(asked.output) > 1 and not as_json:
                raise Problem(
                    422, "several outputs are given as JSON alone: Accept: application/json"
                )
            answer = await self._answer(request, asked, body.picture)
        record = answer.record
        if record["kind"] == "error":
            status = STATUS.get(record["error"], 500)
            detail = record["message"]
            if status == 413:
                detail += f"; at most {self.settings.networks.max_pixels} pixels are taken"
            raise Problem(status, detail)
        total = time.monotonic() - began
        seconds = {"queue": answer.queued, **record["seconds"], "total": total}
        self._count(asked, record, seconds)
        headers = {"Server-Timing": ", ".join(f"{s};dur={1000 * seconds[s]:.1f}" for s in STEPS)}
        if as_json:
            return _as_json(request, asked, answer, seconds, headers)
        kind, media_type, _ = record["pictures"][0]
        headers["X-Model"] = asked.model
        extension = media_type.rpartition("/")[2]
        headers["Content-Disposition"] = f'inline; filename="{kind}.{extension}"'
        return Response(answer.content, headers=headers, media_type=media_type)

    async def _answer(self, request: Request, asked: AskedFor, picture: bytes) -> Answer:
        """What the processes say, unless the client leaves first."""
        work = asyncio.create_task(self.processes.ask(asked, picture))
        leaving = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Problem(400, "the client left")
            return work.result()
        except Overloaded:
            raise Problem(503, "too many pictures wait") from None
        except Gone:
            raise Problem(503, "the worker ended before it was done") from None
        except Late:
            most = self.settings.limits.answer_seconds
            raise Problem(504, f"the picture was not done in {most:g} s") from None
        finally:
            for task in (work, leaving):
                task.cancel()

    # --- what goes with them ---

    def _count(self, asked: AskedFor, record: dict[str, Any], seconds: dict[str, float]) -> None:
        self.counters.pictures.labels(asked.model).inc()
        self.counters.together.observe(record["together"])
        self.counters.seconds.observe(seconds["total"])
        for step in STEPS[:-1]:
            self.counters.steps.labels(step).observe(seconds[step])

    def _counted(self, endpoint: Endpoint) -> Endpoint:
        """An endpoint whose problems become answers, and whose answers are counted."""

        async def run(request: Request) -> Response:
            try:
                response = await endpoint(request)
            except Problem as problem:
                response = self._told(request, problem)
            except UnknownNameError as error:
                response = self._told(request, Problem(404, str(error)))
            except UsageError as error:
                response = self._told(request, Problem(422, str(error)))
            self.counters.requests.labels(request.url.path, str(response.status_code)).inc()
            return response

        return run

    def _told(self, request: Request, problem: Problem) -> Response:
        as_html = self.settings.page and "text/html" in request.headers.get("accept", "")
        return problem_response(problem, request_id=request_id_of(request.scope), as_html=as_html)

    async def _refused(self, request: Request, error: Exception) -> Response:
        """What Starlette refuses by itself: another path or method."""
        status = getattr(error, "status_code", 500)
        headers = getattr(error, "headers", None)
        said = {404: "there is no such path", 405: "this path is not asked so"}
        return self._told(
            request, Problem(status, said.get(status, getattr(error, "detail", "")), headers)
        )

    async def _defect(self, request: Request, error: Exception) -> Response:
        return self._told(request, Problem(500, f"a defect of segzoo: {type(error).__name__}"))


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


async def _left(request: Request) -> None:
    """Wait until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _as_json(
    request: Request,
    asked: AskedFor,
    answer: Answer,
    seconds: dict[str, float],
    headers: dict[str, str],
) -> Response:
    record, start = answer.record, 0
    pictures: dict[str, Json] = {}
    for kind, media_type, length in record["pictures"]:
        content = answer.content[start : start + length]
        pictures[kind] = {"type": media_type, "base64": base64.b64encode(content).decode()}
        start += length
    body = {
        "request": request_id_of(request.scope),
        "model": asked.model,
        "size": record["size"],
        "num_classes": record["num_classes"],
        "found": record["found"],
        "notes": record["notes"],
        "pictures": pictures,
        "seconds": {step: round(seconds[step], 6) for step in STEPS},
    }
    return Response(json.dumps(body), headers=headers, media_type="application/json")
