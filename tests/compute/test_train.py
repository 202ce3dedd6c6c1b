"""The inner loop, beside torch's own AdamW, and how batches are drawn."""

import pytest
import torch
from msgspec.structs import replace
from torch.nn import functional

from dpin.base.errors import Misuse
from dpin.compute.checkpoint import Start
from dpin.compute.course import Course
from dpin.compute.examples import examples_of
from dpin.compute.models import GPT
from dpin.compute.muon import hidden, orthogonal, others
from dpin.compute.noise import noise, words
from dpin.compute.state import initial_state
from dpin.compute.task import InnerSpec
from dpin.compute.tensors import as_float
from dpin.compute.train import Diverged, Trainer
from dpin.compute.weights import loaded, shapes
from tests.support.training import CORPUS, TINY, TINY_INNER

COURSE = Course(TINY_INNER, 40)
STATE = initial_state(TINY, b"seed")
TEXT = examples_of(TINY, [CORPUS])


def flat(model: GPT) -> torch.Tensor:
    weights = dict(model.named_parameters())
    return torch.cat([weights[name].detach().reshape(-1) for name in shapes(TINY)])


def test_the_flat_optimizer_does_what_torchs_adamw_does() -> None:
    trainer = Trainer(TINY, COURSE, "cpu")
    trainer.load(Start(STATE, None))
    model = loaded(TINY, as_float(STATE.parameters))
    groups = [
        {"params": [part for part in model.parameters() if part.ndim > 1], "weight_decay": 0.1},
        {"params": [part for part in model.parameters() if part.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    for step in range(10):
        batch = TEXT.batch((step,), 4)
        for group in optimizer.param_groups:
            group["lr"] = COURSE.rate(step)
        optimizer.zero_grad()
        scores = model(batch[:, :-1])
        loss = functional.cross_entropy(scores.reshape(-1, 256), batch[:, 1:].reshape(-1))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        assert trainer.step(batch, step) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert torch.allclose(trainer.snapshot().parameters, flat(model), atol=1e-5)


def torchs_muon(model: GPT, names: list[str], rate: float) -> torch.optim.Muon:
    weights = dict(model.named_parameters())
    matrices = [weights[name] for name in names]
    fit = "match_rms_adamw"
    return torch.optim.Muon(matrices, lr=rate, weight_decay=0.1, momentum=0.95, adjust_lr_fn=fit)


def test_muon_turns_hidden_matrices_as_torchs_does_and_leaves_the_rest_to_adamw() -> None:
    course, places = Course(replace(TINY_INNER, muon_rate_ppm=5_000), 40), hidden(shapes(TINY))
    model = loaded(TINY, as_float(STATE.parameters))
    names = [name for name in shapes(TINY) if name.startswith("blocks.0") and "norm" not in name]
    batch = TEXT.batch((0,), 4)
    scores = model(batch[:, :-1])
    torch.autograd.backward(
        functional.cross_entropy(scores.reshape(-1, 256), batch[:, 1:].reshape(-1))
    )
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    torchs_muon(model, names, course.muon_rate(0)).step()  # type: ignore[no-untyped-call]
    found = []
    for each in (course, COURSE):
        trainer = Trainer(TINY, each, "cpu")
        trainer.load(Start(STATE, None))
        trainer.step(batch, 0)
        found.append(trainer.snapshot().parameters - as_float(STATE.parameters))
    due = flat(model) - as_float(STATE.parameters)
    assert len(places) == len(names)
    for place in places:
        ours, theirs = place.of(found[0]).reshape(-1), place.of(due).reshape(-1)
        # Torch's own iteration is in bfloat16.
        assert functional.cosine_similarity(ours, theirs, dim=0) > 0.99
        assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=0.03)
    rest = others(places, len(due))
    assert all(torch.equal(found[0][low:high], found[1][low:high]) for low, high in rest)
    assert sum(high - low for low, high in rest) + sum(it.end - it.start for it in places) == len(
        due
    )


def test_a_matrix_made_orthogonal_has_singular_values_near_one() -> None:
    for rows, columns in ((8, 32), (32, 8), (16, 16)):
        made = orthogonal(torch.randn(rows, columns, generator=torch.Generator().manual_seed(1)))
        values = torch.linalg.svdvals(made)
        assert 0.5 < float(values.min()) <= float(values.max()) < 1.3


def test_the_rate_warms_up_and_falls_to_a_tenth() -> None:
    rates = [COURSE.rate(cursor) for cursor in range(41)]
    assert rates[0] == pytest.approx(0.003 / 4)
    assert max(rates) == rates[3]
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[40] == COURSE.rate(1000) == pytest.approx(0.0003)


def test_a_training_that_diverges_is_told() -> None:
    wild = InnerSpec(1_000_000, 0, 0, 4, 8)
    trainer = Trainer(TINY, Course(wild, 8), "cpu")
    trainer.load(Start(STATE, None))
    trainer.vectors.flat.fill_(float("inf"))
    trainer.step(TEXT.batch((0,), 4), 0)
    with pytest.raises(Diverged):
        trainer.snapshot()


def test_batches_are_drawn_from_the_text_by_what_names_them() -> None:
    batch = TEXT.batch((b"job", 1, 2), 4)
    assert batch.shape == (4, TINY.context + 1)
    assert all(bytes(row.tolist()) in CORPUS for row in batch)
    assert torch.equal(batch, TEXT.batch((b"job", 1, 2), 4))
    assert not torch.equal(batch, TEXT.batch((b"job", 1, 3), 4))


def test_held_out_sequences_reach_from_end_to_end() -> None:
    spread = TEXT.spread(10)
    assert bytes(spread[0].tolist()) == CORPUS[: TINY.context + 1]
    assert bytes(spread[-1].tolist()) == CORPUS[-TINY.context - 1 :]
    assert examples_of(TINY, [b"x" * (TINY.context + 1)]).spread(3).shape == (3, TINY.context + 1)


def test_a_text_shorter_than_one_window_is_refused() -> None:
    with pytest.raises(Misuse):
        examples_of(TINY, [b"x" * TINY.context])


def test_a_model_sees_no_byte_ahead() -> None:
    model = loaded(TINY, as_float(STATE.parameters))
    text = torch.arange(TINY.context)[None]
    other = text.clone()
    other[0, 9:] = 200
    assert torch.equal(model(text)[0, :9], model(other)[0, :9])
    assert not torch.equal(model(text)[0, 9:], model(other)[0, 9:])


def test_noise_is_pinned() -> None:
    assert noise(("a", 1), 8).hex() == "c95b65f86449774d"
    assert words(("a", 1), 1) == [int.from_bytes(noise(("a", 1), 8), "little")]
