"""The torch-free stream: against the C++ standard, recorded values and torch itself."""

import random

import numpy as np
import pytest

from jaxmore.data import TorchGenerator

SEEDS = [0, 42, 2147483647, 2147483657, 2**32 - 1, 2**32, 2**64 - 1, -1, -42, -(2**63)]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def pair(torch, seed):
    return TorchGenerator(seed), torch.Generator().manual_seed(seed)


def check_next_draw(torch, ours, theirs):
    assert ours.randint(99) == torch.randint(99, (), generator=theirs).item()


def check_randn(torch, ours, theirs):
    theirs = theirs.numpy()
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    if ours.size < 16:  # equal, unless another C library rounds otherwise
        np.testing.assert_array_max_ulp(ours, theirs, maxulp=1)
    elif torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        np.testing.assert_array_max_ulp(ours, theirs, maxulp=6)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=4e-6)


def test_raw_draws_are_those_of_the_cpp_standard():
    # ISO C++ [rand.predef]: the 10,000th draw of a default mt19937 (seed 5489) is 4123659995.
    draws = TorchGenerator(5489).random(10_000)
    assert draws.dtype == np.uint32
    assert (draws[0], draws[-1]) == (3499211612, 4123659995)


def test_recorded_values():
    """What torch 2.13 drew, so that the stream is pinned where torch isn't installed."""
    generator = TorchGenerator(2147483647)
    assert generator.randint(0, 27, (4,)).tolist() == [0, 26, 16, 12]
    assert generator.randperm(5).tolist() == [3, 1, 4, 0, 2]
    small = [2.0991551876, 0.8963767886, 0.3379062116]
    np.testing.assert_allclose(generator.randn(3), small, rtol=2e-7)
    large = [1.5617842674, 1.3094859123, 0.4584565163, 0.7277487516]
    np.testing.assert_allclose(generator.randn(17)[[0, 1, 15, 16]], large, rtol=5e-7)
    assert generator.randint(-(2**40), 2**40, (2,)).tolist() == [-893045443108, -949923553732]


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds(torch, seed):
    ours, theirs = pair(torch, seed)
    expected = torch.randint(0, 1000, (100,), generator=theirs).tolist()
    assert ours.randint(0, 1000, (100,)).tolist() == expected
    # Of the seed the low 32 bits alone count.
    assert TorchGenerator(seed % 2**32).randint(0, 1000, (100,)).tolist() == expected


@pytest.mark.parametrize("exponent", [0, 1, 27, 28, 31, 32, 33, 53, 62])
@pytest.mark.parametrize("offset", [-1, 0, 1])
@pytest.mark.parametrize("low", [0, -5, -(2**61)])
def test_randint_ranges(torch, exponent, offset, low):
    high = low + max(2**exponent + offset, 1)
    ours, theirs = pair(torch, exponent)
    drawn = ours.randint(low, high, (5, 3))
    assert drawn.dtype == np.int64
    assert drawn.tolist() == torch.randint(low, high, (5, 3), generator=theirs).tolist()
    check_next_draw(torch, ours, theirs)


def test_randint_of_all_int64(torch):
    ours, theirs = pair(torch, 3)
    bounds = -(2**63), 2**63 - 1
    expected = torch.randint(*bounds, (50,), generator=theirs).tolist()
    assert ours.randint(*bounds, (50,)).tolist() == expected


def test_randint_takes_the_bounds_and_sizes_of_torch(torch):
    ours, theirs = pair(torch, 4)
    assert ours.randint(7, size=(3,)).tolist() == torch.randint(7, (3,), generator=theirs).tolist()
    assert ours.randint(7, size=3).tolist() == torch.randint(7, (3,), generator=theirs).tolist()
    assert ours.randint(2, 7).tolist() == torch.randint(2, 7, (), generator=theirs).item()
    assert ours.randint(2, 7, (0, 4)).shape == (0, 4)


@pytest.mark.parametrize("n", [*range(20), 100, 1000, 22_655])
def test_randperm(torch, n):
    ours, theirs = pair(torch, n)
    permutation = ours.randperm(n)
    assert permutation.dtype == np.int64
    np.testing.assert_array_equal(permutation, torch.randperm(n, generator=theirs).numpy())
    check_next_draw(torch, ours, theirs)


def test_randperm_of_the_training_windows(torch):
    ours, theirs = pair(torch, 5)
    permutation = ours.randperm(182_625)
    np.testing.assert_array_equal(permutation, torch.randperm(182_625, generator=theirs).numpy())


@pytest.mark.parametrize("seed", SEEDS)
def test_randn_of_every_length(torch, seed):
    ours, theirs = pair(torch, seed)
    for n in [*range(101), 270, 1920, 6000]:
        check_randn(torch, ours.randn(n), torch.randn(n, generator=theirs))
    check_next_draw(torch, ours, theirs)


def test_a_million_normal_values(torch):
    ours, theirs = pair(torch, 6)
    values, expected = ours.randn(1000, 1003), torch.randn((1000, 1003), generator=theirs)
    check_randn(torch, values, expected)
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        off = np.abs(values.view(np.int32).astype(np.int64) - expected.numpy().view(np.int32))
        assert (off == 0).mean() > 0.8
        assert (off <= 2).mean() > 0.999


def test_the_second_normal_value_waits_for_the_next_small_call(torch):
    ours, theirs = pair(torch, 7)
    for n in [1, 1, 3, 100, 1, 16, 2, 0, 15, 1]:
        check_randn(torch, ours.randn(n), torch.randn(n, generator=theirs))
    check_randn(torch, ours.randn(), torch.randn((), generator=theirs))


@pytest.mark.parametrize("seed", range(30))
def test_any_calls_in_any_order(torch, seed):
    ours, theirs = pair(torch, seed)
    choice = random.Random(seed)
    for _ in range(20):
        n = choice.choice([1, 2, 5, 15, 16, 17, 33, 64, 200])
        match choice.randrange(3):
            case 0:
                high = 2 ** choice.randrange(1, 63)
                expected = torch.randint(-7, high, (n,), generator=theirs)
                assert ours.randint(-7, high, (n,)).tolist() == expected.tolist()
            case 1:
                assert ours.randperm(n).tolist() == torch.randperm(n, generator=theirs).tolist()
            case _:
                check_randn(torch, ours.randn(n), torch.randn(n, generator=theirs))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda g: g.randint(3, 3, (2,)), "not 3 and 3"),
        (lambda g: g.randint(5, 3, (2,)), "low < high"),
        (lambda g: g.randint(0, 2**63, (2,)), "low < high"),
        (lambda g: g.randint(-(2**63) - 1, 0, (2,)), "low < high"),
        (lambda g: g.randint(0, 3, (-1,)), "negative size"),
        (lambda g: g.randint(0, 3, (-2, -3)), "negative size"),
        (lambda g: g.randperm(-1), "not -1"),
        (lambda g: g.randperm(214_748_364), "not 214748364"),
        (lambda g: g.randn(-1), "negative size"),
        (lambda g: g.randn(-4, -5), "negative size"),
        (lambda g: g.random(-1), "negative"),
    ],
)
def test_bad_requests_draw_nothing(draw, message):
    generator = TorchGenerator(8)
    with pytest.raises(ValueError, match=message):
        draw(generator)
    assert generator.random(3).tolist() == TorchGenerator(8).random(3).tolist()


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_bad_seeds(torch, seed):
    with pytest.raises(ValueError, match="outside"):
        TorchGenerator(seed)
    with pytest.raises((ValueError, RuntimeError), match="Overflow"):
        torch.Generator().manual_seed(seed)
