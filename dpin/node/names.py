"""Names that people can remember, derived from a node's id: the same on every node."""

from hashlib import sha256
from typing import Final

from dpin.base.ids import NodeId

_MOODS: Final = """
bold brave bright calm clever cosy eager early fair fleet fond glad golden green happy humble
jolly keen kind lively lucky mellow merry mild neat nimble noble plain proud quick quiet rapid
ready rosy silent silver simple sleek smart snug solid spry steady still sunny swift tidy true
warm wise witty young zesty
"""
_ANIMALS: Final = """
badger bat bear beaver bison boar bream camel carp cat crab crane crow deer dove duck eagle eel
elk falcon ferret finch fox frog gecko goat goose gull hare hawk heron ibis jay kiwi koala lark
lion llama lynx mole moose moth mouse newt otter owl panda pike puffin quail raven robin seal
shrew sloth snail stork swan tapir tern toad trout vole wasp whale wolf wren yak zebra
"""


def name_of(node: NodeId) -> str:
    """A name such as "cosy-otter"; two nodes may share one, so it never stands for an id."""
    draw = int.from_bytes(sha256(b"dpin/name/v1\0" + node).digest()[:8])
    moods, animals = _MOODS.split(), _ANIMALS.split()
    return f"{moods[draw % len(moods)]}-{animals[draw // len(moods) % len(animals)]}"
