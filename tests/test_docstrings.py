"""Every public function has a docstring, and the docstring of an async function describes its cancellation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import edge
import edge.bots
import edge.testing

# Only connection drivers call these methods of `Client`, so they need no docstring for applications.
OF_DRIVERS = {"deliver", "has_space", "refuse", "wait_space"}


def public_callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the name and the function of each public function and method that edge defines."""
    modules: tuple[ModuleType, ...] = (edge, edge.testing, edge.bots)
    for module in modules:
        for name, value in vars(module).items():
            exported = getattr(module, "__all__", None)
            where = getattr(value, "__module__", "")
            if name.startswith("_") or (name not in exported if exported else where != module.__name__):
                continue
            if inspect.isclass(value):
                members = inspect.getmembers(value, inspect.isfunction)
                own = [(each, function) for each, function in members if function.__module__.startswith("edge")]
                yield from (
                    (f"{module.__name__}.{name}.{each}", function)
                    for each, function in own
                    if not each.startswith("_") and each not in OF_DRIVERS
                )
            elif inspect.isfunction(value):
                yield f"{module.__name__}.{name}", value


CALLABLES = dict(public_callables())


def test_some_are_found() -> None:
    """`public_callables` finds callables to check."""
    assert len(CALLABLES) > 80
    assert {"edge.Room.open_round", "edge.join", "edge.testing.RoomUnderTest.join"} <= CALLABLES.keys()


@pytest.mark.parametrize("name", CALLABLES)
def test_a_public_callable_has_a_docstring(name: str) -> None:
    """Every public function has a docstring; the docstring of every async function has a paragraph about
    cancellation."""
    function = CALLABLES[name]
    text = inspect.getdoc(function)
    assert text, "the function has no docstring; CONTRIBUTING.md says how to write it"
    plain = inspect.unwrap(function)
    if inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain):
        assert "*Cancellation*" in text, (
            "the docstring needs a paragraph *Cancellation*: that says what a cancellation loses"
        )
