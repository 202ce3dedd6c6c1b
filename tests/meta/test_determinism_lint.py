"""What replicated code must not touch: floats, clocks, dice, and orders that differ by process.

A set is known as one when it is written as one, or when its name is annotated or assigned as one:
names of variables and functions in the same file, of attributes and methods in any replicated file.
A name that is also said to be something else is not known.
"""

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pytest

ROOT: Final = Path(__file__).parents[2] / "dpin"
REPLICATED: Final = ("base", "ledger", "market", "verify")
MODULES_BANNED: Final = {
    "time", "random", "secrets", "datetime", "uuid", "os", "math", "decimal", "numpy", "locale",
    "platform", "sys", "threading",
}  # fmt: skip
CALLS_BANNED: Final = {"float", "hash", "id", "eval", "exec", "round", "vars", "globals", "locals"}
TAKING_IN_ORDER: Final = {
    "list",
    "tuple",
    "enumerate",
    "iter",
    "next",
    "zip",
    "map",
    "filter",
    "deque",
    "dict",
}
TAKING_WITHOUT_ORDER: Final = {
    "set",
    "frozenset",
    "sorted",
    "sum",
    "min",
    "max",
    "any",
    "all",
    "len",
    "Counter",
}
WIRE_TYPES_BANNED: Final = {"dict", "set", "frozenset", "object", "float"}

# Where a rule may be broken, as (file, function), and why.
ALLOWED: Final = {
    ("base/units.py", "seconds"): "reads a number that a person wrote; it leaves as whole Micros",
}


def called_name(node: ast.AST) -> str | None:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


@dataclass(frozen=True)
class Known:
    """What is known to be a set: names of this file, attributes and methods of any."""

    names: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()

    def has(self, node: ast.AST) -> bool:
        """Whether this expression is a set: written as one, or known by its name."""
        match node:
            case ast.Call(func=ast.Name(id=name)):
                return name in {"set", "frozenset"} | self.names
            case ast.Call(func=ast.Attribute(attr=name)):
                return name in self.methods
            case ast.BinOp(left, _, right):
                return self.has(left) or self.has(right)
            case ast.Name(id=name):
                return name in self.names
            case ast.Attribute(attr=name):
                return name in self.attributes
            case _:
                return isinstance(node, ast.Set | ast.SetComp)


NOTHING: Final = Known()


def says_set(annotation: ast.expr | None) -> bool:
    """Whether an annotation is a set, or may be one."""
    match annotation:
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id=name)):
            return name in {"set", "frozenset", "AbstractSet"}
        case ast.BinOp(left, ast.BitOr(), right):
            return says_set(left) or says_set(right)
        case _:
            return False


@dataclass(frozen=True)
class Typed:
    """A name that a file annotates, or assigns a set to."""

    kind: Literal["name", "attribute", "method"]
    name: str
    is_set: bool


def target_of(target: ast.expr, *, is_set: bool, in_class: bool) -> Iterator[Typed]:
    match target:
        case ast.Attribute(attr=name):
            yield Typed("attribute", name, is_set)
        case ast.Name(id=name):
            yield Typed("attribute" if in_class else "name", name, is_set)
        case _:
            pass


def typed_in(nodes: Iterable[ast.AST], *, in_class: bool = False) -> Iterator[Typed]:
    """All such names, and whether each is a set there."""
    for node in nodes:
        match node:
            case ast.AnnAssign(target, annotation):
                yield from target_of(target, is_set=says_set(annotation), in_class=in_class)
            case ast.Assign([target], value) if NOTHING.has(value):
                yield from target_of(target, is_set=True, in_class=in_class)
            case ast.arg(name, annotation):
                yield Typed("name", name, says_set(annotation))
            case ast.FunctionDef(name=name, returns=returns):
                yield Typed("method" if in_class else "name", name, says_set(returns))
            case _:
                pass
        inside = isinstance(node, ast.ClassDef)
        yield from typed_in(ast.iter_child_nodes(node), in_class=inside)


def surely_sets(found: Collection[Typed], kind: str) -> frozenset[str]:
    """Names of a kind that are a set wherever they are said to be anything."""
    said = [one for one in found if one.kind == kind]
    others = {one.name for one in said if not one.is_set}
    return frozenset({one.name for one in said if one.is_set} - others)


def known_in(trees: Mapping[str, ast.Module]) -> dict[str, Known]:
    """For every file, what is known to be a set in it."""
    typed = {path: list(typed_in([tree])) for path, tree in trees.items()}
    everywhere = [one for found in typed.values() for one in found]
    attributes = surely_sets(everywhere, "attribute")
    methods = surely_sets(everywhere, "method")
    return {
        path: Known(surely_sets(found, "name"), attributes, methods)
        for path, found in typed.items()
    }


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
    if called_name(node) in {*TAKING_IN_ORDER, "min", "max"}:
        assert isinstance(node, ast.Call)
        return node.args
    match node:
        case ast.Starred(value=value):
            return [value]
        case ast.Call(func=ast.Attribute(value=value, attr="pop"), args=[]):
            return [value]
        case ast.Call(func=ast.Attribute(attr="join" | "extend"), args=args):
            return args
        case _:
            return []


def breaches(node: ast.AST, known: Known) -> Iterator[str]:
    """The rules that this one node breaks."""
    if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
        yield f"the float {node.value}"
    if isinstance(node, ast.Name) and node.id == "float":
        yield "the type float"
    if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
        yield "a division that gives a float"
    name = called_name(node)
    if name in CALLS_BANNED:
        yield f"a call of {name}()"
    for module in imports_of(node):
        if module.split(".")[0] in MODULES_BANNED:
            yield f"an import of {module}"
    if any(known.has(walked) for walked in walked_over(node)):
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


def lines_of(nodes: Iterator[ast.AST], allowed: set[str], known: Known) -> Iterator[str]:
    """Breaches of all nodes but those inside the allowed functions."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in allowed:
            continue
        harmless = order_lost_again(node)
        for breach in () if harmless else breaches(node, known):
            yield f"line {getattr(node, 'lineno', '?')}: {breach}"
        yield from lines_of(inner_nodes(node), allowed, known)


def order_lost_again(node: ast.AST) -> bool:
    """A set taken item by item to where order is nothing: ties of min and max by key are not."""
    by_key = isinstance(node, ast.Call) and bool(node.keywords)
    if called_name(node) in {"min", "max"} and by_key:
        return False
    return isinstance(node, ast.SetComp | ast.Set) or called_name(node) in TAKING_WITHOUT_ORDER


def inner_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What stands inside, less the walking over items whose order is lost again."""
    if isinstance(node, ast.Set):
        return (item.value if isinstance(item, ast.Starred) else item for item in node.elts)
    if isinstance(node, ast.SetComp):
        return (part for one in node.generators for part in (one.iter, *one.ifs, node.elt))
    if order_lost_again(node):
        assert isinstance(node, ast.Call)
        return (part for one in node.args for part in without_walking(one))
    return ast.iter_child_nodes(node)


def without_walking(node: ast.expr) -> list[ast.expr]:
    """An argument; of a comprehension the parts."""
    if isinstance(node, ast.GeneratorExp | ast.ListComp):
        return [part for one in node.generators for part in (one.iter, *one.ifs, node.elt)]
    return [node]


def found_in(files: Mapping[str, str]) -> list[str]:
    """Every breach in these files, by path and text."""
    trees = {path: ast.parse(text) for path, text in files.items()}
    known = known_in(trees)
    found: list[str] = []
    for path, tree in trees.items():
        allowed = {function for file, function in ALLOWED if file == path}
        found += [f"{path}: {line}" for line in lines_of(iter([tree]), allowed, known[path])]
    return found


def replicated() -> dict[str, str]:
    """The text of every file whose results all nodes must agree on."""
    paths = [path for package in REPLICATED for path in sorted((ROOT / package).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def test_replicated_code_is_deterministic() -> None:
    found = found_in(replicated())
    assert not found, "\n".join(found)


def test_the_sets_that_the_ledger_keeps_are_known() -> None:
    trees = {path: ast.parse(text) for path, text in replicated().items()}
    known = known_in(trees)
    assert {"live_jobs", "changed", "equivocators"} <= known["ledger/dag.py"].attributes


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
        "half = total / 2",
        "total /= 2",
        "half = round(total)",
        "import math",
        "from os import urandom",
        "text = ''.join({a, b})",
        "rows.extend(set(names))",
        "def f(names: set[str]) -> None:\n    for one in names: pass",
        "names = set(some)\nrows = list(names)",
        "def f() -> set[str]: ...\nrows = [one for one in f()]",
        "class A:\n    names: set[str]\ndef f(a: A) -> None:\n    for one in a.names: pass",
        "class A:\n    def __init__(self) -> None:\n        self.names = {1}\n"
        "    def f(self) -> int:\n        return self.names.pop()",
        "class A:\n    def names(self) -> frozenset[str]: ...\n"
        "def f(a: A) -> list[str]:\n    return [*a.names()]",
        "rows = {one: 1 for one in {a, b}}",
        "best = min({a, b}, key=place)",
        "best = max((one for one in {a, b}), key=place)",
    ],
)
def test_each_rule_finds_what_it_bans(line: str) -> None:
    assert found_in({"base/some.py": line})


@pytest.mark.parametrize(
    "line",
    [
        "for one in sorted(set(names)): pass",
        "known = name in {a, b}",
        "count = len(set(names))",
        "half = total // 2",
        "best = max(place(one) for one in {a, b})",
        "for one in sorted(set(names), key=place): pass",
        "self.id = node.id",
        "names = set(some)\nrows = sorted(one for one in names if one)",
        "names = set(some)\nmore = {*names, a}",
        "names = set(some)\nmore = {one.id for one in names}",
        "names = set(some)\nknown = any(one in rows for one in names)",
        "total = sum(one.weight for one in {a, b})",
        "rows = [a, b]\nlast = rows.pop()",
    ],
)
def test_what_is_the_same_everywhere_is_let_be(line: str) -> None:
    assert not found_in({"base/some.py": line})


def test_the_allowed_breaches_are_still_needed() -> None:
    files = replicated()
    known = known_in({path: ast.parse(text) for path, text in files.items()})
    for path, function in ALLOWED:
        [node] = [
            item
            for item in ast.parse(files[path]).body
            if isinstance(item, ast.FunctionDef) and item.name == function
        ]
        lines = lines_of(ast.iter_child_nodes(node), set(), known[path])
        assert list(lines), f"{path} {function} is clean now"


def test_a_wire_value_with_a_map_is_found() -> None:
    tree = ast.parse("class Bad(Wire):\n    names: tuple[dict[str, int], ...]\n    fine: int")
    assert len(list(wire_breaches(tree))) == 1
