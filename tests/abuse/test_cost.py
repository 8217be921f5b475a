"""Tests that no frame takes a server much more CPU time than an ordinary frame (`honest_frame`) of the same size."""

from __future__ import annotations

import copy
import functools
import gc
from collections.abc import Iterator
from itertools import islice, product
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from edge import cli
from edge.protocol.codec import JSON, MESSAGEPACK, Codec, Frame

from .cost import FRAME_BYTES, cpu_seconds, honest_frame, take_in

# The highest CPU time that a frame may take, as a multiple of the CPU time of `honest_frame`.
MOST = 10

ALIKE = [list(row) for row in islice(product((-1, -2), repeat=13), 8192)]


def nested(levels: int, leaves: int) -> dict[str, Any]:
    """Return a tree with one branch. The only invalid value is the last leaf at the end of this branch."""
    tree: dict[str, Any] = {"leaves": [*range(leaves), "not a number"], "below": []}
    for _ in range(levels):
        tree = {"leaves": [], "below": [tree]}
    return tree


def chain(levels: int, end: Any, **fields: Any) -> dict[str, Any]:
    """Return a branch with one branch in each level. The last one is `end`."""
    branch = end
    for _ in range(levels):
        branch = {"of": [branch], **fields}
    return branch  # type: ignore[no-any-return]  # an object unless there are no levels


@pytest.fixture(autouse=True)
def calm_collector() -> Iterator[None]:
    """Run the garbage collector as `edge run` does: a collection would visit all objects of the other tests."""
    before = gc.get_threshold()
    cli._calm_collector()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


PLAIN: dict[str, list[Any]] = {
    "tuples that hash alike": ["rows", {"rows": ALIKE}],
    "sets that hash alike": ["groups", {"groups": [[n, n + 1, n ^ 4096] for n in range(6000)]}],
    "numbers that hash alike": [
        "numbers",
        {"numbers": [m * 2.0 ** (61 * e) for e in range(-17, 17) for m in range(1, 399, 2)]},
    ],
    "many of the same": ["rows", {"rows": [[1]] * 20_000}],
    "a fault at the bottom": ["tree", nested(14, 14_000)],
    "a fault below the deepest level": ["tree", nested(40, 10_000)],
    "a fault at the end": ["draw", {"points": [*[{"x": 1, "y": 1}] * 3000, {"x": 1}]}],
    "objects that may hold objects": ["branches", {"branches": [{}] * 65_000}],
    "objects that may hold objects, and a fault": ["branches", {"branches": [*[{}] * 65_000, 1]}],
    "objects that may hold objects, and a fault below": [
        "branches",
        {"branches": [chain(13, {"of": [*[{}] * 60_000, 1]})]},
    ],
    "objects in objects, and a fault": [
        "branches",
        {"branches": [{"of": [*[{}] * 2000, chain(9, {"of": [{}] * 2000})]}] * 6 + [{"of": 1}]},
    ],
    "objects of a union, and a fault below": [
        "twigs",
        {"twigs": [chain(7, {"type": "Twig", "of": [*[{"type": "Branch"}] * 5000, {"of": 1}]}, type="Twig")]},
    ],
    "objects in a dict, and a fault": ["leaves", {"leaves": {"a": [{}] * 60_000, "b": [{}], "c": [1]}}],
    "trees without fields": ["tree", {"leaves": [], "below": [{}] * 60_000}],
    "fields that are none": ["draw", {f"f{n:04}": n for n in range(5000)}],
    "names": ["scores", {"scores": {f"f{n:04}": n for n in range(5000)}}],
    "names, and a fault": ["scores", {"scores": {**{f"f{n:04}": n for n in range(5000)}, "z": "1"}}],
    "every kind, and a fault": ["mixed", {"mixed": [*[1, 2.5, "a", [], None] * 5000, {}]}],
    "lists in a list": ["mixed", {"mixed": [[]] * 30_000}],
    "lists of an event that is not known": ["unknown", [[]] * 30_000],
    "objects of an event that is not known": ["unknown", [{}] * 30_000],
    "numbers that are hard to read": ["numbers", {"numbers": [1e308, 1e-323, 9e-308, 1.7976931348623157e308] * 3000}],
    "numbers in the wrong place": ["say", {"text": [1e308] * 12_000}],
    "objects of defaults": ["nodes", {"nodes": [{}] * 30_000}],
    "objects in a union, and a fault": ["nodes", {"nodes": [*[{"of": []}] * 8000, {"of": 1.5}]}],
    "objects where lists are wanted": ["lists", {"lists": [{}] * 30_000}],
    "empty lists in a set": ["rows", {"rows": [[]] * 30_000}],
    "empty lists in a list": ["lists", {"lists": [[]] * 30_000}],
    "a long name": ["a" * 65_000, {}],
    "a long text": ["say", {"text": "é" * 30_000}],
    "a text that escapes": ["say", {"text": '\n"\\' * 10_000}],
    "a number for a request": ["say", {}, {"a": [0] * 20_000}],
}
RAW: list[Frame] = [
    b"\x92\xa3say\xdf\x00\x00\x10\x00"
    + b"".join(b"\x9d" + bytes(t) + b"\xc0" for t in islice(product(b"\xff\xfe", repeat=13), 4096)),
    b"\x93\xa3say\x81\xa4text\xa0\xdf\x00\x00\x10\x00"
    + b"".join(b"\x9d" + bytes(t) + b"\xc0" for t in islice(product(b"\xff\xfe", repeat=13), 4096)),
    b"\x92\xa3say" + b"\xdd\x00\x00\xff\xff" * 13_000,
    b"\x92\xa3say" + b"\xdd\x00\x00\xff\xff" * 900 + b"\xc0" * 60_000,
    b"\x92\xa3say" + b"\xdf\x00\x00\xff\xff\xa1a" * 9000,
    '["say",' + "[" * 60_000,
    '["say",' + '{"a":' * 12_000,
    '["say",' + "9" * 60_000 + "]",
    '["say",[' + ("9" * 4000 + ",") * 15 + "1]]",
    '["say",[' + ("0." + "1" * 4000 + "e-300,") * 15 + "1]]",
    '["say",[' + "1e-400," * 9000 + "1]]",
    '["say",[' + "1e308," * 9990 + "1]]",
    '["say",[' + "1e-310," * 9000 + "1]]",
    '["say",[' + "123456789012345678901e-330," * 2400 + "1]]",
    '["say","' + "\\u00e9" * 10_000 + '"]',
    " " * 60_000 + '["say",{"text":"a"}]',
]


def frames() -> list[Any]:
    """Return every known expensive frame as a parameter, in each codec that can carry it."""
    params = [pytest.param(MESSAGEPACK if isinstance(raw, bytes) else JSON, raw) for raw in RAW]
    for codec in (JSON, MESSAGEPACK):
        params += [pytest.param(codec, plain, id=f"{codec.name}: {what}") for what, plain in PLAIN.items()]
    return params


honest_seconds = functools.cache(lambda codec, repeat: cpu_seconds(take_in(codec), honest_frame(codec), repeat))


def check(codec: Codec, frame: Frame) -> None:
    """Fail only if a frame takes too much CPU time in all three measurements, because noise can lengthen one of
    them."""
    for repeat in (2, 5, 15):
        times = cpu_seconds(take_in(codec), frame, repeat) / honest_seconds(codec, repeat)
        if times <= MOST:
            return
    pytest.fail(f"{times:.1f} times an honest frame: {frame[:100]!r}")


def cut(plain: list[Any], codec: Codec) -> Frame:
    """Shorten a message until its frame is at most `FRAME_BYTES` long, and return the frame."""
    while len(frame := codec.encode(plain)) > FRAME_BYTES:
        shorten(plain)
    return frame


def shorten(plain: Any) -> bool:
    """Drop a tenth of the first long list or object in a message, and return True if there was one."""
    if isinstance(plain, list) and len(plain) > 50:
        del plain[: len(plain) // 10]
        return True
    if isinstance(plain, dict) and len(plain) > 50:
        for name in [*plain][: len(plain) // 10]:
            del plain[name]
        return True
    children = plain if isinstance(plain, list) else plain.values() if isinstance(plain, dict) else ()
    return any(shorten(child) for child in children)


@pytest.mark.parametrize(("codec", "frame"), frames())
def test_a_frame_made_to_be_dear(codec: Codec, frame: Any) -> None:
    """Frames with colliding hashes, deep faults, nesting or numbers that are hard to parse take at most ten times the
    CPU time of an honest frame."""
    if isinstance(frame, list):
        frame = cut(copy.deepcopy(frame), codec)
    assert len(frame) <= FRAME_BYTES + 1000
    check(codec, frame)


UNITS = st.one_of(
    st.sampled_from(
        [b"\x90", b"\x80", b"\xc0", b"\x91", b"\x81\xa0", b"\xdd\x00\x00\xff\xff", b"\xa0", b"\xcb" + b"\x01" * 8]
    ),
    st.binary(min_size=1, max_size=6),
)
TOKENS = st.sampled_from(
    [*'[]{},:"', "1", "0.1", "1e9", "1e308", "e-31", "9", "null", '"a"', '"x":', "\\u0041", "[]", "{}"]
)


@hypothesis.settings(deadline=None, max_examples=3 * hypothesis.settings().max_examples // 2)
@hypothesis.given(
    name=st.sampled_from(["say", "rows", "tree", "mixed", "scores", "branches", "leaves", "unknown"]),
    unit=st.lists(UNITS, min_size=1, max_size=4),
    length=st.sampled_from([b"", b"\xdc\xff\xff", b"\xde\xff\xff", b"\xdd\x00\x00\x40\x00", b"\xdf\x00\x00\x40\x00"]),
)
def test_messagepack_that_repeats(name: str, unit: list[bytes], length: bytes) -> None:
    """A MessagePack frame that repeats any bytes takes at most ten times the CPU time of an honest frame."""
    repeated = b"".join(unit)
    head = b"\x92" + bytes([0xA0 + len(name)]) + name.encode() + length
    check(MESSAGEPACK, head + repeated * ((FRAME_BYTES - len(head)) // len(repeated)))


@hypothesis.settings(deadline=None, max_examples=3 * hypothesis.settings().max_examples // 2)
@hypothesis.given(
    name=st.sampled_from(["say", "rows", "tree", "mixed", "scores", "branches", "leaves", "unknown"]),
    opened=st.lists(TOKENS, max_size=4).map("".join),
    unit=st.lists(TOKENS, min_size=1, max_size=5).map("".join),
    ended=st.lists(TOKENS, max_size=4).map("".join),
)
def test_json_that_repeats(name: str, opened: str, unit: str, ended: str) -> None:
    """A JSON frame that repeats any text takes at most ten times the CPU time of an honest frame."""
    head = f'["{name}",{opened}'
    check(JSON, head + unit * ((FRAME_BYTES - len(head)) // len(unit)) + ended)
