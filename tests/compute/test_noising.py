"""Clip, noise and budget of differentially private jobs."""

from math import isqrt

import pytest
import torch

from dpin.base.errors import Misuse
from dpin.compute.budget import check_budget, epsilon, rounds_within
from dpin.compute.noising import Noise, clipped_to, gaussian, noised
from dpin.compute.safety import PrivacySpec


def test_noise_has_the_deviation_it_should_and_is_another_for_every_seed() -> None:
    for deviation in (0.7, 40.0, 30_000.0):
        drawn = gaussian(200_000, deviation, b"s" * 32).double()
        assert abs(float(drawn.mean())) < 5 * deviation / 200_000**0.5
        assert abs(float(drawn.std()) / deviation - 1) < 0.01
    assert torch.equal(gaussian(100, 5.0, b"s" * 32), gaussian(100, 5.0, b"s" * 32))
    assert not torch.equal(gaussian(100, 5.0, b"s" * 32), gaussian(100, 5.0, b"t" * 32))


def test_noise_falls_off_as_a_discrete_gaussian_does() -> None:
    drawn = gaussian(400_000, 1.0, b"s" * 32)
    whole = sum(2.718281828 ** (-place * place / 2) for place in range(-9, 10))
    for place in range(-3, 4):
        want = 400_000 * 2.718281828 ** (-place * place / 2) / whole
        assert abs(int((drawn == place).sum()) - want) < 6 * want**0.5


def test_no_update_is_longer_than_the_clip() -> None:
    numbers = torch.arange(-5_000, 5_000) * 1_000
    short = clipped_to(numbers, 1 << 20)
    assert isqrt(int(short.square().sum())) <= 1 << 20
    assert isqrt(int(short.square().sum())) > (1 << 20) * 99 // 100
    assert torch.equal(clipped_to(short, 1 << 20), short)


def test_large_noise_lies_with_the_numbers_on_a_coarser_grid() -> None:
    noise = Noise(1 << 26, 1 << 22, b"s" * 32)
    assert noise.coarse == 7
    found = noised(torch.arange(1_000), noise)
    assert not bool((found % 128).any())
    assert abs(float(found.double().std()) / 2**22 - 1) < 0.1


def test_the_budget_is_that_of_the_accountant() -> None:
    # Figures of dp-accounting as design/verification.md 1.11 has them.
    assert epsilon(4_000_000, 100, 1e-5) == pytest.approx(14.1, abs=0.05)


def test_a_job_that_would_overspend_is_refused_and_told_how_far_it_gets() -> None:
    privacy = PrivacySpec("dp", clip=1 << 20, noise_ppm=4_000_000, epsilon_milli=10_000)
    most = rounds_within(privacy)
    check_budget(privacy, most)
    with pytest.raises(Misuse, match="more than the 10 that") as caught:
        check_budget(privacy, most + 1)
    assert str(most) in caught.value.fix
    check_budget(PrivacySpec("secagg"), 10_000)


def test_what_is_noised_was_clipped_first() -> None:
    giant = torch.full((4_096,), 1 << 24)
    found = noised(giant, Noise(1 << 20, 100, b"s" * 32))
    assert float(found.double().norm()) < 1.01 * (1 << 20) + 64 * 150
