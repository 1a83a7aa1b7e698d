"""Draw a rule's arguments from a line of text: ``f[5,3]*1e4 i[5]=-1..3 none key``."""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxmore.errors import InputError

LANGUAGE = """\
f[5,3]        5 × 3 draws from a normal distribution; f32, bf16, f16 and f64 name a dtype
f[5,3]*9      the same times 9;  f[5,3]*1e-4+2  and 2 added
f[5,3]=0.5..2 uniform draws between 0.5 and 2
i[5]<3        integers from 0 to 2;  also i8, i16, u8, u32
i[5]=-1..3    integers from −1 to 2; of two or more at least one is −1 and one is not
b[5,3]        a boolean mask, with both values in it if it has two or more elements
f[*B,T,E]     a letter is a size, the same in all arguments; *B is any number of leading axes
f[E+H,4*H]    sums and products of sizes
key           a random key;  rawkey  one of two uint32, as jax.random.PRNGKey makes
none          an optional argument that is left out"""

# Distinct, so that no axis passes for another, nor for the leading axes or their product.
SIZES = (4, 5, 7, 9, 11, 13)
LEADING = (2, 3)
OTHER_SIZES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((5, 8, 3, 10, 12, 7), (3,)),
    ((6, 3, 8, 5, 10, 9), (2, 2)),
)
"""Further sizes for the letters and leading axes: where one set is odd, another is even."""
DTYPES = {
    "f": "float32", "f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64",
    "i": "int32", "i8": "int8", "i16": "int16", "i32": "int32", "u8": "uint8", "u32": "uint32",
    "b": "bool",
}  # fmt: skip
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
ARGUMENT = re.compile(
    rf"(?P<dtype>[a-z]+\d*)\[(?P<dims>[^\]]*)\]"
    rf"(?:=(?P<low>{NUMBER})\.\.(?P<high>{NUMBER})|<(?P<below>\w+)"
    rf"|(?:\*(?P<scale>{NUMBER}))?(?P<shift>[-+]{NUMBER})?)"
)


def parse_args(
    text: str, *, seed: int = 0, sizes: Mapping[str, int | tuple[int, ...]] | None = None
) -> tuple[Any, ...]:
    """Draw the arguments that a line of text describes.

    Args:
        text: arguments separated by blanks, in the language of ``LANGUAGE``.
        seed: the seed of the draws.
        sizes: the sizes that letters stand for, a tuple for ``*B``. Other letters get distinct
            sizes.

    Returns:
        NumPy arrays, keys and None, one for each argument.

    Raises:
        InputError: if an argument is not of this language or asks for an impossible draw.

    >>> x, ids, bias = parse_args("f[2,3]*1e-3+5 i[4]<3 none")
    >>> x.shape, x.dtype.name, ids.dtype.name, bias
    ((2, 3), 'float32', 'int32', None)
    """
    known = dict(sizes or {})
    random = np.random.default_rng(seed)
    return tuple(_draw(word, known, random) for word in text.split())


def other_sizes(text: str) -> list[dict[str, Any]]:
    """Return further sizes for the letters of a text, distinct, odd where the first are even.

    A rule that divides by the length of the wrong axis, or loses the last row of an odd number, is
    right at some sizes.

    >>> other_sizes("f[*B,I] f[I,O]")[0]
    {'B': (3,), 'I': 5, 'O': 8}
    >>> other_sizes("f[5,3]")
    []
    """
    known: dict[str, Any] = {}
    random = np.random.default_rng(0)
    for word in text.split():
        _draw(word, known, random)

    def sizes_from(sizes: tuple[int, ...], leading: tuple[int, ...]) -> dict[str, Any]:
        free = iter((*sizes, *range(14, 14 + len(known))))
        return {
            name: leading if isinstance(size, tuple) else next(free) for name, size in known.items()
        }

    return [sizes_from(*other) for other in OTHER_SIZES] if known else []


def _draw(word: str, sizes: dict[str, Any], random: np.random.Generator) -> Any:
    if word == "none":
        return None
    if word in ("key", "rawkey"):
        make = jax.random.key if word == "key" else jax.random.PRNGKey
        return make(int(random.integers(2**31)))
    match = ARGUMENT.fullmatch(word)
    if match is None or match["dtype"] not in DTYPES:
        raise InputError(
            f"{word!r} is no argument; write it like f[5,3], i[5]<3, b[5], key or none"
        )
    dtype, shape = DTYPES[match["dtype"]], _shape(word, match["dims"], sizes)
    if dtype == "bool":
        if word != f"b[{match['dims']}]":
            raise InputError(f"{word!r}: a mask has no range; write b[{match['dims']}]")
        mask = random.random(shape) < 0.5
        mask.flat[:2] = (True, False)[: mask.size]
        return mask
    if dtype.startswith(("int", "uint")):
        if match["below"] is None and match["low"] is None:
            raise InputError(f"{word!r} needs a range: {word}<3 or {word}=-1..3")
        try:
            low = int(match["low"] or 0)
            high = int(match["high"]) if match["high"] else _size(word, match["below"], sizes)
        except ValueError:
            raise InputError(f"{word!r}: the ends of the range are not integers") from None
        info = np.iinfo(dtype)
        if not info.min <= low < high <= info.max + 1:
            raise InputError(f"{word!r}: no integers from {low} to {high - 1} in {dtype}")
        values = random.integers(low, high, shape, dtype)
        if low == -1 and values.size > 1:
            values.flat[0], values.flat[1] = -1, max(values.flat[1], min(0, high - 1))
        return values
    if match["below"]:
        raise InputError(f"{word!r}: < is for integers; write a range of floats as =0.5..2")
    if match["low"]:
        low, high = float(match["low"]), float(match["high"])
        if low > high:
            raise InputError(f"{word!r}: {low} is above {high}")
        values = random.uniform(low, high, shape)
    else:
        scale, shift = float(match["scale"] or 1), float(match["shift"] or 0)
        values = random.normal(size=shape) * scale + shift
    return np.asarray(values, jax.numpy.dtype(dtype))


def _shape(word: str, dims: str, sizes: dict[str, Any]) -> tuple[int, ...]:
    shape: list[int] = []
    for dim in filter(None, dims.split(",")):
        if dim.startswith("*"):
            leading = sizes.setdefault(dim[1:], LEADING)
            if not dim[1:].isalpha() or not isinstance(leading, tuple):
                raise InputError(f"{word!r}: {dim!r} is no leading axes; write *B")
            shape += leading
        else:
            shape.append(_size(word, dim, sizes))
    return tuple(shape)


def _size(word: str, text: str, sizes: dict[str, Any]) -> int:
    """Evaluate a sum of products of numbers and letters."""

    def value(factor: str) -> int:
        if factor.isdecimal():
            return int(factor)
        if not factor.isalpha():
            raise InputError(f"{word!r}: {factor!r} is no size; write a number or a letter")
        if factor not in sizes:
            free = [size for size in SIZES if size not in sizes.values()]
            sizes[factor] = free[0] if free else max(sizes.values()) + 2
        if isinstance(sizes[factor], tuple):
            raise InputError(f"{word!r}: {factor} stands for leading axes; write *{factor}")
        return sizes[factor]

    return sum(math.prod(map(value, term.split("*"))) for term in text.split("+"))
