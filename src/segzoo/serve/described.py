"""The server's description, as OpenAPI has it, from the table by which requests are read."""

from collections.abc import Iterable
from importlib import metadata

from segzoo.base.records import Json
from segzoo.serve.asked import PARAMETERS
from segzoo.serve.problems import MEDIA_TYPE

__all__ = ["openapi"]

PROBLEMS = {
    400: "No picture, or a request that is broken",
    401: "The token is missing or wrong",
    403: "A page of another site sent this",
    404: "There is no such model, or no such path",
    405: "This path is not asked so",
    408: "The request came too slowly",
    413: "Too many bytes, or too many pixels",
    415: "Neither a picture nor a form",
    421: "Another host is meant",
    422: "A parameter that does not exist or cannot be, or a picture that cannot be read",
    500: "The model failed for this picture",
    503: "Too much to do, or nobody there to do it: try again",
    504: "The picture took too long",
}
EVERYWHERE = (401, 421)
OF_PICTURES = (400, 401, 403, 404, 408, 413, 415, 421, 422, 500, 503, 504)
BINARY: Json = {"schema": {"type": "string", "format": "binary"}}
PICTURE_TYPES = ("image/png", "image/webp")


def openapi(models: Iterable[str], *, token: bool) -> Json:
    """The document at `/openapi.json`. token: whether one is wanted."""
    names = [*models]
    model = {"type": "string", "enum": names, "default": names[0]}
    about = "Which of the models of `/models`."
    parameters = [("model", about, model)]
    parameters += [(p.name, p.about, p.schema) for p in PARAMETERS]
    document: dict[str, Json] = {
        "openapi": "3.1.0",
        "info": {
            "title": "segzoo",
            "version": metadata.version("segzoo-core"),
            "description": "Pictures to masks and cut-outs.",
        },
        "paths": {
            "/predict": {"post": _predict(parameters)},
            "/models": {"get": _get("Which models there are", _schema("Models"))},
            "/health": {"get": _get("Whether the server lives", _schema("Status"), is_open=True)},
            "/ready": {
                "get": _get("Whether it can answer", _schema("Status"), (503,), is_open=True)
            },
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _get("This document", {"type": "object"})},
        },
        "components": {
            "schemas": {
                "Answer": _answer(),
                "Models": _models(names),
                "Problem": _problem(),
                "Status": {
                    "type": "object",
                    "required": ["status"],
                    "properties": {"status": {"type": "string"}},
                },
            }
        },
    }
    if token:
        schemes = {"bearer": {"type": "http", "scheme": "bearer"}}
        document["components"]["securitySchemes"] = schemes
        document["security"] = [{"bearer": []}]
        for path in ("/health", "/ready"):
            document["paths"][path]["get"]["security"] = []
    return document


def _schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _problems(codes: Iterable[int]) -> Json:
    content = {MEDIA_TYPE: {"schema": _schema("Problem")}}
    return {str(code): {"description": PROBLEMS[code], "content": content} for code in codes}


def _get(summary: str, schema: Json, more: tuple[int, ...] = (), *, is_open: bool = False) -> Json:
    found = {"description": summary, "content": {"application/json": {"schema": schema}}}
    codes = (421,) if is_open else EVERYWHERE
    return {"summary": summary, "responses": {"200": found, **_problems((*codes, *more))}}


def _metrics() -> Json:
    content = {"text/plain": {"schema": {"type": "string"}}}
    found = {"description": "In the format of Prometheus", "content": content}
    return {"summary": "What was done", "responses": {"200": found, **_problems(EVERYWHERE)}}


def _predict(parameters: list[tuple[str, str, Json]]) -> Json:
    fields = {name: {**schema, "description": about} for name, about, schema in parameters}
    fields["output"] = {"type": "string", "description": "Names with commas between them."}
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {
        "type": "object",
        "required": ["file"],
        "additionalProperties": False,
        "properties": {"file": {**file, "description": "The picture."}, **fields},
    }
    raw = {kind: BINARY for kind in ("image/*", "application/octet-stream")}
    pictures = {kind: BINARY for kind in PICTURE_TYPES}
    return {
        "summary": "A picture to what is seen in it",
        "description": "The answer is the picture that was asked for; with Accept: "
        "application/json it is a record with all of them, sizes and seconds. Parameters stand in "
        "the address, or in the form beside the picture.",
        "parameters": [
            {"name": name, "in": "query", "description": about, "schema": schema}
            | ({"style": "form", "explode": False} if schema["type"] == "array" else {})
            for name, about, schema in parameters
        ],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}, **raw},
        },
        "responses": {
            "200": {
                "description": "The picture, or the record",
                "content": {**pictures, "application/json": {"schema": _schema("Answer")}},
            },
            **_problems(OF_PICTURES),
        },
    }


def _answer() -> Json:
    number = {"type": "number"}
    picture = {
        "type": "object",
        "required": ["type", "base64"],
        "properties": {"type": {"enum": [*PICTURE_TYPES]}, "base64": {"type": "string"}},
    }
    return {
        "type": "object",
        "required": [
            "request",
            "model",
            "size",
            "num_classes",
            "found",
            "notes",
            "pictures",
            "seconds",
        ],
        "properties": {
            "request": {"type": "string"},
            "model": {"type": "string"},
            "size": {
                "type": "array",
                "description": "(height, width), upright",
                "items": {"type": "integer"},
            },
            "num_classes": {"type": "integer"},
            "found": {
                "type": "object",
                "description": "Pixels of each class in the mask",
                "additionalProperties": {"type": "integer"},
            },
            "notes": {"type": "array", "items": {"type": "string"}},
            "pictures": {"type": "object", "additionalProperties": picture},
            "seconds": {"type": "object", "additionalProperties": number},
        },
    }


def _models(names: list[str]) -> Json:
    model = {
        "type": "object",
        "required": ["name", "loaded"],
        "properties": {"name": {"enum": names}, "loaded": {"type": "boolean"}},
    }
    return {
        "type": "object",
        "required": ["models"],
        "properties": {"models": {"type": "array", "items": model}},
    }


def _problem() -> Json:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["title", "status", "detail", "request"],
        "properties": {
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "request": text,
        },
    }
