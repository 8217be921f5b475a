"""The guard: where an author's code is called, and where its errors stop.

`except*`, because an error in a clean-up during cancellation arrives beside a `trio.Cancelled` in one group, and a
plain `except` would let both through. The traceback is formatted at once: keeping the exception would keep its frames,
and the players in them.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger("edge.rooms")


async def guarded(
    what: str,
    run: Callable[[], Awaitable[object]],
    *,
    log_context: Mapping[str, object] | None = None,
    on_crash: Callable[[], object] = lambda: None,
) -> bool:
    """Run code that may raise; log what it raises. True if it returned, False if it crashed.

    Args:
      log_context: attributes of the record: ``room``, ``seat``, ``session``.
      on_crash: called if it raised.

    *Cancellation* passes through.
    """
    returned = True
    try:
        await run()
    except* Exception as crash:
        returned = False
        on_crash()
        log.error("%s raised\n%s", what, "".join(traceback.format_exception(crash)), extra=log_context)
    return returned
