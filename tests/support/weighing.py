"""How much a machine remembers: the sizes of all containers that can be reached from an object."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Final

Path = tuple[str, ...]
LEAVES: Final = (str, bytes, bytearray, int, float, bool, type(None), type, ModuleType)


def weighed(root: object, *, without: frozenset[int] = frozenset()) -> Counter[Path]:
    """Items in all containers of one place, by the names of the fields that lead there.

    What is in a container goes by `*`, whatever its key. Each object counts once, where it is found
    first; `without` are ids of objects that are not entered.
    """
    found: Counter[Path] = Counter()
    seen = set(without)
    todo: deque[tuple[Path, object]] = deque([((), root)])
    while todo:
        path, one = todo.popleft()
        if isinstance(one, LEAVES) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Mapping | list | tuple | set | frozenset | deque):
            found[path] += len(one)
            parts = [*one.keys(), *one.values()] if isinstance(one, Mapping) else list(one)
            todo.extend(((*path, "*"), part) for part in parts)
        else:
            todo.extend(((*path, name), part) for name, part in _fields(one))
    return found


def _fields(one: object) -> Iterator[tuple[str, object]]:
    if callable(one) and not hasattr(one, "__dataclass_fields__"):
        return
    yield from getattr(one, "__dict__", {}).items()
    for kind in type(one).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            held = name if not name.startswith("__") else f"_{kind.__name__}{name}"
            if held not in {"__dict__", "__weakref__"} and hasattr(one, held):
                yield held, getattr(one, held)
