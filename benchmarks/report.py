"""Functions that make tables and charts, and write them between marks in docs/performance.md."""

from __future__ import annotations

import math
import platform
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import attrs

from .scenarios import Crowd, Point, Row

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "performance.md"
WIDTH, HEIGHT, MARGIN = 720, 320, 56
COLOURS = {"edge": "#d9480f", "python": "#1971c2", "node": "#2f9e44", "c": "#868e96"}


@attrs.frozen
class Chart:
    """A chart as an SVG file."""

    name: str
    """Name of the file, without its suffix."""
    title: str
    svg: str


def write(section: str, text: str, *charts: Chart, page: Path | None = None) -> None:
    """Write a section's text, and the charts below it, between the section's marks in a page, by default
    docs/performance.md."""
    page = page or PAGE
    for chart in charts:
        (DOCS / f"{chart.name}.svg").write_text(chart.svg)
        text += f"\n![{chart.title}]({chart.name}.svg)\n"
    old = page.read_text()
    mark = re.compile(rf"(<!-- {section} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not mark.search(old):
        raise ValueError(f"{page.name} has no place for {section}")
    page.write_text(mark.sub(lambda found: found[1] + text.rstrip() + "\n" + found[2], old))


def machine(rounds: int) -> str:
    """Return the versions of all software, and the number of rounds."""
    packages = (
        "trio",
        "trio-websocket",
        "websockets",
        "uvicorn",
        "starlette",
        "tornado",
        "python-socketio",
        "channels",
    )
    versions = ", ".join(f"{name} {version(name)}" for name in (*packages, "picows"))
    return (
        f"Python {platform.python_version()} on {platform.machine()}, {sys.platform}; "
        f"medians of {rounds} interleaved rounds. {versions}.\n"
    )


def comparison(rows: Sequence[Row], noun: str) -> str:
    """Return a table of the rates and latencies of all peers, with the ratio of edge's rate to each other rate."""
    ours = rows[0]
    lines = [f"| peer | {noun} a second | edge is | p50 ms | p99 ms |", "|---|---:|---:|---:|---:|"]
    for row in sorted(rows, key=lambda row: -row.rate):
        least = "at least " if row.bound_by_load else ""
        ratio = "" if row is ours else f"{ours.rate / row.rate:.2f} ×"
        name = f"**{row.peer}**" if row is ours else row.peer
        lines.append(f"| {name} | {least}{row.rate:,.0f} | {ratio} | {row.p50 / 1000:.2f} | {row.p99 / 1000:.2f} |")
    return "\n".join(lines) + "\n"


def delivery(rows: Sequence[Row]) -> str:
    """Return a table of the latencies and of the CPU shares of servers that send states."""
    lines = [
        "| peer | deliveries a second | p50 ms | p99 ms | p99.9 ms | ticks late by, p99 ms | CPU |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.peer} | {row.rate:,.0f} | {row.p50 / 1000:.2f} | {row.p99 / 1000:.2f} | {row.p999 / 1000:.2f} "
        f"| {row.late_p99 / 1000:.2f} | {row.cpu:.0%} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def crowds(rows: Sequence[Crowd]) -> str:
    """Return a table of the costs of idle seats."""
    lines = ["| peer | idle seats | KiB a seat | CPU while idle | joins a second |", "|---|---:|---:|---:|---:|"]
    lines += [f"| {row.peer} | {row.seats:,} | {row.kib:.1f} | {row.cpu:.1%} | {row.joins:,.0f} |" for row in rows]
    return "\n".join(lines) + "\n"


def points(rows: Sequence[Point], x: str) -> str:
    """Return a table of the points of a line chart."""
    lines = [f"| {x} | events a second | p50 ms | p99 ms | CPU | memory grew by |", "|---:|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {row.x:,g} | {row.rate:,.0f} | {row.p50 / 1000:.2f} | {row.p99 / 1000:.2f} | {row.cpu:.0%} "
        f"| {row.swollen / 2**20:.1f} MiB |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def latencies(rows: Sequence[Row]) -> str:
    """Return a table of the latencies of all peers at the same rate, and of the CPU time that each peer uses for it."""
    lines = ["| peer | p50 ms | p99 ms | p99.9 ms | CPU |", "|---|---:|---:|---:|---:|"]
    for row in sorted(rows, key=lambda row: row.p99):
        name = f"**{row.peer}**" if row is rows[0] else row.peer
        times = " | ".join(f"{each / 1000:.2f}" for each in (row.p50, row.p99, row.p999))
        lines.append(f"| {name} | {times} | {row.cpu:.0%} |")
    return "\n".join(lines) + "\n"


def bars(name: str, title: str, rows: Sequence[Row], kinds: dict[str, str]) -> Chart:
    """Return a bar chart of the peers' rates. `kinds` maps each peer to its kind, which decides the colour."""
    rows = sorted(rows, key=lambda row: -row.rate)
    most, step = max(row.rate for row in rows), 24
    parts = []
    for index, row in enumerate(rows):
        y, width = 40 + index * step, 480 * row.rate / most
        parts.append(f'<text x="140" y="{y + 14}" text-anchor="end">{row.peer}</text>')
        parts.append(f'<rect x="148" y="{y}" width="{width:.0f}" height="18" fill="{COLOURS[kinds[row.peer]]}"/>')
        parts.append(f'<text x="{154 + width:.0f}" y="{y + 14}">{row.rate:,.0f}</text>')
    return _chart(name, title, parts, 56 + len(rows) * step)


def line(name: str, title: str, rows: Sequence[Point], y: Callable[[Point], float], labels: tuple[str, str]) -> Chart:
    """Return a line chart of `y` with logarithmic axes. `labels` describe the horizontal axis and the values."""
    xs, ys = [row.x for row in rows], [max(y(row), 1e-3) for row in rows]
    across, up = _axis(xs, MARGIN, WIDTH - 24), _axis(ys, HEIGHT - 40, 48)
    dots = [(across(a), up(b)) for a, b in zip(xs, ys, strict=True)]
    parts = [f'<polyline fill="none" stroke="{COLOURS["edge"]}" stroke-width="2" points="{_joined(dots)}"/>']
    for (left, top), a, b in zip(dots, xs, ys, strict=True):
        parts.append(f'<circle cx="{left:.0f}" cy="{top:.0f}" r="3" fill="{COLOURS["edge"]}"/>')
        parts.append(f'<text x="{left:.0f}" y="{top - 8:.0f}" text-anchor="middle">{b:,.3g}</text>')
        parts.append(f'<text x="{left:.0f}" y="{HEIGHT - 20}" text-anchor="middle">{a:,g}</text>')
    parts.append(f'<text x="{WIDTH - 24}" y="{HEIGHT - 4}" text-anchor="end">{labels[0]}; values: {labels[1]}</text>')
    return _chart(name, title, parts, HEIGHT)


def _axis(values: Iterable[float], start: float, end: float) -> Callable[[float], float]:
    logs = [math.log10(value) for value in values]
    low, high = min(logs), max(max(logs), min(logs) + 1e-9)
    return lambda value: start + (math.log10(value) - low) / (high - low) * (end - start)


def _joined(dots: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.0f},{y:.0f}" for x, y in dots)


def _chart(name: str, title: str, parts: Iterable[str], height: int) -> Chart:
    font = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {font}>'
    body = f'<rect width="100%" height="100%" fill="#fff"/><text x="16" y="24" font-size="14">{title}</text>'
    return Chart(name, title, "\n".join([head, body, *parts, "</svg>"]) + "\n")
