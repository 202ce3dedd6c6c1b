"""What replicated code must not touch: floats, clocks, dice, and orders that differ by process."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2] / "dpin"
REPLICATED: Final = ("base", "ledger", "market", "verify")
MODULES_BANNED: Final = {"time", "random", "secrets", "datetime", "uuid"}
CALLS_BANNED: Final = {"float", "hash", "id", "eval", "exec"}
WIRE_TYPES_BANNED: Final = {"dict", "set", "frozenset", "object", "float"}

# Where a rule may be broken, as (file, function), and why.
ALLOWED: Final = {
    ("base/units.py", "seconds"): "reads a number that a person wrote; it leaves as whole Micros",
}


def called_name(node: ast.AST) -> str | None:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


def is_set(node: ast.expr) -> bool:
    """Whether this expression, as written, is a set: a literal, a comprehension, set(...)."""
    made = isinstance(node, ast.Set | ast.SetComp) or called_name(node) in {"set", "frozenset"}
    joined = isinstance(node, ast.BinOp) and (is_set(node.left) or is_set(node.right))
    return made or joined


def imports_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []


def walked_over(node: ast.AST) -> list[ast.expr]:
    """What this node takes the items of, one by one, in their own order."""
    if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        return [node.iter]
    if called_name(node) in {"list", "tuple", "enumerate", "iter", "next", "zip"}:
        assert isinstance(node, ast.Call)
        return node.args
    if isinstance(node, ast.Starred):
        return [node.value]
    return []


def breaches(node: ast.AST) -> Iterator[str]:
    """The rules that this one node breaks."""
    if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
        yield f"the float {node.value}"
    if isinstance(node, ast.Name) and node.id == "float":
        yield "the type float"
    name = called_name(node)
    if name in CALLS_BANNED:
        yield f"a call of {name}()"
    for module in imports_of(node):
        if module.split(".")[0] in MODULES_BANNED:
            yield f"an import of {module}"
    if any(is_set(walked) for walked in walked_over(node)):
        yield "the items of a set, in an order that differs by process: sort them"


def is_wire(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) and any(
        isinstance(base, ast.Name) and base.id == "Wire" for base in node.bases
    )


def wire_breaches(tree: ast.Module) -> Iterator[str]:
    """Fields whose type has more than one encoding, or none that is checked."""
    for wire in filter(is_wire, ast.walk(tree)):
        for part in ast.walk(wire):
            if isinstance(part, ast.AnnAssign):
                yield from (
                    f"line {part.lineno}: a wire value has a {name.id} in a field"
                    for name in ast.walk(part.annotation)
                    if isinstance(name, ast.Name) and name.id in WIRE_TYPES_BANNED
                )


def lines_of(nodes: Iterator[ast.AST], allowed: set[str]) -> Iterator[str]:
    """Breaches of all nodes but those inside the allowed functions."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in allowed:
            continue
        for breach in breaches(node):
            yield f"line {getattr(node, 'lineno', '?')}: {breach}"
        yield from lines_of(ast.iter_child_nodes(node), allowed)


def found_in(path: str, text: str) -> list[str]:
    allowed = {function for file, function in ALLOWED if file == path}
    return [f"{path}: {line}" for line in lines_of(iter([ast.parse(text)]), allowed)]


def test_replicated_code_is_deterministic() -> None:
    found: list[str] = []
    for package in REPLICATED:
        for path in sorted((ROOT / package).rglob("*.py")):
            found += found_in(str(path.relative_to(ROOT)), path.read_text())
    assert not found, "\n".join(found)


def test_every_wire_field_has_exactly_one_encoding() -> None:
    found: list[str] = []
    for path in sorted(ROOT.rglob("*.py")):
        breaches = wire_breaches(ast.parse(path.read_text()))
        found += [f"{path.relative_to(ROOT)}: {breach}" for breach in breaches]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "wait = 0.5",
        "wait = float(text)",
        "def pay(amount: float): ...",
        "import time",
        "from random import choice",
        "import datetime as clock",
        "place = hash(name) % 4",
        "key = id(block)",
        "eval(text)",
        "for one in {a, b}: pass",
        "for one in set(names): pass",
        "for one in set(names) - {a}: pass",
        "first = [one for one in {a, b}]",
        "first = list(set(names))",
        "first = [*{a, b}]",
        "first = next(iter(set(names)))",
    ],
)
def test_each_rule_finds_what_it_bans(line: str) -> None:
    assert found_in("base/some.py", line)


@pytest.mark.parametrize(
    "line",
    [
        "for one in sorted(set(names)): pass",
        "known = name in {a, b}",
        "count = len(set(names))",
        "half = total // 2",
        "self.id = node.id",
    ],
)
def test_what_is_the_same_everywhere_is_let_be(line: str) -> None:
    assert not found_in("base/some.py", line)


def test_the_allowed_breaches_are_still_needed() -> None:
    for file, function in ALLOWED:
        tree = ast.parse((ROOT / file).read_text())
        [node] = [
            item
            for item in tree.body
            if isinstance(item, ast.FunctionDef) and item.name == function
        ]
        assert list(lines_of(ast.iter_child_nodes(node), set())), f"{file} {function} is clean now"


def test_a_wire_value_with_a_map_is_found() -> None:
    tree = ast.parse("class Bad(Wire):\n    names: tuple[dict[str, int], ...]\n    fine: int")
    assert len(list(wire_breaches(tree))) == 1
