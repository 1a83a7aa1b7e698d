"""Hypothesis strategies for a rule's arguments; the one module here that needs hypothesis."""

import re
from typing import Any

from hypothesis import strategies as st

from jaxmore.testing.arguments import parse_args

# From plain to extreme; a failing example shrinks towards the first.
VALUES = ("", "*0.01", "*30", "*0.5+9", "*1e-3+2", "*0")


def rule_arguments(
    arguments: str, *, max_size: int = 5, values: tuple[str, ...] = VALUES
) -> st.SearchStrategy[tuple[Any, ...]]:
    """Generic arguments for a rule: any sizes, leading axes and kinds of values.

    Args:
        arguments: in the language of :func:`jaxmore.testing.parse_args`, with letters for the
            sizes that are to vary: ``f[*B,I] f[I,O] f[O]``.
        max_size: the largest value of a letter, at least 1.
        values: what is put behind each ``f[...]`` that says nothing of its values, one for all:
            generic, small, large, in the tails, nearly constant, zero.

    Returns:
        A strategy of tuples for ``check_rule``; failing ones shrink to small sizes, no leading
        axes and generic values.

    >>> from hypothesis import given, settings
    >>> from jaxmore import rules
    >>> from jaxmore.testing import check_rule
    >>> @settings(max_examples=2, deadline=None)
    ... @given(rule_arguments("f[*B,I] f[I,O] f[O]"))
    ... def test_linear(args):
    ...     check_rule(rules.linear_fwd, rules.linear_bwd, *args, dtypes=())
    >>> test_linear()
    """
    leading = set(re.findall(r"\*([A-Za-z]+)[,\]]", re.sub(r"\d\*", "", arguments)))
    letters = set(re.findall(r"[A-Z][A-Za-z]*", arguments)) - leading
    size = st.integers(1, max_size)
    sizes = dict.fromkeys(sorted(letters), size)
    sizes |= {name: st.lists(size, max_size=2).map(tuple) for name in sorted(leading)}

    def values_in(word: str, kind: str) -> str:
        return word + kind if re.fullmatch(r"b?f\d*\[.*\]", word) else word

    def draw(drawn: tuple[dict[str, Any], str, int]) -> tuple[Any, ...]:
        sizes, kind, seed = drawn
        text = " ".join(values_in(word, kind) for word in arguments.split())
        return parse_args(text, seed=seed, sizes=sizes)

    return st.tuples(
        st.fixed_dictionaries(sizes), st.sampled_from(values), st.integers(0, 2**16)
    ).map(draw)
