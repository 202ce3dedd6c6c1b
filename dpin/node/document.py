"""YAML as plain values that remember where they were written.

A strict subset of YAML: no anchors, tags or second document, keys are words and stand once, and
what merely looks like a number, a date or a truth value in some version of YAML stays text.
"""

import re
from dataclasses import dataclass, field
from typing import Final

import yaml

from dpin.base.errors import Misuse

TEXT_CHARS_MAX: Final = 1 << 18
DEPTH_MAX: Final = 8
SETS_MAX: Final = 64

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_NULLS: Final = {"", "~", "null"}
_TRUTHS: Final = {"true": True, "false": False}

Tree = dict[str, "Tree"] | list["Tree"] | str | int | bool | None


@dataclass
class Document:
    """The top mapping of a file; `places` has "file:line" for each path such as "args.rounds"."""

    source: str
    values: dict[str, Tree] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def place(self, path: str) -> str:
        """Where `path`, or the nearest thing around it, was written."""
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return self.places.get(path, self.source)


def read_document(text: str, source: str) -> Document:
    """Read one mapping; raises Misuse with file:line for anything else."""
    if len(text) > TEXT_CHARS_MAX:
        raise Misuse(f"{source} is longer than {TEXT_CHARS_MAX} characters")
    document = Document(source)
    try:
        _check_events(text, source)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"{source}:{mark.line + 1}" if mark else source
        raise Misuse(f"{line}: {error.problem}", fix="correct the YAML there") from None
    except (yaml.YAMLError, ValueError) as error:
        raise Misuse(f"{source}: {str(error).splitlines()[0]}", fix="save it as UTF-8") from None
    if not isinstance(node, yaml.MappingNode):
        raise Misuse(f"{source}: a job file is a list of `key: value`", fix="see docs/job-file.md")
    document.values = _mapping(document, node, "")
    return document


def apply_sets(document: Document, sets: list[str]) -> None:
    """Apply `--set path=value` in order; raises Misuse."""
    if len(sets) > SETS_MAX:
        raise Misuse(f"{len(sets)} values to set, at most {SETS_MAX} are taken")
    for text in sets:
        path, equals, value = text.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys) or len(keys) >= DEPTH_MAX:
            raise Misuse(f"--set {text[:60]!r}: not a path and a value", fix="--set args.rounds=3")
        inner = read_document(f"value: {value}\n", f"--set {path}").values["value"]
        table = document.values
        for key in keys[:-1]:
            below = table.setdefault(key, {})
            if not isinstance(below, dict):
                raise Misuse(f"--set {path}: {key!r} has no fields in this file")
            table = below
        table[keys[-1]] = inner
        document.places[".".join(keys)] = f"--set {path.strip()}"
        for count in range(1, len(keys)):
            document.places.setdefault(".".join(keys[:count]), f"--set {path.strip()}")


def _check_events(text: str, source: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        place = f"{source}:{event.start_mark.line + 1}" if event.start_mark else source
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_MAX:
            raise Misuse(f"{place}: nested more than {DEPTH_MAX} deep")
        if isinstance(event, yaml.NodeEvent) and _is_fancy(event):
            raise Misuse(f"{place}: anchors, aliases and tags are not read", fix="write it out")


def _is_fancy(event: yaml.NodeEvent) -> bool:
    tag = getattr(event, "tag", None)
    return event.anchor is not None or tag not in {None, "!"}


def _mapping(document: Document, node: yaml.MappingNode, path: str) -> dict[str, Tree]:
    table: dict[str, Tree] = {}
    for key, value in node.value:
        place = f"{document.source}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise Misuse(f"{place}: a key must be a word")
        name = str(key.value)
        if name in table:
            raise Misuse(f"{place}: {name!r} stands here twice", fix="remove one of the two")
        here = f"{path}.{name}" if path else name
        document.places[here] = place
        table[name] = _value(document, value, here)
    return table


def _value(document: Document, node: yaml.Node, path: str) -> Tree:
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, path)
    if isinstance(node, yaml.SequenceNode):
        return [_value(document, item, path) for item in node.value]
    assert isinstance(node, yaml.ScalarNode), "aliases were refused"
    text = str(node.value)
    if node.style is not None:  # Quoted: it is text, whatever it looks like.
        return text
    if text in _NULLS:
        return None
    if text in _TRUTHS:
        return _TRUTHS[text]
    return int(text) if _INTEGER.fullmatch(text) else text
