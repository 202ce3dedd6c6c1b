"""Views of the network as text for people."""

from collections.abc import Callable
from typing import Final

from dpin.cli.options import table
from dpin.cli.pictures import since
from dpin.node.netviews import (
    BanView,
    CopyView,
    DirectoryView,
    HistogramView,
    LinkView,
    NetworkView,
    PingView,
    TraceView,
)
from dpin.node.words import counted

_ID_SHOWN: Final = 8
_KIB: Final = 1024


def network_view_text(view: NetworkView) -> str:
    """The second half of what `dpin net show` shows."""
    reach = view.reach
    rows = [
        ("peers", f"{view.peers} connected"),
        ("reached", f"{reach.verdict}: {reach.detail}"),
        ("fix", reach.fix),
        ("problem", view.problem),
        ("addresses", "  ".join(view.addresses) or "-"),
        ("clock", _ahead(view.clock_ahead_ms)),
        ("in", _counted(view.bytes_in, size)),
        ("out", _counted(view.bytes_out, size)),
        ("line", _line(view)),
        *_directory(view.directory),
        ("mesh", _counted(view.mesh, str)),
        ("dials", _counted(view.dials, str)),
        ("dropped", _counted({name: n for name, n in view.dropped.items() if n}, str) or "nothing"),
        ("round trip", _delay(view.round_trip)),
        ("gossip", _delay(view.announcement_delay)),
        ("restarts", str(view.restarts) if view.restarts else ""),
    ]
    lines = [f"{name:<11}{text}" for name, text in rows if text]
    failed = [end for end in view.dialled if end.outcome != "connected"]
    lines += [
        f"{'in vain':<11}{end.address}  {end.reason}  {since(end.at_ms)} ago" for end in failed
    ]
    return "\n".join(lines)


def _directory(view: DirectoryView) -> list[tuple[str, str]]:
    """Where its lookups begin, and how well others know of this node."""
    filled = f"{sum(size > 0 for size in view.buckets)} of {counted(len(view.buckets), 'bucket')}"
    looked = "not yet" if view.explored_ms is None else f"{since(view.explored_ms)} ago"
    where = f" in {filled}" if view.buckets else ""
    table_text = f"{counted(view.nodes, 'node')} reached{where}, looked around {looked}"
    rows = [("directory", f"{table_text}; keeps {counted(view.kept, 'record')}")]
    for name, by in (("told", "messages"), ("told kad", "kad")):
        rows.append((name, _copies([copy for copy in view.own if copy.by == by])))
    return rows


def _copies(own: list[CopyView]) -> str:
    """Who keeps where this node answers, and what it has."""
    addresses = [copy for copy in own if copy.what == "addresses"]
    blobs = [copy for copy in own if copy.what != "addresses"]
    told = [
        f"addresses kept by {counted(one.copies, 'node')}, {since(one.at_ms)} ago"
        for one in addresses
    ]
    if blobs:
        kept, oldest = sum(one.copies > 0 for one in blobs), min(one.at_ms for one in blobs)
        told.append(f"{kept} of {counted(len(blobs), 'blob')}, the oldest {since(oldest)} ago")
    return "; ".join(told)


def _line(view: NetworkView) -> str:
    """What transfers came to, in the directions that are known."""
    ways = (("up", view.line_up), ("down", view.line_down))
    return ", ".join(f"{way} {size(rate)} a second" for way, rate in ways if rate)


def size(count: int) -> str:
    """Bytes in the largest unit that fits."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < _KIB:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KIB
    return f"{value:.1f} GiB"


def _counted(values: dict[str, int], shown: Callable[[int], str]) -> str:
    return "  ".join(f"{name} {shown(count)}" for name, count in values.items())


def _ahead(ahead_ms: int | None) -> str:
    if ahead_ms is None:
        return "no peer to compare it with"
    return f"{abs(ahead_ms) / 1000:.3f} s {'behind' if ahead_ms > 0 else 'ahead of'} its peers"


def _delay(view: HistogramView) -> str:
    if not sum(view.counts):
        return ""
    return f"half within {_bound(view.p50)}, 99 % within {_bound(view.p99)}"


def _bound(micros: int | None) -> str:
    return "more than measured" if micros is None else f"{micros / 1000:g} ms"


def links_text(links: list[LinkView]) -> str:
    """What `dpin net peers` shows."""
    if not links:
        return "nobody is connected; dpin doctor says why"
    heads = ("NODE", "NAME", "PATH", "FROM", "RTT", "CLOCK", "VERSION", "IN", "OUT", "BLAME")
    return table(heads, [_link_row(link) for link in links])


def _link_row(link: LinkView) -> tuple[str, ...]:
    trip = "-" if link.round_trip is None else f"{link.round_trip / 1000:.1f} ms"
    clock = "-" if link.clock_ahead_ms is None else f"{link.clock_ahead_ms / 1000:+.3f} s"
    head = (link.node_id[:_ID_SHOWN], link.name, link.path, link.seen_at or "-")
    moved = (size(sum(link.bytes_in.values())), size(sum(link.bytes_out.values())))
    return (*head, trip, clock, link.version or "-", *moved, str(link.blame))


def bans_text(bans: list[BanView], now_ms: int) -> str:
    """What `dpin net bans` shows."""
    if not bans:
        return "nobody is banned"
    heads = ("WHO", "NAME", "STILL FOR", "TIMES", "REASON")
    rows = [
        (ban.subject, ban.name or "-", _left(ban.until_ms - now_ms), str(ban.offences), ban.reason)
        for ban in bans
    ]
    return table(heads, rows)


def _left(millis: int) -> str:
    return f"{max(0, millis) // 60_000 + 1} min"


def ping_text(view: PingView) -> str:
    """What `dpin net ping` shows."""
    trips = [trip for trip in view.round_trips if trip is not None]
    lines = [
        f"{number}  {'no answer' if trip is None else f'{trip / 1000:.2f} ms'}"
        for number, trip in enumerate(view.round_trips, start=1)
    ]
    total = f"{len(trips)} of {len(view.round_trips)} answered by {view.name}"
    if trips:
        total += f", {min(trips) / 1000:.2f} / {sorted(trips)[len(trips) // 2] / 1000:.2f} / "
        total += f"{max(trips) / 1000:.2f} ms (least, middle, most)"
    return "\n".join([*lines, total])


def trace_text(view: TraceView) -> str:
    """What `dpin net trace` shows."""
    lines = [f"{view.name}  {view.node_id}"]
    lines += [
        f"[{'ok' if step.ok else '!!'}] {step.name:<11}{step.took / 1000:>9.2f} ms  {step.detail}"
        for step in view.steps
    ]
    return "\n".join([*lines, f"  fix: {view.fix}"] if view.fix else lines)
