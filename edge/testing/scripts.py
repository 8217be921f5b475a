"""Generates scripts with hypothesis: lists of random steps of clients and of the network, with random events."""

from __future__ import annotations

import enum
import functools
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeVar
from uuid import UUID

import hypothesis
import hypothesis.strategies as st

from ..client.fallback import TransportKind
from ..protocol.events import EventType, Vocabulary
from ..protocol.field_kinds import (
    REGISTERED,
    Json,
    fields_of,
    is_named_tuple,
    is_object,
    is_typed_dict,
    is_union,
    items_of,
    required_items,
    resolve,
)
from ..protocol.field_types import MAX_INTEGER
from ..protocol.limits import Limits
from ..protocol.unstructure import unstructure
from ..rooms.room import Room, kind_of
from .coverage import Coverage, Search, SimulationWarning
from .simulation import example_of, simulate
from .steps import (
    SIDES,
    Ask,
    Drop,
    DropAfter,
    Join,
    Jump,
    Leave,
    Offline,
    Online,
    Reset,
    Send,
    SendWrong,
    Stall,
    Step,
    Tab,
    Tunnel,
    Wait,
    Weather,
)
from .town import Play

F = TypeVar("F", bound=Callable[[Any], object])

NAMES = ("ana", "ben", "cyn", "dan", "eve")
# The seconds that steps wait. The values go from 0 to more than a usual grace, so that deadlines expire between steps
# and during steps.
SECONDS = (0.0, 0.1, 0.5, 1.0, 3.0, 10.0, 20.0, 30.0, 60.0, 120.0)
JSON_DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(-1e9, 1e9) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)

# Without these settings, hypothesis would report errors, because simulations run long and draw much data.
UNHURRIED: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(hypothesis.HealthCheck),
    "print_blob": False,
}

Events = Mapping[type[Any], st.SearchStrategy[Any]]
"""The strategies that make events, by the class of the event."""


def simulated(
    make: Callable[[], Room[Any, Any]],
    *,
    steps: int = 30,
    examples: int = 100,
    events: Events | None = None,
    play: Play | None = None,
    limits: Limits | None = None,
) -> Callable[[F], Callable[[], None]]:
    """Turn an invariant of a room into a property test: hypothesis looks for a script that breaks the invariant.

    ::

        @edge.testing.simulated(Corpse)
        def test_the_table_holds(room: Corpse) -> None:
            assert len(room.page) <= len(room.players)

    Each example is a script of steps that `simulate` runs: clients join, leave, lose their connections, reconnect, and
    send valid and invalid events. After each step, the decorated function is called with each open room. hypothesis
    shrinks a failing script to the shortest one that it finds within two minutes, and shows that script as a test to
    paste. The summary of the test run says what the scripts covered. A `SimulationWarning` warns if no event was taken.

    Args:
      make: the class of the room, or any callable that returns a new room.
      steps: the maximum number of steps of a script after the first clients have joined.
      examples: the number of scripts. Other settings of hypothesis apply, such as profiles, seeds and the database.
      events: strategies for events of these classes; other events are drawn from the types of their fields.
      play: the code of each client, which runs while the steps run: see `simulate`.
      limits: the limits of the server and of the clients.
    """

    def decorate(invariant: F) -> Callable[[], None]:
        coverage = Coverage()

        def run(script: list[Step], seed: int) -> None:
            coverage.add(script, simulate(make, script, seed=seed, invariants=[invariant], play=play, limits=limits))

        search = Search(run, getattr(invariant, "__name__", "a simulated test"))

        def test(script: list[Step], seed: int) -> None:
            search.try_script(script, seed)

        # The signature is not copied, because pytest would take its parameter, the room, for a fixture.
        for name in functools.WRAPPER_ASSIGNMENTS:
            setattr(test, name, getattr(invariant, name))
        test.__annotations__ = {}
        drawn = hypothesis.given(scripts(make, steps=steps, events=events), st.integers(0, 2**32 - 1))(test)
        drawn = hypothesis.settings(max_examples=examples, **UNHURRIED)(drawn)

        @functools.wraps(drawn)
        def covered() -> None:
            drawn()
            if coverage.fault:
                warnings.warn(f"{coverage.fault} ({coverage})", SimulationWarning, stacklevel=2)

        covered.__edge_coverage__ = coverage  # type: ignore[attr-defined]  # for the plugin
        return covered

    return decorate


def try_scripts(
    run: Callable[[list[Step], int], object],
    make: Callable[[], Room[Any, Any]],
    *,
    steps: int,
    examples: int,
    seed: int,
    seconds: Sequence[float] = SECONDS,
    shrink: bool = True,
) -> None:
    """Call a function with each of many generated scripts, and with a seed for each script.

    Args:
      run: the function. It raises an exception if a script fails.
      make: see `scripts`.
      steps: see `scripts`.
      examples: the number of scripts.
      seed: determines the scripts and their seeds.
      seconds: see `scripts`.
      shrink: if true, look for the shortest script that fails.
    """

    def test(script: list[Step], seed: int) -> None:
        run(script, seed)

    phases = [hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if shrink else ())]
    drawn = hypothesis.given(scripts(make, steps=steps, seconds=seconds), st.integers(0, 2**32 - 1))(test)
    settings = hypothesis.settings(
        max_examples=examples, database=None, phases=phases, report_multiple_bugs=False, **UNHURRIED
    )
    hypothesis.seed(seed)(settings(drawn))()


def scripts(
    make: Callable[[], Room[Any, Any]],
    *,
    steps: int,
    events: Events | None = None,
    seconds: Sequence[float] = SECONDS,
) -> st.SearchStrategy[list[Step]]:
    """Return a strategy for scripts. A script begins with the joins of one client or more. Then up to `steps` other
    steps follow.

    Args:
      make: the class of the room, or any callable that returns a new room.
      steps: the maximum number of steps after the joins.
      events: see `simulated`.
      seconds: the times, in seconds, from which `Wait` steps are drawn.
    """
    client = st.integers(0, len(NAMES) - 1)
    noticed, wait = st.sampled_from(tuple(SIDES)), st.sampled_from(tuple(seconds))
    join = st.builds(
        Join,
        st.sampled_from(NAMES),
        transport=st.sampled_from([TransportKind.WEBSOCKET.value] * 4 + [kind.value for kind in TransportKind]),
        codec=st.sampled_from(["json", "json", "msgpack"]),
    )
    common: list[st.SearchStrategy[Any]] = [
        join,
        st.builds(Wait, wait),
        st.builds(Drop, client, noticed_by=noticed),
        st.builds(Tunnel, client, st.sampled_from((1.0, 30.0, 60.0)), st.integers(100, 400)),
    ]
    sends = kind_of(example_of(make)).receives
    if sends.by_name:
        common += [_sent(sends, client, events or {}) for _ in range(4)]
    step = st.one_of(
        *common,
        *common,
        st.builds(Tab, client),
        st.builds(Leave, client),
        st.builds(DropAfter, client, st.sampled_from(["up", "down"]), st.integers(0, 600), noticed_by=noticed),
        st.builds(Offline, client, st.sampled_from(["refused", "silent"])),
        st.builds(Online, client),
        st.builds(Stall, client),
        st.just(Reset()),
        st.builds(
            Weather,
            latency=st.sampled_from([0.0, 0.01, 0.1, 1.0]),
            jitter=st.sampled_from([0.0, 0.1, 2.0]),
            pieces=st.sampled_from([None, 1, 7, 100]),
        ),
        st.builds(Jump, st.sampled_from(SECONDS)),
    )
    # The length is drawn first, because hypothesis by default favours short lists, and many faults need many steps.
    rest = st.integers(0, steps).flatmap(lambda count: st.lists(step, min_size=count, max_size=count))
    return st.builds(list.__add__, st.lists(join, min_size=1, max_size=len(NAMES)), rest)


def _sent(vocabulary: Vocabulary, client: st.SearchStrategy[int], events: Events) -> st.SearchStrategy[Step]:
    """Return a strategy for steps that send an event, a request, or an invalid event."""
    kinds = [vocabulary.by_name[name] for name in sorted(vocabulary.by_name)]
    sent = st.one_of(*(_event_of(kind, client, events) for kind in kinds))
    names = st.sampled_from([kind.name for kind in kinds])
    return st.one_of(
        sent, sent, sent, st.builds(SendWrong, client, names | st.text(max_size=5).map("x".__add__), JSON_DATA)
    )


def _event_of(kind: EventType, client: st.SearchStrategy[int], events: Events) -> st.SearchStrategy[Step]:
    given = events.get(kind.cls)
    step = st.sampled_from([Send, Send, Ask])
    if given is not None:
        return st.builds(lambda step, client, event: step(client, event), step, client, given)

    def make(step: Callable[[int, Any], Step], client: int, fields: dict[str, Any]) -> Step:
        try:
            return step(client, kind.cls(**fields))
        except (TypeError, ValueError):  # a validator of the class rejects a value that the type allows
            plain = {name: unstructure(value, kinds[name]) for name, value in fields.items()}
            return SendWrong(client, kind.name, plain)

    kinds = {each.argument: each.type for each in fields_of(kind.cls)}
    return st.builds(make, step, client, st.fixed_dictionaries(_fields_of(kind.cls)))


def _fields_of(cls: Any) -> dict[str, st.SearchStrategy[Any]]:
    return {each.argument: values_of(each.type) for each in fields_of(cls) if each.init}


def values_of(cls: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values of an encodable type."""
    cls = resolve(cls)
    origin, args = typing.get_origin(cls), typing.get_args(cls)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(-3, 100) | st.integers(-MAX_INTEGER, MAX_INTEGER),
        float: st.floats(-10, 1000) | st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        bool: st.booleans(),
        bytes: st.binary(max_size=20),
        None: st.none(),
        type(None): st.none(),
        datetime: st.datetimes(timezones=st.just(UTC)),
        date: st.dates(),
        timedelta: st.timedeltas(timedelta(days=-100), timedelta(days=100)),
        UUID: st.uuids(),
        Decimal: st.decimals(-1000, 1000, places=2),
        Json: JSON_DATA,
    }
    if cls in simple:
        return simple[cls]
    if origin is Literal:
        return st.sampled_from(args)
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return st.sampled_from(cls)
    if cls in REGISTERED:
        return values_of(REGISTERED[cls].plain).map(_or_reject(REGISTERED[cls].from_plain))
    if is_object(cls):
        return st.deferred(lambda: _built(cls))
    if is_named_tuple(cls):
        return st.builds(cls, *(values_of(kind) for _, kind in items_of(cls)))
    if is_typed_dict(cls):
        values, required = {name: values_of(kind) for name, kind in items_of(cls)}, required_items(cls)
        optional = {name: each for name, each in values.items() if name not in required}
        return st.fixed_dictionaries({name: values[name] for name in required}, optional=optional)
    if is_union(cls):
        return st.one_of(*map(values_of, args))
    if origin is tuple and Ellipsis not in args:
        return st.tuples(*map(values_of, args))
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), values_of(args[1]), max_size=3)
    made = {list: list, tuple: tuple, set: set, frozenset: frozenset}[typing.cast("Any", origin)]
    return st.lists(values_of(args[0]), max_size=5).map(made)


def _or_reject(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that discards an example if `make` rejects it."""

    def made(value: Any) -> Any:
        try:
            return make(value)
        except (TypeError, ValueError):
            hypothesis.reject()

    return made


def _built(cls: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for instances of a class. Examples that its validators reject are discarded."""
    return st.fixed_dictionaries(_fields_of(cls)).map(_or_reject(lambda fields: cls(**fields)))
