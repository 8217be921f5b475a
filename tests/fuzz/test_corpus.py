"""Tests of edge with the saved fuzz inputs, and with inputs made of their parts. `make fuzz` searches for more
inputs."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis.strategies import DataObject

from .corpus import load
from .targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus(target: str) -> None:
    """No saved input makes its fuzz target fail."""
    inputs = load(target)
    assert len(inputs) >= 20
    for data in inputs:
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
@hypothesis.settings(deadline=None, max_examples=2 * hypothesis.settings().max_examples)
@hypothesis.given(drawn=st.data())
def test_inputs_like_them(target: str, drawn: DataObject) -> None:
    """No input that consists of parts of saved inputs and other bytes makes its fuzz target fail."""
    kept = st.sampled_from(load(target))
    parts = drawn.draw(st.lists(st.tuples(kept, st.integers(0, 600), st.binary(max_size=3)), min_size=1, max_size=3))
    TARGETS[target](b"".join(part[:cut] + other for part, cut, other in parts))
