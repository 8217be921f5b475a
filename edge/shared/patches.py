"""Apply a patch to plain data.

The patch of an object or a dict is ``[changes, edits, gone]``: the new values, the patches of values that stay, and the
names that are gone. Empty parts at the end are left out.

The patch of a list is ``[at, drop, insert, at, drop, insert, ..., edits]``. Each splice drops `drop` items at the index
`at`, and inserts items there. `edits` has patches by index, as text, for the items that stay. It is left out if it is
empty.
"""

from __future__ import annotations

from typing import Any


class UnfitPatch(ValueError):
    """The error for a patch that does not fit the data."""


def apply_patch(plain: Any, patch: Any) -> Any:
    """Return plain data with a patch applied. The argument does not change; both share the parts that stay equal.

    Raises:
      UnfitPatch: the patch does not fit.
    """
    if type(patch) is not list:
        raise UnfitPatch("a patch is a list")
    if type(plain) is dict:
        return _patch_dict(plain, patch)
    if type(plain) is list:
        return _patch_list(plain, patch)
    raise UnfitPatch("a patch for a value that is neither an object nor a list")


def _patch_dict(plain: dict[str, Any], patch: list[Any]) -> dict[str, Any]:
    match patch:
        case [dict(changes)]:
            return {**plain, **changes}
        case [dict(changes), dict(edits)]:
            gone: list[Any] = []
        case [dict(changes), dict(edits), list(gone)]:
            pass
        case _:
            raise UnfitPatch("the patch of an object is [changes, edits, gone]")
    patched = {**plain, **changes}
    for name, edit in edits.items():
        if name not in plain:
            raise UnfitPatch(f"a patch of {name[:64]!r}, which does not exist")
        patched[name] = apply_patch(plain[name], edit)
    for name in gone:
        if type(name) is not str or name not in patched:
            raise UnfitPatch("a name that is gone did not exist")
        del patched[name]
    return patched


def _patch_list(plain: list[Any], patch: list[Any]) -> list[Any]:
    patched, edits = list(plain), {}
    if len(patch) % 3 == 1:
        *patch, edits = patch
    if type(edits) is not dict or len(patch) % 3:
        raise UnfitPatch("the patch of a list is [at, drop, insert, ..., edits]")
    for at, drop, insert in zip(patch[::3], patch[1::3], patch[2::3], strict=True):
        if not (_is_count(at) and _is_count(drop) and type(insert) is list and at + drop <= len(patched)):
            raise UnfitPatch("a splice does not fit its list")
        patched[at : at + drop] = insert
    for number, edit in edits.items():
        if not number.isdecimal() or int(number) >= len(patched):
            raise UnfitPatch("a patch of an item that does not exist")
        patched[int(number)] = apply_patch(patched[int(number)], edit)
    return patched


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
