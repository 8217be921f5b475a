"""What every transport must do: one suite, run against each of them, and against yours.

Parametrize a test by `TRANSPORT_CONFORMANCE` and call each with two connected ends::

    @pytest.mark.parametrize("check", edge.testing.TRANSPORT_CONFORMANCE)
    async def test_my_transport(check):
        async with open_my_pair() as (left, right):
            await check(left, right)

The checks take no time of their own, so they run on any clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..transports.transport import Transport

Check = Callable[[Transport, Transport], Awaitable[None]]


async def frames_arrive_whole_and_in_order(left: Transport, right: Transport) -> None:
    """Both ways, many at once, small and large, text that is not ASCII."""
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
    """Bytes are not mistaken for text, nor text for bytes."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: left.send([b"\x00\xff", "\x00"]))
        assert await right.receive() == b"\x00\xff"
        assert await right.receive() == "\x00"


async def a_cancelled_receive_loses_nothing(left: Transport, right: Transport) -> None:
    """A frame that comes after a cancelled receive is given to the next."""
    with trio.move_on_after(0):
        await right.receive()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: left.send(["kept"]))
        assert await right.receive() == "kept"


async def closing_is_told_with_its_code(left: Transport, right: Transport) -> None:
    """What was sent before the close arrives; then the end of the channel, and the code."""
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
            raise AssertionError("the close was not noticed")
        await right.close()


async def a_closed_end_refuses(left: Transport, right: Transport) -> None:
    """After `close`, this end sends and receives no more, and closing again does nothing."""
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
        raise AssertionError("a closed transport went on")


async def closing_wakes_who_receives(left: Transport, right: Transport) -> None:
    """Whoever waits for a frame hears that this end has closed, though the other says nothing."""
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
    """After a send was cancelled midway nothing more is sent: part of a frame may be on the wire."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await left.send(["never whole"])
    try:
        await left.send(["after it"])
    except trio.BrokenResourceError:
        return
    raise AssertionError("sent after a cancelled send")


TRANSPORT_CONFORMANCE: list[Check] = [
    frames_arrive_whole_and_in_order,
    binary_frames_stay_binary,
    a_cancelled_receive_loses_nothing,
    closing_is_told_with_its_code,
    a_closed_end_refuses,
    closing_wakes_who_receives,
    a_cancelled_send_breaks_the_transport,
]
