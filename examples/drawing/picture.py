"""Strokes, parts of a figure, and the strip of a part that the next player may see."""

from __future__ import annotations

import attrs

# The size of the canvas of a part, in units that do not depend on a player's screen.
WIDTH, HEIGHT = 1000, 750
# The height of the strip at the bottom of a part that the next player sees.
STRIP = 60
COLORS = 8
# The turn ends when the part has at least this many points.
INK = 4_000

Point = tuple[int, int]


def _on_paper(_: object, __: object, points: list[Point]) -> None:
    if not 1 <= len(points) <= 2000:
        raise ValueError("a stroke has 1 to 2000 points")
    if not all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points):
        raise ValueError("a stroke must stay on the paper")


@attrs.frozen
class Stroke:
    """One line that the pen has drawn."""

    color: int = attrs.field(validator=[attrs.validators.ge(0), attrs.validators.lt(COLORS)])
    width: int = attrs.field(validator=[attrs.validators.ge(2), attrs.validators.le(60)])
    points: list[Point] = attrs.field(validator=_on_paper)


def strip_below(strokes: list[Stroke]) -> list[Stroke]:
    """Return the strokes in the bottom strip of a part, moved up so that the strip begins at y = 0."""
    return [
        attrs.evolve(stroke, points=[(x, y - (HEIGHT - STRIP)) for x, y in run])
        for stroke in strokes
        for run in _runs_below(stroke.points, HEIGHT - STRIP)
    ]


def _runs_below(points: list[Point], limit: int) -> list[list[Point]]:
    """Return the pieces of a line whose y is at least `limit`, cut at the limit."""
    runs: list[list[Point]] = []
    previous: Point | None = None
    for point in points:
        inside = point[1] >= limit
        was_inside = previous is not None and previous[1] >= limit
        if previous is not None and inside != was_inside:
            crossing = _crossing(previous, point, limit)
            if inside:
                runs.append([crossing])
            else:
                runs[-1].append(crossing)
        elif inside and previous is None:
            runs.append([])
        if inside:
            runs[-1].append(point)
        previous = point
    return runs


def _crossing(start: Point, end: Point, limit: int) -> Point:
    (x0, y0), (x1, y1) = start, end
    return round(x0 + (x1 - x0) * (limit - y0) / (y1 - y0)), limit
