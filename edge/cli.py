"""The `edge` command."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import logging
import math
import os
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from .cluster.broker.broker import Broker
from .errors import BrokerDown
from .export import export_asyncapi, export_jsonschema, export_typescript
from .server.app import App, site_of
from .server.logs import JsonFormatter
from .server.serve import serve
from .server.signals import open_stop_receiver
from .server.site import Site
from .version import __version__
from .workers import run_workers

if TYPE_CHECKING:
    from .testing.soak import Soaked


# The environment variable with the URL of the broker.
BROKER = "EDGE_BROKER"

LEVELS = ("debug", "info", "warning", "error")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `edge` command with these arguments, by default those of the process. Return the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if hasattr(options, "room"):
        return _soak(parser, options)
    if hasattr(options, "check"):
        return _export(parser, options)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if options.log_level != "debug":
        logging.getLogger("coredis").setLevel(logging.CRITICAL)  # edge itself logs each outage of Redis once
    if options.log == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())
    try:
        app, tls = find_app(options.app), find_tls(options.tls_cert, options.tls_key)
        _set_cluster(site_of(app), options)
    except (ImportError, AttributeError, TypeError, ValueError, OSError) as exc:
        parser.exit(2, f"edge: {exc}\n")
    try:
        if options.workers > 1:
            return _run_workers(parser, options, "http" if tls is None else "https")
        _calm_collector()
        _open_more_files()
        trio.run(_run, app, options.host, options.port, options.drain, tls, options.worker)
    except* OSError as group:
        parser.exit(1, f"edge: {options.host} port {options.port}: {_first(group)}\n")
    except* BrokerDown as group:
        parser.exit(1, f"edge: {_first(group)}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(prog="edge", description="Realtime rooms on Trio.")
    parser.add_argument("--version", action="version", version=f"edge {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    run = commands.add_parser("run", help="serve an app")
    run.add_argument("app", metavar="module:app", help="the App; modules in the current folder can be imported")
    run.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    run.add_argument("--port", type=_port, default=8000, help="port to listen on, 0 for any (default: %(default)s)")
    run.add_argument(
        "--drain",
        type=_duration,
        default=10,
        metavar="SECONDS",
        help="deadline of the drain after SIGTERM (default: 10)",
    )
    run.add_argument("--tls-cert", metavar="FILE", help="serve HTTPS with this certificate (chain), in PEM")
    run.add_argument("--tls-key", metavar="FILE", help="the certificate's private key, in PEM")
    run.add_argument(
        "--broker",
        metavar="URL",
        default=os.environ.get(BROKER) or None,
        help=f"share rooms with other servers: redis://host:port/database (default: ${BROKER}, which keeps a password "
        "out of the process list)",
    )
    run.add_argument("--address", metavar="URL", help="URL of this one server for clients: wss://one.example.org")
    run.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="number of processes that share the port; needs --broker"
    )
    run.add_argument("--worker", metavar="DIRECTORY", type=Path, help=argparse.SUPPRESS)
    run.add_argument("--log", choices=("text", "json"), default="text", help="format of log records (default: text)")
    run.add_argument(
        "--log-level", choices=LEVELS, default="info", help="lowest level to log (default: info; debug logs each seat)"
    )
    soak = commands.add_parser("soak", help="test a room under simulated faults, for hours of virtual time")
    soak.add_argument("room", metavar="module:Room", help="a Room class, or a function that makes a room")
    soak.add_argument("--hours", type=_duration, default=24, help="hours of virtual time (default: 24)")
    soak.add_argument("--seed", type=int, default=0, help="seed of the random scripts (default: 0)")
    soak.add_argument("--play", metavar="module:function", help="async function that plays each Client")
    export = commands.add_parser("export", help="write the events and shared documents of an app for other languages")
    formats = export.add_subparsers(required=True, metavar="format")
    for name, what in (
        ("typescript", "a TypeScript module"),
        ("jsonschema", "JSON Schemas"),
        ("asyncapi", "an AsyncAPI document"),
    ):
        form = formats.add_parser(name, help=f"write {what}")
        form.set_defaults(format=name)
        form.add_argument("app", metavar="module:app", help="the App")
        form.add_argument("-o", "--output", metavar="FILE", help="the file to write (default: standard output)")
        form.add_argument(
            "--check", action="store_true", help="write nothing, and fail if the file is not what would be written"
        )
    return parser


def _export(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Run ``edge export``: write an export, or compare it with a file."""
    if options.check and options.output is None:
        parser.exit(2, "edge: --check needs --output, the file to compare\n")
    try:
        kinds = find_app(options.app).directory.kinds
        match options.format:
            case "typescript":
                text = export_typescript(kinds)
            case "jsonschema":
                text = export_jsonschema(kinds)
            case _:
                text = export_asyncapi(kinds, options.app)
        if options.output is None:
            print(text, end="")
        elif options.check:
            path = Path(options.output)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                parser.exit(1, f"edge: {options.output} is not up to date: run the command without --check\n")
        else:
            Path(options.output).write_text(text, encoding="utf-8")
    except (ImportError, AttributeError, TypeError, ValueError, OSError) as exc:
        parser.exit(2, f"edge: {exc}\n")
    return 0


def _set_cluster(site: Site, options: argparse.Namespace) -> None:
    """Apply the options `--broker` and `--address` to the site of an app, and check the app's keys.

    Raises:
      ImportError: the extra `redis` is not installed.
      ValueError: a URL is invalid, or the app has keys that no other server accepts.
    """
    if options.broker is not None:
        site.cluster = attrs.evolve(site.cluster, broker=find_broker(options.broker))
    if options.address:
        site.cluster = attrs.evolve(site.cluster, address=options.address)
    if options.workers == 1:
        site.check_keys()


def _first(group: BaseException) -> BaseException:
    """Return the first error of a group, or of its nested groups."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def find_broker(url: str) -> Broker:
    """Return the broker for a URL.

    Raises:
      ImportError: the extra `redis` is not installed.
      ValueError: the URL is not a Redis URL.
    """
    try:
        from .cluster.broker.redis import (
            RedisBroker,  # imported here: a single server does not need the extra `redis`
        )
    except ImportError as exc:
        raise ImportError(f"{exc}: install edge-rooms[redis]") from exc
    return RedisBroker(url)


def _run_workers(parser: argparse.ArgumentParser, options: argparse.Namespace, scheme: str) -> int:
    if options.address is not None:
        parser.exit(2, "edge: workers share one port, so a URL cannot name one of them: leave --address out\n")
    if options.broker is None:
        parser.exit(2, "edge: workers share their rooms through a broker: set --broker redis://host:port/database\n")

    os.environ[BROKER] = options.broker  # the URL may have a password, and every local user can read arguments

    def command(port: int, directory: str) -> list[str]:
        passed = [("--host", options.host), ("--port", port), ("--drain", options.drain)]
        passed += [("--log", options.log), ("--log-level", options.log_level)]
        passed += [
            (name, file) for name, file in (("--tls-cert", options.tls_cert), ("--tls-key", options.tls_key)) if file
        ]
        arguments = [str(part) for pair in passed for part in pair]
        return [sys.executable, "-m", "edge.cli", "run", options.app, "--worker", directory, *arguments]

    def tell(port: int) -> None:
        shown = addresses(options.host, port, scheme)
        print(f"edge: {options.workers} workers serving on {' and '.join(shown)}", flush=True)

    trio.run(run_workers, options.workers, options.host, options.port, command, tell)
    return 0


def _calm_collector() -> None:
    """Make Python's garbage collector visit old objects less often.

    A full collection visits every object of every seat. While thousands of clients joined, collections took half of the
    server's time. Collections of new objects are frequent, because each of them delays all messages for as long as it
    takes. The command may change this setting, because its process runs nothing but the server.
    """
    gc.collect()
    gc.freeze()  # imported objects are never freed, so no collection needs to visit them
    gc.set_threshold(1_000, 10, 1_000)


def _open_more_files() -> None:
    """Raise the limit of open file descriptors as far as the system allows, because each connection needs one."""
    try:
        import resource  # imported here: Windows does not have it
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems reject their own value for "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} should be 1 or more")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} should be a port from 0 to 65535")
    return int(text)


def _duration(text: str) -> float:
    try:
        duration = float(text)
    except ValueError:
        duration = math.nan
    if not 0 <= duration < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number, 0 or more")
    return duration


def _soak(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Run ``edge soak``: simulate a room, and print the result."""
    try:
        from .testing.soak import soak  # imported here: a server does not need the extra `testing`
    except ImportError as exc:
        parser.exit(2, f"edge: {exc}: install edge-rooms[testing]\n")
    try:
        make = _find(options.room, "Room")
        play = _find(options.play, "function") if options.play else None
        if not callable(make):
            raise TypeError(f"{options.room} is not a Room class or a function that makes a room")
    except (ImportError, AttributeError, TypeError, ValueError) as exc:
        parser.exit(2, f"edge: {exc}\n")
    began, told = time.monotonic(), 0.0

    def tell(soaked: Soaked) -> None:
        nonlocal told
        if soaked.hours >= told + options.hours / 10:
            told = soaked.hours
            print(f"{_told(soaked)} in {time.monotonic() - began:.0f} s", flush=True)

    logging.disable(logging.WARNING)  # the simulated faults cause warnings
    try:
        soaked = soak(make, hours=options.hours, seed=options.seed, play=play, tell=tell)
    except Exception as exc:
        print("\n".join([f"{type(exc).__name__}: {exc}", *getattr(exc, "__notes__", ())[:1]]))
        return 1
    finally:
        logging.disable(logging.NOTSET)
    print(f"passed: {_told(soaked)} in {time.monotonic() - began:.0f} s")
    return 0


def _told(soaked: Soaked) -> str:
    return f"{soaked.hours:.1f} h, {soaked.scripts} scripts, {soaked.steps} steps, {soaked.events} events"


def find_app(where: str) -> App:
    """Import the app at ``module:name``.

    Raises:
      ImportError, AttributeError, ValueError: the app cannot be found.
      TypeError: the object is not an `App`.
    """
    app = _find(where, "app")
    if not isinstance(app, App):
        raise TypeError(f"{where} is a {type(app).__name__}, not an edge.App")
    return app


def _find(where: str, what: str) -> Any:
    module, _, name = where.partition(":")
    if not name:
        raise ValueError(f"{where!r} should be module:{what}")
    sys.path.insert(0, os.getcwd())
    return getattr(importlib.import_module(module), name)


def find_tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    """Return the TLS context of a certificate file and its key file; None if neither is given.

    Raises:
      OSError: a file cannot be read.
      ValueError: only one of the files is given, or they are not a certificate and its key.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ValueError("--tls-cert and --tls-key go together: give both or neither")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        tls.load_cert_chain(certificate, key)
    except ssl.SSLError as exc:
        raise ValueError(f"{certificate} and {key} are not a certificate and its key: {exc}") from exc
    except OSError as exc:
        raise OSError(f"{certificate} or {key} can't be read: {exc.strerror}") from exc
    return tls


def addresses(host: str, port: int, scheme: str) -> list[str]:
    """Return the URLs of a server. If the server listens on all addresses, the second URL has its network address."""
    anywhere = host in ("0.0.0.0", "::")  # noqa: S104  # compared, not bound
    shown = "localhost" if anywhere or host == "127.0.0.1" else f"[{host}]" if ":" in host else host
    found = [f"{scheme}://{shown}:{port}/"]
    if anywhere:
        # `connect` raises OSError if there is no network
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))  # sends nothing, but chooses a route; RFC 5737: nobody has this address
            found.append(f"{scheme}://{probe.getsockname()[0]}:{port}/")
    return found


async def _run(
    app: App, host: str, port: int, drain_seconds: float, tls: ssl.SSLContext | None, worker_directory: Path | None
) -> None:
    """Serve until a drain ends. SIGTERM or SIGINT starts the drain, and a second signal cuts the drain short.

    In a worker, the end of standard input starts the drain too.

    Args:
      worker_directory: see `serve`. None if this process is not a worker.
    """
    drain = trio.Event()
    with open_stop_receiver() as signals:
        async with trio.open_nursery() as nursery:

            async def serve_and_stop(*, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
                await serve(
                    app,
                    host=host,
                    port=port,
                    drain_seconds=drain_seconds,
                    drain=drain,
                    tls=tls,
                    worker_directory=worker_directory,
                    task_status=task_status,
                )
                nursery.cancel_scope.cancel("served")

            async def drain_with_parent() -> None:
                async with trio.lowlevel.FdStream(os.dup(0)) as parent:
                    async for _ in parent:
                        pass
                drain.set()

            listeners: list[trio.SocketListener] = await nursery.start(serve_and_stop)
            if worker_directory is not None:
                nursery.start_soon(drain_with_parent)
            bound = listeners[0].socket.getsockname()[1]
            shown = addresses(host, bound, "http" if tls is None else "https")
            print(f"edge: serving on {' and '.join(shown)}", flush=True)
            async for _ in signals:
                if drain.is_set():
                    break
                drain.set()
            nursery.cancel_scope.cancel("stopped by a second signal")


if __name__ == "__main__":
    sys.exit(main())
