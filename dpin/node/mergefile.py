"""How a job file has updates written and merged: outer step, encoding, robust rule."""

from typing import Final

from dpin.base.units import MILLION, Ppm
from dpin.compute.fragments import GRAIN
from dpin.compute.limits import CHUNK, ENCODINGS, KEPT_MAX, MERGE_RULES
from dpin.compute.presets import (
    OUTER_ENCODINGS,
    OUTERS,
    TERNARY_FEEDBACK_PPM,
    outer_preset,
    sparse_preset,
)
from dpin.compute.safety import RobustSpec
from dpin.compute.sizes import builtin_parameters
from dpin.compute.task import INT8, SPARSE, TERNARY, EncodingSpec, ModelSpec, OuterSpec
from dpin.node.document import Document
from dpin.node.fields import suggestion
from dpin.node.jobfields import EncodingFields, OuterFields, RobustFields, TrainFields
from dpin.node.refusals import refuse, share_at
from dpin.node.words import counted

AUTO: Final = "auto"
DENSITY_MAX_PPM: Final = KEPT_MAX * MILLION // CHUNK


def outer_step(document: Document, fields: TrainFields) -> OuterSpec:
    """The outer step asked for; by itself that which goes with the number of rounds."""
    outer = fields.outer
    if isinstance(outer, OuterFields):
        return OuterSpec(
            share_at(document, "outer.learning_rate", outer.learning_rate, 2 * MILLION),
            share_at(document, "outer.momentum", outer.momentum, MILLION - 1),
            outer.nesterov,
            outer.warmup_rounds,
        )
    if outer == AUTO:
        return outer_preset(fields.args.rounds)
    if outer not in OUTERS:
        known = suggestion(outer, {AUTO, *OUTERS})
        refuse(document, "outer", f"there is no outer step {outer!r}", known)
    return OUTERS[outer]


def encoding(document: Document, fields: TrainFields, model: ModelSpec) -> EncodingSpec:
    """The encoding asked for; by itself that which goes with the outer step."""
    said, fragments = fields.encoding, 1
    if isinstance(said, EncodingFields):
        name, feedback, fragments = said.name, said.feedback, said.fragments
        density = share_at(document, "encoding.density", said.density, DENSITY_MAX_PPM)
        kept = density * CHUNK // MILLION
        if (name == SPARSE) != (kept > 0):
            fix = "encoding: {name: sparse, density: 6.25%, feedback: 0.95}"
            problem = f"{said.density} does not go with {name}" if kept else "sparse needs it"
            fix = f"leave density out, or {fix}" if kept else fix
            refuse(document, "encoding.density", problem, fix)
        share = share_at(document, "encoding.feedback", feedback, MILLION)
        if fragments > 1:
            share = _kept_whole(document, fields, share, builtin_parameters(model))
    else:
        outer = fields.outer if isinstance(fields.outer, str) else AUTO
        name, kept = OUTER_ENCODINGS.get(outer, INT8) if said == AUTO else said, 0
        share = Ppm(TERNARY_FEEDBACK_PPM if name == TERNARY else 0)
    if name not in ENCODINGS:
        known = suggestion(name, {AUTO, *ENCODINGS})
        refuse(document, "encoding", f"there is no encoding {name!r}", known)
    if name == SPARSE and not kept:
        return sparse_preset(builtin_parameters(model))
    return EncodingSpec(name, kept, share, fragments)


def _kept_whole(document: Document, fields: TrainFields, share: Ppm, parameters: int) -> Ppm:
    """The feedback of a model in fragments: a provider keeps all that it has not said yet."""
    where, fix = "encoding.fragments", "fragments: 1"
    if 0 < share < MILLION:
        problem = "with fragments all that was not said is kept"
        refuse(document, "encoding.feedback", problem, "leave feedback out")
    if fields.outer == "data-parallel":
        refuse(document, where, "data-parallel merges a gradient whole", f"outer: diloco, or {fix}")
    mode = fields.privacy if isinstance(fields.privacy, str) else fields.privacy.mode
    if mode not in {"none", "sealed"}:
        refuse(document, where, f"privacy {mode} hides updates that are whole", fix)
    most = parameters // GRAIN
    if isinstance(fields.encoding, EncodingFields) and fields.encoding.fragments > most:
        problem = f"a model of {parameters:,} parameters has {most} fragments at most"
        refuse(document, where, problem, f"fragments: {most}")
    _reached(document, fields)
    return Ppm(MILLION)


def _reached(document: Document, fields: TrainFields) -> None:
    """A round merges one fragment: with fewer rounds some of the model would stay as it began."""
    said, rounds = fields.encoding, fields.args.rounds
    if fields.args.steps_per_round == AUTO or not isinstance(said, EncodingFields):
        return  # `auto` chooses the rounds, once it has timed a step.
    if said.fragments > rounds:
        problem = f"{counted(rounds, 'round')} would merge {rounds} of {said.fragments} fragments"
        fix = f"args.rounds: {said.fragments} or more, or fewer fragments"
        refuse(document, "encoding.fragments", problem, fix)


def robust_rule(document: Document, fields: TrainFields, steps: int) -> RobustSpec:
    """The rule of merging; with fltrust the requester takes `steps` steps a round itself."""
    said = fields.robust
    robust = RobustFields(rule=said) if isinstance(said, str) else said
    if robust.rule not in MERGE_RULES:
        where = "robust" if isinstance(said, str) else "robust.rule"
        fix = suggestion(robust.rule, MERGE_RULES)
        refuse(document, where, f"there is no rule {robust.rule!r}", fix)
    trusted = steps if robust.rule == "fltrust" else 0
    return RobustSpec(robust.rule, robust.liars, trusted, robust.witnesses)
