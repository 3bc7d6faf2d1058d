"""The HTTP service: recommendations, similar items, search, health, an OpenAPI page and the demo page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import fastapi_offline
from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import recbole_unisid
from recbole_unisid.serving.metrics import METRICS_TYPE, Metrics
from recbole_unisid.serving.recommender import ItemRecommender, Recommendation, Recommender, RecommenderError

_ASSETS = Path(__file__).with_name("assets")
_SWAGGER = Path(fastapi_offline.__file__).with_name("static")
#: Nothing from elsewhere: neither scripts nor pictures nor requests.
_POLICY = (
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; default-src 'self'"
)
#: The files that pages ask for: address -> file, type. A request never names a path.
_FILES = {
    "/demo.css": (_ASSETS / "demo.css", "text/css"),
    "/demo.js": (_ASSETS / "demo.js", "text/javascript"),
    "/icon.svg": (_ASSETS / "icon.svg", "image/svg+xml"),
    "/docs/swagger-ui.css": (_SWAGGER / "swagger-ui.css", "text/css"),
    "/docs/swagger-ui-bundle.js": (_SWAGGER / "swagger-ui-bundle.js", "text/javascript"),
}
#: Names of this machine, for itself.
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
#: Bytes of a request's body, items of a history and of an answer, characters of an item's name and of a search.
MAX_BODY, MAX_HISTORY, MAX_K, MAX_TEXT = 1_000_000, 1_000, 100, 500
#: Says in each answer which version it is of.
VERSION_HEADER = "x-model-version"
#: Up to so many items an export answers faster than a thread is found for it; see results/serving.md.
_FEW_ITEMS = 100_000
_PROBLEMS = {
    400: "the Host header names no host of this service; serve --allowed_hosts=NAME adds one.",
    408: "the request took too long to arrive.",
    413: f"the body is above {MAX_BODY} bytes.",
    500: "the service has failed at this request; its log says more.",
    503: "the service has no room for this request, or is stopping.",
}

_REFUSALS = {404: "An unknown item", 413: "A body too large", 422: "Not what is asked for"}

ItemName = Annotated[str, Field(max_length=MAX_TEXT, description="An item's name in the data set.")]
Count = Annotated[int, Field(ge=1, le=MAX_K, description="Items wanted.")]


class History(BaseModel):
    """What to recommend for."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"example": {"history": ["1", "2"], "k": 10}}
    )
    history: list[ItemName] = Field(
        min_length=1, max_length=MAX_HISTORY, description="Names of items, oldest first."
    )
    k: Count = 10
    seen: bool = Field(False, description="Whether items of the history may be recommended again.")


class Item(BaseModel):
    """An item, with its score where one was asked for."""

    id: str
    title: str
    codes: tuple[int, ...] = Field(description="Tokens, coarse to fine; empty where the model has none.")
    score: float


class Items(BaseModel):
    """A list of items, best first."""

    items: list[Item]


class Health(BaseModel):
    """What is being served."""

    status: str
    model: str
    dataset: str
    items: int
    levels: int = Field(description="Tokens of an item; 0 where the model has none.")
    version: str = Field(description="Of recbole_unisid.")
    model_version: str = Field(description="Of the model: its name among versions, or its run's.")


class Problem(BaseModel):
    """Why there is no answer."""

    error: str


class Served(NamedTuple):
    """A recommender, which is asked from several threads, and what it is called."""

    recommender: ItemRecommender
    model: str
    dataset: str
    version: str

    @property
    def is_fast(self) -> bool:
        """Whether it answers faster than a thread is found for it."""
        return isinstance(self.recommender, Recommender) and len(self.recommender) <= _FEW_ITEMS


class Service:
    """The application around what is served, and the place of what is served, where another may be put any time.

    A request is answered by the one that was there when it came. Hosts are as in :func:`.server.serve`.
    """

    def __init__(self, served: Served, allowed_hosts: Sequence[str] = LOOPBACK) -> None:
        self.metrics = Metrics()
        self.put(served)
        self.app = _create_app(self, allowed_hosts)

    def put(self, served: Served) -> None:
        """Serve this from here on."""
        self.served = served
        self.metrics.serve(served.version, len(served.recommender))


def _create_app(service: Service, allowed_hosts: Sequence[str]) -> ASGIApp:
    model, dataset = service.served.model, service.served.dataset
    app = FastAPI(
        title="recbole_unisid",
        description=f"Recommendations of {model} on {dataset}. [Demo page](/)",
        version=recbole_unisid.__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={code: {"model": Problem, "description": text} for code, text in _REFUSALS.items()},
    )
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts), www_redirect=False)
    _answer_errors(app)
    _add_questions(app, service)
    _add_pages(app)

    @app.get("/health", tags=["service"], summary="Whether the service answers, and what it serves")
    async def _health() -> Health:
        recommender, model, dataset, version = service.served
        levels = 0 if recommender.codes is None else int(recommender.codes.shape[1])
        served: dict[str, Any] = {"model": model, "dataset": dataset, "model_version": version}
        sizes: dict[str, Any] = {"items": len(recommender), "levels": levels}
        return Health(status="ok", version=recbole_unisid.__version__, **served, **sizes)

    @app.get("/metrics", tags=["service"], summary="Counts and times of requests, for Prometheus")
    async def _metrics() -> Response:
        return Response(service.metrics.exposition(), media_type=METRICS_TYPE)

    return _ProblemsAsJson(app, service.metrics)


def _add_questions(app: FastAPI, service: Service) -> None:
    """The three questions; one that may take long runs in a thread of its own."""

    async def answer(served: Served, question: Callable[..., list[Recommendation]], *asked: Any) -> Response:
        found = question(*asked) if served.is_fast else await run_in_threadpool(question, *asked)
        # The recommender's own values need no check, which would take longer than to find them.
        body, said = to_json({"items": [one._asdict() for one in found]}), {VERSION_HEADER: served.version}
        return Response(body, media_type="application/json", headers=said)

    async def recommend(asked: History) -> Response:
        served = service.served
        return await answer(served, served.recommender.recommend, asked.history, asked.k, asked.seen)

    told: dict[str, Any] = {"tags": ["items"], "summary": "Recommend for a history", "response_model": Items}
    app.router.add_api_route(
        "/recommend", recommend, methods=["POST"], route_class_override=_HistoryRoute, **told
    )

    @app.get("/similar", tags=["items"], summary="Items like an item", response_model=Items)
    async def _similar(item: ItemName, k: Annotated[int, Query(ge=1, le=MAX_K)] = 10) -> Response:
        return await answer(service.served, service.served.recommender.similar, item, k)

    @app.get("/items", tags=["items"], summary="Search items by title or name", response_model=Items)
    async def _search(
        q: Annotated[
            str, Query(max_length=MAX_TEXT, description="Words; none gives items from all over.")
        ] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_K)] = 20,
    ) -> Response:
        return await answer(service.served, service.served.recommender.search, q, limit)


class _HistoryRoute(APIRoute):
    """A route for a :class:`History`, read by pydantic alone: FastAPI's general way takes as long as the answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's way to say how a route reads its requests."""
        general = super().get_route_handler()

        async def read(request: Request) -> Response:
            if request.headers.get("content-type", "").startswith("application/json"):
                try:
                    asked = History.model_validate_json(await request.body())
                except ValidationError:
                    pass  # the general way says what is wrong
                else:
                    answer: Response = await self.endpoint(asked)
                    return answer
            return await general(request)

        return read


def _add_pages(app: FastAPI) -> None:
    """The demo, the OpenAPI page, and their files, all read once, at the start."""
    demo = (_ASSETS / "demo.html").read_bytes()
    docs = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="recbole_unisid",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/icon.svg",
        swagger_ui_parameters={"validatorUrl": None},  # else a service elsewhere is asked about the schema
    ).body
    _add_page(app, "/", HTMLResponse(demo, headers={"Content-Security-Policy": _POLICY}))
    # Swagger UI writes styles and its start into the page.
    unsafe = {"Content-Security-Policy": f"{_POLICY} 'unsafe-inline'"}
    _add_page(app, "/docs", HTMLResponse(docs, headers=unsafe))
    for address, (path, kind) in _FILES.items():
        kept = {"Cache-Control": "max-age=3600"}
        _add_page(app, address, Response(path.read_bytes(), media_type=kind, headers=kept))


def _add_page(app: FastAPI, address: str, page: Response) -> None:
    @app.get(address, include_in_schema=False)
    async def _page() -> Response:
        return page


def _answer_errors(app: FastAPI) -> None:
    """Every error is ``{"error": one line}``; nothing of a request is echoed at length."""

    @app.exception_handler(RecommenderError)
    def _unknown(_request: Request, error: RecommenderError) -> JSONResponse:
        return problem(404 if str(error).startswith("no item") else 422, str(error))

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return problem(422, f"the body is no JSON: {first['ctx']['error']}")
        where = ".".join(str(part) for part in first["loc"][1:4])[:80]
        return problem(422, f"{where}: {first['msg']}"[:300] if where else first["msg"][:300])

    @app.exception_handler(HTTPException)
    def _refused(_request: Request, error: HTTPException) -> JSONResponse:
        said = _PROBLEMS.get(error.status_code, "") if error.status_code == 413 else ""
        return problem(error.status_code, said or str(error.detail)[:300], error.headers)


def problem(status: int, text: str = "", headers: Any = None) -> JSONResponse:
    """An answer that says in one line why there is none; some statuses have a line of their own."""
    # Half a surrogate pair in a request must not break the answer that names it.
    line = (text or _PROBLEMS[status]).encode("utf-8", "backslashreplace").decode("utf-8")
    return JSONResponse({"error": line}, status, headers)


class _ProblemsAsJson:
    """Around all, in ASGI: refusals of any layer are JSON, HEAD is GET (uvicorn sends no body), answers are counted."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, replaced, begun = False, False, time.perf_counter()
        more = all(name != b"expect" for name, _ in scope["headers"])  # who asks first need not send anything

        async def receive_on() -> Message:
            nonlocal more
            message = await receive()
            more = bool(message.get("more_body"))
            return message

        async def send_on(message: Message) -> None:
            nonlocal started, replaced
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
                self._metrics.count(scope["path"], status, time.perf_counter() - begun)
                while status >= 400 and more:  # most clients read no answer before they have sent all
                    await receive_on()
                if status in _PROBLEMS and (b"content-type", b"application/json") not in message["headers"]:
                    replaced = True
                    await problem(status)(scope, receive, send)
            if not replaced:
                await send(message)

        try:
            inner = dict(scope, method="GET") if scope["method"] == "HEAD" else scope
            await self.app(inner, receive_on, send_on)
        except ClientDisconnect:
            pass  # nobody waits for an answer
        except asyncio.CancelledError:  # the service stops, and this took too long
            if not started:
                await problem(503)(scope, receive, send)
