"""Build edge.js from its modules: ``python -m edge.client.build PATH_OF_ESBUILD``, or ``make client``.

Python defines the constants that Python and JavaScript share. `constants` returns them as a JavaScript module.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..codes import Code, Retry
from ..protocol import clock, connection, messages, records
from ..protocol.codec import VERSION
from ..protocol.limits import Limits
from ..transports.http import client as http
from ..transports.http import transport as http_transport
from . import client, fallback, join, url

SOURCE = Path(__file__).parent / "js" / "src"
BUILT = Path(__file__).parent / "js" / "dist"
# The modules that pages load. The bundle of each contains the other modules that it imports.
ENTRIES = ("edge.js", "edge-http.js", "edge-motion.js")


def constants() -> str:
    """Return the source code of constants.js."""
    limits = Limits()
    conversation = {
        state.value: {_kind(message): following.value for message, following in table.items()}
        for state, table in connection.CONVERSATION.items()
    }
    sender = {_kind(message): side.value for message, side in connection.SENDER.items()}
    values: dict[str, Any] = {
        "VERSION": VERSION,
        "LIMITS": {
            "heartbeat": limits.heartbeat,
            "deadAfter": limits.dead_after,
            "ackFrames": limits.ack_frames,
            "ackBytes": limits.most_unacked[1],
            "messageBytes": limits.message_bytes,
        },
        "WINDOW_FRAMES": limits.window_frames,
        "WINDOW_BYTES": limits.window_bytes,
        "ACK_SECONDS": limits.ack_seconds,
        "MAX_NAME_BYTES": messages.MAX_NAME_BYTES,
        "MAX_OPTIONS_BYTES": messages.MAX_OPTIONS_BYTES,
        "CHECK_SECONDS": connection.CHECK_SECONDS,
        "MAX_PINGED": connection.MAX_PINGED,
        "CLOCK_SECONDS": connection.CLOCK_SECONDS,
        "CLOCK_SAMPLES": clock.SAMPLES,
        "CLOCK_SLEW": clock.SLEW,
        "CLOCK_JUMP": clock.JUMP,
        "CLOCK_DRIFT": clock.DRIFT,
        "WELCOME_SECONDS": {kind.value: seconds for kind, seconds in fallback.WELCOME_SECONDS.items()},
        "STABLE_SECONDS": fallback.STABLE_SECONDS,
        "MAX_STRIKES": fallback.MAX_STRIKES,
        "UPWARD_SECONDS": fallback.UPWARD_SECONDS,
        "HELD_SECONDS": fallback.HELD_SECONDS,
        "MAX_UPWARD_SECONDS": fallback.MAX_UPWARD_SECONDS,
        "PROBE_SECONDS": url.PROBE_SECONDS,
        "AGAIN_SECONDS": client.AGAIN_SECONDS,
        "AGAIN_ATTEMPTS": client.AGAIN_ATTEMPTS,
        "KEY_FUNCTION_SECONDS": client.KEY_SECONDS,
        "MAX_REPORTED": client.MAX_REPORTED,
        "SHORTEST_WAIT": join.SHORTEST_WAIT,
        "LONGEST_WAIT": join.LONGEST_WAIT,
        "HTTP": {
            "lost": Code.LOST.value,
            "holdSeconds": round(http_transport.HOLD_SECONDS * 1.1, 3),
            "requestSeconds": http.REQUEST_SECONDS,
            "pauseSeconds": http.PAUSE_SECONDS,
            "maxFailures": http.MAX_FAILURES,
            "postBytes": http_transport.POST_BYTES,
            "recordHeadBytes": records.MAX_HEAD_BYTES,
        },
    }
    codes = ", ".join(f"{code.name}: {code.value}" for code in Code)
    retries = {str(code // 100): code.retry.value for code in Code}
    lines = [
        "// @ts-check",
        "/** The constants that Python and JavaScript share. `make client` writes this module: do not edit it. */",
        "",
        "/** Why a connection or a seat ended: the codes of goodbyes, also WebSocket close codes. */",
        f"export const Code = /* @__PURE__ */ Object.freeze({{ {codes} }});",
        "",
        '/** The reaction to a code, by its first two digits. @type {Record<string, "resume" | "fresh" | "never">} */',
        f"const RETRY = {_literal(retries)};",
        "",
        "/** The reaction to a code: resume the seat, start fresh, or never reconnect. @param {number} code */",
        "export function retryAfter(code) {",
        f"  const hundred = code === 1009 ? {Code.of(1009) // 100} : Math.floor(code / 100);",
        f"  return RETRY[hundred] ?? {_literal(Retry.RESUME.value)};",
        "}",
        "",
        f"/** @typedef {{{' | '.join(_literal(state) for state in conversation)}}} ConnectionState */",
        "/** The state after each message, by the state before it.",
        " * @type {Record<string, Record<string, ConnectionState>>} */",
        f"export const CONVERSATION = {_literal(conversation)};",
        "/** The sender of each message that only one side may send. @type {Record<string, string>} */",
        f"export const SENDER = {_literal(sender)};",
        "",
        *(f"export const {name} = {_literal(value)};" for name, value in values.items()),
    ]
    return "\n".join(lines) + "\n"


def build(esbuild: str, built: Path = BUILT) -> None:
    """Bundle and minify the modules that pages load, with source maps.

    Args:
      esbuild: the path of the esbuild program.
      built: the folder for the bundles and source maps.

    Raises:
      CalledProcessError: esbuild rejects a module.
    """
    options = [
        "--bundle",
        "--format=esm",
        "--target=es2022",
        "--minify",
        "--charset=utf8",
        "--legal-comments=none",
        "--sourcemap=linked",
        "--log-level=warning",
    ]
    for module in ENTRIES:
        # kept out of the bundle: edge.js loads the HTTP transport only if it needs it
        apart = ["--external:./edge-http.js"] if module == "edge.js" else []
        command = [str(Path(esbuild).absolute()), module, *options, *apart, f"--outfile={built / module}"]
        subprocess.run(command, cwd=SOURCE, check=True)  # noqa: S603  # the caller chose the program


def _kind(message: type[object]) -> str:
    return message.__name__.lower()


def _literal(value: Any) -> str:
    """Return a value as JavaScript source, with numbers as short as possible."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {_literal(each)}" for key, each in value.items()) + " }" if value else "{}"
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    return json.dumps(value)


if __name__ == "__main__":
    (SOURCE / "constants.js").write_text(constants())
    build(sys.argv[1])
