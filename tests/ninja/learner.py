"""A learner's files: the solution, a mistake on each line, and the blanks filled with either."""

from pathlib import Path

from jaxmore.ninja.blanks import BACKPROP
from jaxmore.ninja.exercises import my_backward

SOLUTION = {
    "logprobs": "jnp.zeros_like(logprobs).at[jnp.arange(n), Y].set(-1 / n)",
    "probs": "dlogprobs / probs",
    "counts_sum_inv": "(counts * dprobs).sum(1, keepdims=True)",
    "counts_sum": "-(counts_sum**-2) * dcounts_sum_inv",
    "counts": "counts_sum_inv * dprobs + dcounts_sum",
    "norm_logits": "counts * dcounts",
    "logit_maxes": "-dnorm_logits.sum(1, keepdims=True)",
    "logits": "dnorm_logits + jax.nn.one_hot(logits.argmax(1), 27) * dlogit_maxes",
    "h": "dlogits @ W2.T",
    "W2": "h.T @ dlogits",
    "b2": "dlogits.sum(0)",
    "hpreact": "(1 - h**2) * dh",
    "bngain": "(bnraw * dhpreact).sum(0, keepdims=True)",
    "bnbias": "dhpreact.sum(0, keepdims=True)",
    "bnraw": "bngain * dhpreact",
    "bnvar_inv": "(bndiff * dbnraw).sum(0, keepdims=True)",
    "bnvar": "-0.5 * (bnvar + 1e-5) ** -1.5 * dbnvar_inv",
    "bndiff2": "1 / (n - 1) * jnp.ones_like(bndiff2) * dbnvar",
    "bndiff": "bnvar_inv * dbnraw + 2 * bndiff * dbndiff2",
    "bnmeani": "-dbndiff.sum(0, keepdims=True)",
    "hprebn": "dbndiff + 1 / n * dbnmeani",
    "embcat": "dhprebn @ W1.T",
    "W1": "embcat.T @ dhprebn",
    "b1": "dhprebn.sum(0)",
    "emb": "dembcat.reshape(emb.shape)",
    "C": "jnp.zeros_like(C).at[X].add(demb)",
    "logits_fast": "(jax.nn.softmax(logits) - jax.nn.one_hot(Y, 27)) / n",
    "hprebn_fast": "bngain * bnvar_inv * (dhpreact - dhpreact.mean(0)"
    " - bnraw * (dhpreact * bnraw).sum(0) / (n - 1))",
}

# A mistake on each line, and words of what the check says to it.
MISTAKES = {
    "logprobs": (
        "jnp.zeros_like(logprobs).at[jnp.arange(n), Y].set(1 / n)",
        "forget the minus sign of the loss",
    ),
    "probs": ("dlogprobs * probs", "multiply by probs"),
    "counts_sum_inv": ("counts * dprobs", "forget the sum over the row"),
    "counts_sum": ("counts_sum**-2 * dcounts_sum_inv", "forget the minus sign of the power rule"),
    "counts": ("counts_sum_inv * dprobs", "counts is used in counts_sum, too"),
    "norm_logits": ("dcounts", "forget the slope of exp"),
    "logit_maxes": ("dnorm_logits.sum(1, keepdims=True)", "forget the minus sign"),
    "logits": ("dnorm_logits", "forget logit_maxes"),
    "h": ("dlogits @ W2", "TypeError: "),
    "W2": ("dlogits.T @ h", "the result is transposed"),
    "b2": ("dlogits.mean(0)", "the mean over the batch in place of the sum"),
    "hpreact": ("(1 - h) * dh", "write 1 − h in place of 1 − h²"),
    "bngain": ("(bnraw * dhpreact).sum(0)", "leave out keepdims=True"),
    "bnbias": ("dhpreact.sum(1, keepdims=True)", "take axis 1 in place of 0"),
    "bnraw": ("dhpreact", "forget bngain"),
    "bnvar_inv": ("dbnraw.sum(0, keepdims=True)", "forget the other factor, bndiff"),
    "bnvar": ("-0.5 * bnvar**-1.5 * dbnvar_inv", "forget the 1e-5 in the power"),
    "bndiff2": ("1 / n * jnp.ones_like(bndiff2) * dbnvar", "divide by n in place of n − 1"),
    "bndiff": ("bnvar_inv * dbnraw + bndiff * dbndiff2", "forget the 2 of the square's slope"),
    "bnmeani": ("-dbndiff.mean(0, keepdims=True)", "the mean over the batch in place of the sum"),
    "hprebn": ("dbndiff + dbnmeani", "forget the factor 1/n"),
    "embcat": ("2 * dhprebn @ W1.T", "it is twice what it should be"),
    "W1": ("-embcat.T @ dhprebn", "turn the sign round"),
    "b1": ("-dhprebn.sum(0)", "turn the sign round"),
    "emb": ("dembcat", "a cotangent has the shape of its variable"),
    "C": ("jnp.zeros_like(C).at[X].set(demb)", "overwrite where a character comes again"),
    "logits_fast": ("jax.nn.softmax(logits) - jax.nn.one_hot(Y, 27)", "forget to divide by n"),
    "hprebn_fast": ("dhprebn", "Which two sums"),
}

BLANKS = my_backward(BACKPROP)


def filled(lines: dict[str, str]) -> str:
    text = BLANKS
    for name, line in lines.items():
        assert f"\nd{name} = None" in text
        text = text.replace(f"\nd{name} = None", f"\nd{name} = {line}")
    return text


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def line_of(file: Path, start: str) -> int:
    (number,) = [
        i
        for i, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if line.startswith(start)
    ]
    return number
