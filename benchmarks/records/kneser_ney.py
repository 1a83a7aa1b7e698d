"""An n-gram model with Kneser–Ney smoothing, by counting alone."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxmore.data import Vocabulary, context_windows


class KneserNey:
    """Interpolated Kneser–Ney smoothing, with one discount for each length of context.

    With c(h, v) how often id v follows context h, n(h) how many ids do, and h' the context without
    its oldest id::

        p(v | h) = max(c(h, v) − d, 0) / Σ_u c(h, u) + d n(h) / Σ_u c(h, u) · p(v | h')

    down to 1/V. The longest contexts have plain counts. For a shorter one, c(h, v) is the number of
    ids that stand before h v (Kneser and Ney, ICASSP 1995); but a context that begins with the
    boundary is a whole prefix, and has plain counts too. d = n₁ / (n₁ + 2 n₂), with n₁ and n₂ how
    many counts are 1 and 2 (Ney, Essen and Kneser, Computer Speech and Language, 1994).
    """

    def __init__(self, words: Sequence[str], vocab: Vocabulary, longest: int) -> None:
        self.vocab, self.longest = vocab, longest
        V = vocab.size
        X, Y = context_windows(words, vocab, longest)
        self.contexts: list[Int[np.ndarray, " D"]] = []
        plain: list[Int[np.ndarray, "D V"]] = []
        for numbers in self._numbers(X):
            distinct, which = np.unique(numbers, return_inverse=True)
            self.contexts.append(distinct)
            plain.append(np.bincount(which * V + Y, minlength=len(distinct) * V).reshape(-1, V))
        self.counts = list(plain)
        for k in range(longest):
            shorter = np.searchsorted(self.contexts[k], self.contexts[k + 1] % V**k)
            before = np.zeros_like(plain[k])
            np.add.at(before, shorter, plain[k + 1] > 0)
            is_prefix = (self.contexts[k] < V ** (k - 1)) if k else np.array([False])
            self.counts[k] = np.where(is_prefix[:, None], plain[k], before)

    def __call__(self, words: Sequence[str]) -> Float[np.ndarray, "n V"]:
        """Return the probabilities of every next character of the words."""
        X, _ = context_windows(words, self.vocab, self.longest)
        p = np.full((len(X), self.vocab.size), 1 / self.vocab.size)
        tables = zip(self._numbers(X), self.contexts, self.counts, strict=True)
        for k, (numbers, contexts, counts) in enumerate(tables):
            once, twice = (counts == 1).sum(), (counts == 2).sum()
            discount = once / max(once + 2 * twice, 1)
            place = np.searchsorted(contexts, numbers).clip(max=len(contexts) - 1)
            known = contexts[place] == numbers
            if k > 1:  # behind a boundary stand boundaries alone: the shorter context was as long
                known &= X[:, -k:][:, :2].any(1)
            c = counts[place[known]]
            saved = discount * (c > 0).sum(1, keepdims=True)
            p[known] = (np.maximum(c - discount, 0) + saved * p[known]) / c.sum(1, keepdims=True)
        return p

    def _numbers(self, X: Int[np.ndarray, "n T"]) -> list[Int[np.ndarray, " n"]]:
        # The last k ids of each row, read as the digits of a number, for k = 0 to T.
        places = self.vocab.size ** np.arange(self.longest)
        digits = X[:, ::-1].astype(np.int64) * places
        return [digits[:, :k].sum(1) for k in range(self.longest + 1)]
