"""What a client is told when a request fails: a sentence, as JSON (RFC 9457) or as HTML."""

import html
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import HTMLResponse, JSONResponse, Response

__all__ = ["Problem", "problem_response"]

MEDIA_TYPE = "application/problem+json"
TRY_AGAIN = {"Retry-After": "2"}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="style.css">
<main class="problem"><h1>{title}</h1><p>{detail}</p><p><a href="./">Back</a></p></main></html>
"""


class Problem(Exception):
    """A request that fails. detail: a sentence for whoever sent it."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = dict(TRY_AGAIN if status == 503 else {}) | dict(headers or {})
        if status == 408:
            self.headers["Connection"] = "close"


def problem_response(problem: Problem, *, request_id: str, as_html: bool = False) -> Response:
    """As HTML where a person's browser sent a form."""
    title = HTTPStatus(problem.status).phrase
    if as_html:
        page = PAGE.format(title=html.escape(title), detail=html.escape(problem.detail))
        return HTMLResponse(page, problem.status, problem.headers)
    record = {
        "title": title,
        "status": problem.status,
        "detail": problem.detail,
        "request": request_id,
    }
    return JSONResponse(record, problem.status, problem.headers, media_type=MEDIA_TYPE)
