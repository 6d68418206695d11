"""Whether an ONNX graph holds all that it needs and nothing else, found without a library.

Runtimes follow what a tensor says of its place: OpenVINO opens the file that it names, relative to
the current folder, even for a graph that was given as bytes. So a graph is looked through before a
runtime is given it, on the level of protobuf: fields with a number, and messages within messages.
"""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

__all__ = ["fault_of"]

Bytes: TypeAlias = memoryview

# Of each kind of message the fields, by number, which hold messages that lead to tensors.
INSIDE: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of a TensorProto
DOMAIN = 7  # of a NodeProto
DOMAINS = (b"", b"ai.onnx")
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MAX_DEPTH = 64  # messages within messages


def fault_of(graph: bytes) -> str:
    """What keeps an ONNX file from being run, in words; empty for nothing.

    A tensor that lies in another file; an operator that is not ONNX's own, as some of these open
    files too; bytes that are no protobuf.
    """
    try:
        return next(_faults(memoryview(graph), "ModelProto", 0), "")
    except (ValueError, IndexError):
        return "it is no ONNX file, or is damaged"


def _faults(message: Bytes, kind: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        yield "it is nested too deeply"
        return
    inside = INSIDE[kind]
    for number, value in _fields(message):
        if kind == "TensorProto" and (
            number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)
        ):
            yield "a tensor lies in another file"
        elif kind == "NodeProto" and number == DOMAIN:
            if isinstance(value, int) or bytes(value) not in DOMAINS:
                yield "an operator is not one of ONNX's own"
        elif number in inside and not isinstance(value, int):
            yield from _faults(value, inside[number], depth + 1)


def _fields(message: Bytes) -> Iterator[tuple[int, Bytes | int]]:
    """The number and the value of each field; ValueError or IndexError for what is none."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        length = {FIXED64: 8, FIXED32: 4}.get(wire)
        if wire == LENGTH:
            length, place = _varint(message, place)
        if length is None or place + length > len(message):
            raise ValueError("not a field")
        yield number, message[place : place + length]
        place += length


def _varint(message: Bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("not a number")
