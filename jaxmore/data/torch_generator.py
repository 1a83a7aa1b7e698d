"""PyTorch's CPU random stream without PyTorch: seeded notebooks replayed with NumPy and JAX."""

import math

import numpy as np
import numpy.typing as npt

__all__ = ["TorchGenerator"]

# From this range on randint takes 64-bit draws, to bound the bias of the modulo.
WIDE_RANGE = 2**28
# Above this length torch shuffles by another algorithm.
LONGEST_PERMUTATION = (2**32 - 1) // 20 - 1


class TorchGenerator:
    """The stream of `torch.Generator().manual_seed(seed)` on the CPU, draw for draw.

    Underneath is the 32-bit Mersenne twister MT19937, initialised with the low 32 bits of the seed;
    each method takes as many raw draws as torch does, so calls may be interleaved freely. Compared
    with PyTorch 2.13:

    - `random`, `randint` and `randperm` are exact.
    - `randn` of fewer than 16 values is exact, up to the C library's float64 functions.
    - `randn` of 16 values and more uses torch's formula, rounded to float32 where torch rounds.
      What is left are torch's AVX2 approximations of `log`, `sin` and `cos`: of 50 million values
      83% were equal, 99.9% within 2 units in the last place, all but two within 3, the worst 5
      off. A torch without AVX2 (ARM, or `ATEN_CPU_CAPABILITY=default`) rounds the angle elsewhere:
      there the values differ by up to 4e-6.

    Args:
        seed: an integer in [-2**63, 2**64), as `manual_seed` takes it.

    Raises:
        ValueError: the seed lies outside that range.

    Source: PyTorch's ATen, `core/DistributionsHelper.h` and `native/cpu/DistributionTemplates.h`;
    Matsumoto and Nishimura, "Mersenne Twister", 1998; Box and Muller, "A Note on the Generation of
    Random Normal Deviates", 1958.

    >>> generator = TorchGenerator(2147483647)
    >>> generator.randint(0, 27, (4,)).tolist(), generator.randperm(5).tolist()
    ([0, 26, 16, 12], [3, 1, 4, 0, 2])
    """

    def __init__(self, seed: int) -> None:
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"the seed {seed} is outside [-2**63, 2**64)")
        # The legacy RandomState: its seeding is MT19937's own, and NumPy has frozen its stream.
        self._twister = np.random.RandomState(seed & 0xFFFF_FFFF)
        self._next_normal: float | None = None

    def random(self, n: int) -> npt.NDArray[np.uint32]:
        """The next n raw 32-bit draws, (n,) uint32.

        Raises:
            ValueError: n is negative.
        """
        return self._twister.randint(0, 2**32, size=n, dtype=np.uint32)

    def _random64(self, n: int) -> npt.NDArray[np.uint64]:
        """The next n 64-bit draws, (n,) uint64: two raw draws each, the high half first."""
        high, low = self.random(2 * n).reshape(n, 2).astype(np.uint64).T
        return (high << np.uint64(32)) | low

    def randint(
        self, low: int, high: int | None = None, size: int | tuple[int, ...] = ()
    ) -> npt.NDArray[np.int64]:
        """Integers from [low, high), or [0, low) where high is None, as `torch.randint` draws them.

        `low + draw % (high - low)`; a draw has 32 bits for a range below 2**28, else 64 (older
        releases of torch: below 2**32).

        Args:
            low: the smallest value, at least -2**63; without high, the exclusive upper end.
            high: the exclusive upper end, at most 2**63 - 1.
            size: the shape of the result.

        Returns:
            `size` int64.

        Raises:
            ValueError: an empty range, bounds outside these, a negative size.
        """
        low, high = (0, low) if high is None else (low, high)
        if not -(2**63) <= low < high < 2**63:
            raise ValueError(f"randint needs -2**63 <= low < high < 2**63, not {low} and {high}")
        n = _count(size if isinstance(size, tuple) else (size,))
        draws = self.random(n).astype(np.uint64) if high - low < WIDE_RANGE else self._random64(n)
        # Unsigned: the range may exceed int64, and adding low modulo 2**64 comes out right.
        shifted = draws % np.uint64(high - low) + np.uint64(low % 2**64)
        return shifted.view(np.int64).reshape(size)

    def randperm(self, n: int) -> npt.NDArray[np.int64]:
        """A permutation of 0 … n-1, (n,) int64, as `torch.randperm` draws it.

        Fisher and Yates from the front: for i = 0 … n-2, entries i and i + draw % (n - i) change
        places.

        Raises:
            ValueError: n is negative, or above 214,748,363, where torch takes another algorithm.
        """
        if not 0 <= n <= LONGEST_PERMUTATION:
            raise ValueError(f"randperm needs 0 <= n <= {LONGEST_PERMUTATION}, not {n}")
        steps = np.arange(max(n - 1, 0))
        others = steps + self.random(len(steps)) % (n - steps)
        # A list: each swap depends on those before it, and one by one NumPy is slow.
        permutation = list(range(n))
        for i, j in enumerate(others.tolist()):
            permutation[i], permutation[j] = permutation[j], permutation[i]
        return np.array(permutation, dtype=np.int64)

    def randn(self, *shape: int) -> npt.NDArray[np.float32]:
        """Standard normal values, `shape` float32, as `torch.randn` draws them.

        Box and Muller's transform makes two values of two uniforms u and v:

            z = sqrt(-2 log(1 - u)) cos(2 pi v),    z' = sqrt(-2 log(1 - u)) sin(2 pi v)

        - 16 values and more: first a 24-bit uniform for each value, then the transform in blocks
          of 16, in float32: the first 8 hold u and become z, the last 8 hold v and become z'. If
          the length isn't a multiple of 16, 16 new uniforms make the last 16 values anew.
        - Fewer than 16 values: one after another in float64 from 53-bit uniforms, v drawn before
          u; z' waits for the next single value, past calls for 16 and more if need be.

        Raises:
            ValueError: a negative size.
        """
        n = _count(shape)
        if n < 16:
            return np.array([self._normal() for _ in range(n)], dtype=np.float32).reshape(shape)
        whole = n - n % 16
        # The uniforms of an incomplete block are drawn, and never used.
        normals = _box_muller(self.random(n)[:whole])
        if whole < n:
            normals = np.concatenate([normals[: n - 16], _box_muller(self.random(16))])
        return normals.reshape(shape)

    def _normal(self) -> float:
        if self._next_normal is not None:
            normal, self._next_normal = self._next_normal, None
            return normal
        v, u = ((self._random64(2) & np.uint64(2**53 - 1)) * 2.0**-53).tolist()
        radius, angle = math.sqrt(-2 * math.log1p(-u)), 2 * math.pi * v
        self._next_normal = radius * math.sin(angle)
        return radius * math.cos(angle)


def _count(shape: tuple[int, ...]) -> int:
    # Checked before any draw: NumPy would take a negative size for "whatever fits".
    if any(size < 0 for size in shape):
        raise ValueError(f"negative size in {shape}")
    return math.prod(shape)


def _box_muller(draws: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
    """Blocks of 16 raw draws (16 * blocks,) -> as many standard normal values, float32."""
    uniforms = (draws & 0xFF_FFFF).astype(np.float32) * np.float32(2**-24)
    u, v = uniforms.reshape(-1, 2, 8).transpose(1, 0, 2)
    # Each step is rounded to float32 as in torch, above all the angle: its rounding decides the
    # digits of a value near 0. The functions themselves run in float64, because NumPy's float32
    # ones differ from machine to machine.
    log = np.log((1 - u).astype(np.float64)).astype(np.float32)
    radius = np.sqrt(-2 * log)
    angle = (np.float32(2 * math.pi) * v).astype(np.float64)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    return np.stack([radius * cos, radius * sin], axis=1).reshape(-1)
