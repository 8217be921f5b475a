"""How a room is opened: by whom, with which join options, and by which factory."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import attrs

from ..codes import Code
from ..errors import InvalidEvent, Refused
from ..protocol.codec import JSON, size_of
from ..protocol.field_kinds import Rename
from ..protocol.field_types import check_type
from ..protocol.messages import MAX_OPTIONS_BYTES, Create
from ..protocol.structure import structure
from ..protocol.unstructure import unstructure


@attrs.frozen
class Opening:
    """The request to find a room, or to open it."""

    opener: str = ""
    """The client on whose behalf a room is opened, such as an address; empty for the server itself."""
    options: Any = None
    """The join options, as plain data; None for the defaults."""
    create: Create = "if needed"
    """Whether the room may be opened: see `Create`."""
    client: str = ""
    """The random name of the client that joins; empty for the server itself."""


BY_SERVER: Opening = Opening()
"""The server itself opens the room."""


def check_options_class(cls: object, where: str, rename: Rename) -> None:
    """Check a class of join options.

    Args:
      where: the place where the class is given, for the error.

    Raises:
      TypeError: this is not an attrs class, or a field has a type that cannot be sent.
    """
    if not (isinstance(cls, type) and attrs.has(cls)):
        raise TypeError(f"{where} is {cls!r:.60}: make it an attrs class, whose fields are the options")
    check_type(cls, rename)


def read_options(plain: Any, cls: type[Any] | None, rename: Rename) -> Any:
    """Return join options as an instance of their class.

    Args:
      plain: the options as plain data; None for the defaults.
      cls: the class of the options; None if the room has no options.
      rename: the `Room.rename` of the room.

    Raises:
      Refused: the options do not fit the class (`Code.BAD_OPTIONS`).
    """
    if cls is None:
        if plain:  # edge.js sends an empty object if the page gives one
            raise Refused("this kind of room has no join options", Code.BAD_OPTIONS)
        return None
    if plain is not None and size_of(JSON.encode(plain)) > MAX_OPTIONS_BYTES:
        raise Refused(f"the join options are longer than {MAX_OPTIONS_BYTES} bytes", Code.BAD_OPTIONS)
    try:
        return structure({} if plain is None else plain, cls, rename=rename)
    except InvalidEvent as exc:
        raise Refused(f"the join options are not valid: {exc}", Code.BAD_OPTIONS) from None


class Factory:
    """Makes the rooms of one kind.

    Args:
      kind: the name of the kind.
      make: a room class, or a function that returns a room. Its parameters may be `name` and `options`.
      options_of: returns the `join_options` and the `rename` of a room class.

    Raises:
      TypeError: `make` has other parameters, or a function has a parameter `options` without a class as annotation.
    """

    def __init__(
        self, kind: str, make: Callable[..., Any], options_of: Callable[[type[Any]], tuple[type[Any] | None, Rename]]
    ) -> None:
        self.make = make
        made: Any = typing.get_origin(make) or make
        try:
            signature = inspect.signature(made)
        except ValueError:  # some callables have no signature
            signature = inspect.Signature()
        self._parameters = [name for name in ("name", "options") if name in signature.parameters]
        try:
            signature.bind(**dict.fromkeys(self._parameters))
        except TypeError as exc:
            raise TypeError(f"rooms[{kind!r}] may only need the arguments `name` and `options`: {exc}") from None
        self._options: type[Any] | None = None
        self._rename: Rename = ""
        if isinstance(made, type):
            self._options, self._rename = options_of(made)
        elif "options" in self._parameters:
            returned = _annotated(made, signature.return_annotation, "")
            if isinstance(returned, type):
                _, self._rename = options_of(returned)
            self._options = _annotation(kind, made, signature.parameters["options"].annotation, self._rename)

    def to_plain(self, options: object) -> Any:
        """Return join options as a client would send them: plain data, or None for the defaults."""
        return None if options is None else unstructure(options, rename=self._rename)

    def __call__(self, name: str, options: Any) -> Any:
        """Make a room.

        Args:
          options: the join options of the client that opens the room, as plain data.

        Raises:
          Refused: the options do not fit, or the author's code raised this.
        """
        given: dict[str, Any] = {"name": name}
        if "options" in self._parameters or self._options is not None:
            given["options"] = read_options(options, self._options, self._rename)
        return self.make(**{parameter: given[parameter] for parameter in self._parameters})


def _annotation(kind: str, make: Any, annotation: Any, rename: Rename) -> type[Any]:
    """Return the class that annotates the parameter `options` of a function."""
    where = f"the annotation of `options` of rooms[{kind!r}]"
    if annotation is inspect.Parameter.empty:
        raise TypeError(f"rooms[{kind!r}] has a parameter `options`: annotate it with the class of the options")
    cls = _annotated(make, annotation, where)
    check_options_class(cls, where, rename)
    assert isinstance(cls, type)
    return cls


def _annotated(make: Any, annotation: Any, where: str) -> Any:
    """Return the type that an annotation of a function names.

    Args:
      where: the place of the annotation, for the error; empty to return None for a name that cannot be resolved.

    Raises:
      TypeError: a name in the annotation cannot be resolved.
    """
    function = make.func if isinstance(make, functools.partial) else make
    holder = type("Holder", (), {"__annotations__": {"it": annotation}})
    try:
        return typing.get_type_hints(holder, getattr(function, "__globals__", None))["it"]
    except NameError as exc:
        if where:
            raise TypeError(f"{where} cannot be resolved: {exc}") from None
        return None
