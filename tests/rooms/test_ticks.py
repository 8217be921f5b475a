"""`Ticks`, the fixed time step."""

from __future__ import annotations

import pytest
import trio

from edge.rooms.ticks import Ticks


async def test_ticks_keep_absolute_time() -> None:
    """Each step is due at a multiple of the period, however long the loop's body takes. `dt` is constant, and `late` is
    the delay."""
    steps = []
    async for step in Ticks(hz=10, catch_up=5):
        steps.append((round(trio.current_time(), 6), step))
        await trio.sleep(0.25 if step.number == 3 else 0.05)
        if step.number == 7:
            break
    assert [at for at, _ in steps] == pytest.approx([0.1, 0.2, 0.3, 0.55, 0.6, 0.65, 0.7])
    assert [round(step.late, 6) for _, step in steps] == pytest.approx([0, 0, 0, 0.15, 0.1, 0.05, 0])
    assert {step.dt for _, step in steps} == {0.1}
    assert [step.skipped for _, step in steps] == [0] * 7


async def test_ticks_give_up_what_they_cant_catch_up() -> None:
    """After a long loop body, at most `catch_up` of the missed steps are executed, and `skipped` counts the others."""
    steps = []
    async for step in Ticks(hz=10, catch_up=2):
        steps.append(step)
        if step.number == 1:
            await trio.sleep(1.04)
        if step.number == 5:
            break
    assert [step.skipped for step in steps] == [0, 7, 0, 0, 0]
    assert [round(step.late, 2) for step in steps] == [0, 0.24, 0.14, 0.04, 0]
    with pytest.raises(ValueError, match="hz > 0"):
        Ticks(hz=0, catch_up=1)
