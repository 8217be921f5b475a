"""The conformance suite for transports. edge runs this suite against its own transports. Run it against yours, too.

Parametrize a test by `TRANSPORT_CONFORMANCE`, and call each check with two connected ends::

    @pytest.mark.parametrize("check", edge.testing.TRANSPORT_CONFORMANCE)
    async def test_my_transport(check):
        async with open_my_pair() as (left, right):
            await check(left, right)

The checks do not sleep, so they run on any clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..transports.transport import Transport

Check = Callable[[Transport, Transport], Awaitable[None]]


async def frames_arrive_whole_and_in_order(left: Transport, right: Transport) -> None:
    """Frames arrive whole and in order in both directions: many at once, empty and large, ASCII and other text."""
    frames = ["", "a", "é\u2028🎨", "x" * 60_000, *(str(number) for number in range(100))]

    async def send(end: Transport) -> None:
        await end.send(frames[:3])
        await end.send(frames[3:])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, left)
        nursery.start_soon(send, right)
        assert [await right.receive() for _ in frames] == frames
        assert [await left.receive() for _ in frames] == frames


async def binary_frames_stay_binary(left: Transport, right: Transport) -> None:
    """Bytes arrive as bytes, and text arrives as text."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: left.send([b"\x00\xff", "\x00"]))
        assert await right.receive() == b"\x00\xff"
        assert await right.receive() == "\x00"


async def a_cancelled_receive_loses_nothing(left: Transport, right: Transport) -> None:
    """A frame that arrives after a cancelled `receive` is returned by the next `receive`."""
    with trio.move_on_after(0):
        await right.receive()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: left.send(["kept"]))
        assert await right.receive() == "kept"


async def closing_is_told_with_its_code(left: Transport, right: Transport) -> None:
    """If frames were sent before a close, the frames arrive. Then `receive` raises `EndOfChannel`, and `close_code` is
    the code of the close."""
    async with trio.open_nursery() as nursery:

        async def send_and_close() -> None:
            await left.send(["last words"])
            await left.close(4221, "kicked")

        nursery.start_soon(send_and_close)
        assert await right.receive() == "last words"
        try:
            await right.receive()
        except trio.EndOfChannel:
            assert right.close_code == 4221
        else:
            raise AssertionError("receive() did not raise EndOfChannel after the other end closed")
        await right.close()


async def a_closed_end_refuses(left: Transport, right: Transport) -> None:
    """After `close`, sending and receiving raise `ClosedResourceError`, and closing again has no effect."""
    async with trio.open_nursery() as nursery:

        async def receive_to_the_end() -> None:
            try:
                while True:
                    await right.receive()
            except (trio.EndOfChannel, trio.BrokenResourceError):
                await right.close()

        nursery.start_soon(receive_to_the_end)
        await left.close()
        await left.close()
    for refused in (left.send(["late"]), left.receive()):
        try:
            await refused
        except trio.ClosedResourceError:
            continue
        raise AssertionError("send() or receive() did not raise ClosedResourceError on a closed transport")


async def closing_wakes_who_receives(left: Transport, right: Transport) -> None:
    """A waiting `receive` raises `ClosedResourceError` when its own end is closed, even if the other end sends
    nothing."""
    woken = trio.Event()
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            try:
                await left.receive()
            except trio.ClosedResourceError:
                woken.set()

        async def answer() -> None:
            try:
                await right.receive()
            except (trio.EndOfChannel, trio.BrokenResourceError):
                await right.close()

        nursery.start_soon(receive)
        nursery.start_soon(answer)
        await trio.lowlevel.checkpoint()
        await left.close()
        await woken.wait()


async def a_cancelled_send_breaks_the_transport(left: Transport, right: Transport) -> None:
    """A cancelled send breaks the transport, because part of a frame may be on the wire. The next send raises."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await left.send(["never whole"])
    try:
        await left.send(["after it"])
    except trio.BrokenResourceError:
        return
    raise AssertionError("send() did not raise BrokenResourceError after a cancelled send")


TRANSPORT_CONFORMANCE: list[Check] = [
    frames_arrive_whole_and_in_order,
    binary_frames_stay_binary,
    a_cancelled_receive_loses_nothing,
    closing_is_told_with_its_code,
    a_closed_end_refuses,
    closing_wakes_who_receives,
    a_cancelled_send_breaks_the_transport,
]
