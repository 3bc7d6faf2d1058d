"""The HTTP service: recommendations, similar items, search, health, an OpenAPI page and the demo page."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import fastapi_offline
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

import recbole_unisid
from recbole_unisid.serving.recommender import ItemRecommender, Recommendation, RecommenderError

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

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

#: Bytes of a request's body.
MAX_BODY = 1_000_000
#: Items of a history.
MAX_HISTORY = 1_000
#: Items of an answer.
MAX_K = 100
#: Characters of an item's name, and of a search.
MAX_TEXT = 500
#: Bytes of a refused body that are still taken (and dropped): most clients read no answer before they have sent all.
_DRAINED = 100_000_000

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
    codes: list[int] = Field(description="Tokens, coarse to fine; empty where the model has none.")
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
    version: str


class Problem(BaseModel):
    """Why there is no answer."""

    error: str


def create_app(recommender: ItemRecommender, model: str, dataset: str) -> Any:
    """Build the service around a recommender.

    Parameters
    ----------
    recommender : ItemRecommender
        Answers; called from several threads at once.
    model, dataset : str
        Names for the page.

    Returns
    -------
    FastAPI
        An ASGI application.
    """
    app = FastAPI(
        title="recbole_unisid",
        description=f"Recommendations of {model} on {dataset}. [Demo page](/)",
        version=recbole_unisid.__version__,
        docs_url=None,
        redoc_url=None,
        responses={
            code: {"model": Problem, "description": text}
            for code, text in (
                (404, "An unknown item"),
                (413, "A body too large"),
                (422, "Not what is asked for"),
            )
        },
    )
    app.add_middleware(BodyLimit)
    _answer_errors(app)
    _add_questions(app, recommender)
    _add_pages(app)
    levels = 0 if recommender.codes is None else int(recommender.codes.shape[1])
    health = Health(
        status="ok",
        model=model,
        dataset=dataset,
        items=len(recommender),
        levels=levels,
        version=recbole_unisid.__version__,
    )

    @app.get("/health", tags=["service"], summary="Whether the service answers, and what it serves")
    def _health() -> Health:
        return health

    return app


def _add_questions(app: FastAPI, recommender: ItemRecommender) -> None:
    """The three questions; each runs in a thread of its own."""

    @app.post("/recommend", tags=["items"], summary="Recommend for a history")
    def _recommend(asked: History) -> Items:
        return _items(recommender.recommend(asked.history, asked.k, asked.seen))

    @app.get("/similar", tags=["items"], summary="Items like an item")
    def _similar(item: ItemName, k: Annotated[int, Query(ge=1, le=MAX_K)] = 10) -> Items:
        return _items(recommender.similar(item, k))

    @app.get("/items", tags=["items"], summary="Search items by title or name")
    def _search(
        q: Annotated[
            str, Query(max_length=MAX_TEXT, description="Words; none gives items from all over.")
        ] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_K)] = 20,
    ) -> Items:
        return _items(recommender.search(q, limit))


def _items(found: list[Recommendation]) -> Items:
    return Items(
        items=[Item(id=one.id, title=one.title, codes=list(one.codes), score=one.score) for one in found]
    )


def _add_pages(app: FastAPI) -> None:
    """The demo, the OpenAPI page, and their files, all read once, at the start."""
    demo = (_ASSETS / "demo.html").read_text(encoding="utf-8")
    docs = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="recbole_unisid",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/icon.svg",
        swagger_ui_parameters={"validatorUrl": None},  # else a service elsewhere is asked about the schema
    ).body

    @app.get("/", include_in_schema=False)
    def _demo() -> HTMLResponse:
        return HTMLResponse(demo, headers={"Content-Security-Policy": _POLICY})

    @app.get("/docs", include_in_schema=False)
    def _docs() -> HTMLResponse:
        # Swagger UI writes styles and its start into the page.
        return HTMLResponse(docs, headers={"Content-Security-Policy": f"{_POLICY} 'unsafe-inline'"})

    for address, (path, kind) in _FILES.items():
        _add_file(app, address, path.read_bytes(), kind)


def _add_file(app: FastAPI, address: str, content: bytes, kind: str) -> None:
    @app.get(address, include_in_schema=False)
    def _file() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "max-age=3600"})


def _answer_errors(app: FastAPI) -> None:
    """Every error is ``{"error": one line}``; nothing of a request is echoed at length."""

    @app.exception_handler(RecommenderError)
    def _unknown(_request: Request, error: RecommenderError) -> JSONResponse:
        return _problem(404 if str(error).startswith("no item") else 422, str(error))

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return _problem(422, f"the body is no JSON: {first['ctx']['error']}")
        where = ".".join(str(part) for part in first["loc"][1:4])[:80]
        return _problem(422, f"{where}: {first['msg']}"[:300] if where else first["msg"][:300])

    @app.exception_handler(HTTPException)
    def _refused(_request: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail)[:300])


def _problem(status: int, text: str) -> JSONResponse:
    # Half a surrogate pair in a request must not break the answer that names it.
    return JSONResponse({"error": text.encode("utf-8", "backslashreplace").decode("utf-8")}, status)


class BodyLimit:
    """ASGI middleware: a body above the limit is answered 413, whether its length is told or not.

    Parameters
    ----------
    app : ASGI application
    limit : int
        Bytes.
    """

    def __init__(self, app: App, limit: int = MAX_BODY) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        told = headers.get(b"content-length", b"0")
        too_large = not told.isdigit() or len(told) > 18 or int(told) > self.limit
        if too_large and headers.get(b"expect", b"").lower() == b"100-continue":
            await self._refuse(send)  # a client that asks first need not send anything
            return
        # Bodies are small: read here, and handed on in one piece.
        body, taken, more = bytearray(), 0, True
        while more and taken < _DRAINED:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            part = message.get("body", b"")
            taken, more = taken + len(part), message.get("more_body", False)
            too_large = too_large or taken > self.limit
            if not too_large:
                body += part
        if too_large:
            await self._refuse(send)
        else:
            await self.app(scope, _replay(bytes(body), receive), send)

    async def _refuse(self, send: Send) -> None:
        content = json.dumps({"error": f"the body is above {self.limit} bytes."}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, and then what comes next."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
