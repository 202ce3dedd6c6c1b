"""Generation: a cache that changes nothing, and noise that follows the softmax."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpin.base.errors import Misuse
from dpin.base.ids import NO_BLOB, NO_DIGEST
from dpin.base.units import MILLION
from dpin.compute.infer import (
    CachedScores,
    choose,
    generate,
    output_digest,
    visible_from,
)
from dpin.compute.models import GPT
from dpin.compute.state import initial_state
from dpin.compute.task import InferManifest
from dpin.compute.tensors import as_float
from dpin.compute.weights import loaded
from tests.support.training import TINY


def lively() -> GPT:
    """A model whose next byte is far from certain, and depends on all it sees."""
    return loaded(TINY, as_float(initial_state(TINY, b"seed").parameters) * 4)


def manifest(
    prompt: bytes = b"def ", tokens: int = 3 * TINY.context, heat: int = MILLION
) -> InferManifest:
    return InferManifest(
        model=NO_BLOB,
        config=TINY,
        state_hash=NO_DIGEST,
        prompt=prompt,
        tokens=tokens,
        temperature_ppm=heat,
        seed=b"seed",
        fingerprint=NO_DIGEST,
    )


@torch.no_grad()
def scores_anew(model: GPT, text: list[int]) -> torch.Tensor:
    """(256,) as CachedScores gives, without a cache."""
    shown: torch.Tensor = model(torch.tensor([text[visible_from(len(text), model.context) :]]))
    return shown[0, -1]


@given(st.integers(1, 500), st.integers(1, 64))
def test_what_the_model_sees_fits_its_context_and_is_never_less_than_half(
    length: int, context: int
) -> None:
    shown = length - visible_from(length, context)
    assert min(length, (context + 1) // 2) <= shown <= context


@pytest.mark.parametrize("heat", [0, MILLION])
@pytest.mark.parametrize("prompt", [b"", b"def ", b"x" * (TINY.context + 3)])
def test_the_cache_changes_no_byte(prompt: bytes, heat: int) -> None:
    model, wanted = lively(), manifest(prompt, heat=heat)
    text = list(prompt or b"\n")
    for index in range(wanted.tokens):
        text.append(choose(scores_anew(model, text), heat, (b"seed", index)))
    assert bytes(generate(model, wanted, "cpu")) == bytes(text[len(prompt or b"\n") :])


def test_cached_scores_are_those_computed_anew() -> None:
    model = lively()
    cache = CachedScores(model, "cpu")
    for length in range(1, 3 * TINY.context):
        text = [7 * place % 256 for place in range(length)]
        assert torch.allclose(cache.of(text), scores_anew(model, text), atol=1e-5)


def test_a_generation_is_the_same_again() -> None:
    assert bytes(generate(lively(), manifest(), "cpu")) == bytes(
        generate(lively(), manifest(), "cpu")
    )


def test_greedy_generation_is_what_the_exported_model_generates() -> None:
    model = lively()
    tokens = TINY.context - 4
    assert bytes(generate(model, manifest(tokens=tokens, heat=0), "cpu")) == model.generate(
        b"def ", tokens
    )


def test_noise_samples_the_softmax() -> None:
    scores = torch.full((256,), -50.0)
    scores[65], scores[66] = 1.0, 0.0
    drawn = Counter(choose(scores, MILLION, (b"dice", index)) for index in range(2000))
    assert set(drawn) == {65, 66}
    assert 0.69 < drawn[65] / 2000 < 0.77  # e / (1 + e) = 0.731


def test_a_low_temperature_comes_near_to_greedy() -> None:
    scores = torch.zeros(256)
    scores[65] = 1.0
    assert {choose(scores, MILLION // 100, (b"dice", index)) for index in range(100)} == {65}


@pytest.mark.parametrize(("tokens", "heat"), [(0, 0), (1 << 21, 0), (1, -1), (1, 101 * MILLION)])
def test_an_impossible_generation_is_refused(tokens: int, heat: int) -> None:
    with pytest.raises(Misuse):
        next(generate(lively(), manifest(tokens=tokens, heat=heat), "cpu"))


def test_output_digests_are_pinned() -> None:
    # SHA-256 of "dpin/output/v1", a zero byte, and the output.
    digest = "d1c2bb39b9c109a3a053f9257e3a06d14c76e59f85b8aa37f95417aebd34165e"
    assert output_digest(b"42").hex() == digest
