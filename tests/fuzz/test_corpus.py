"""Every input that was ever worth keeping, and others like them. `make fuzz` looks for more."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis.strategies import DataObject

from .corpus import load
from .targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus(target: str) -> None:
    """None of the kept inputs shows a fault."""
    inputs = load(target)
    assert len(inputs) >= 20
    for data in inputs:
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
@hypothesis.settings(deadline=None, max_examples=2 * hypothesis.settings().max_examples)
@hypothesis.given(drawn=st.data())
def test_inputs_like_them(target: str, drawn: DataObject) -> None:
    """Nor does any that is made of their parts, with something else in between."""
    kept = st.sampled_from(load(target))
    parts = drawn.draw(st.lists(st.tuples(kept, st.integers(0, 600), st.binary(max_size=3)), min_size=1, max_size=3))
    TARGETS[target](b"".join(part[:cut] + other for part, cut, other in parts))
