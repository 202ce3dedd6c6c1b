"""Who trains a model: this process, perhaps with a group's help, or a group that shares it."""

from dpin.compute.course import Course
from dpin.compute.engine import FSDP2
from dpin.compute.task import Architecture
from dpin.compute.train import PLAIN, Inner, Tools, Trainer


def trainer_of(
    spec: Architecture, course: Course, device: str, frozen: bytes = b"", tools: Tools = PLAIN
) -> Inner:
    """By the topology that the provider has chosen; see Trainer."""
    if tools.crew is not None and tools.engine.topology == FSDP2:
        from dpin.compute.sharded import Group, ShardedTrainer  # FSDP takes long to load

        return ShardedTrainer(spec, course, device, frozen, Group(tools.engine, tools.crew))
    return Trainer(spec, course, device, frozen, tools)
