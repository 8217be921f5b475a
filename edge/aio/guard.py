"""The guard runs code, usually an author's, and logs the errors that the code raises.

The guard uses `except*`, because an error in a clean-up during cancellation arrives in one group with a
`trio.Cancelled`. A plain `except Exception` would let both through. The traceback is formatted at once, because a
stored exception would keep its stack frames alive, and the players in them.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping

log: logging.Logger = logging.getLogger("edge.rooms")


async def guarded(
    what: str,
    run: Callable[[], Awaitable[object]],
    *,
    log_context: Mapping[str, object] | None = None,
    on_crash: Callable[[], object] = lambda: None,
) -> bool:
    """Run code, and log the error that it raises. Return True if the code returned, False if it raised an error.

    Args:
      run: the code, as an async function.
      what: the name of the code in the log message.
      log_context: attributes of the log record: ``room``, ``seat``, ``session``.
      on_crash: called if the code raised an error.

    *Cancellation* propagates.
    """
    returned = True
    try:
        await run()
    except* Exception as crash:
        returned = False
        on_crash()
        log.error("%s raised\n%s", what, "".join(traceback.format_exception(crash)), extra=log_context)
    return returned
