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
    "logprobs": ("jnp.zeros_like(logprobs).at[jnp.arange(n), Y].set(1 / n)", "sign is wrong"),
    "probs": ("dlogprobs * probs", "off, by"),
    "counts_sum_inv": ("counts * dprobs", "sum over axis 1, which the forward broadcast"),
    "counts_sum": ("counts_sum**-2 * dcounts_sum_inv", "sign is wrong"),
    "counts": ("counts_sum_inv * dprobs", "counts is used twice"),
    "norm_logits": ("dcounts", "the local derivative is missing"),
    "logit_maxes": ("dnorm_logits.sum(1, keepdims=True)", "sign is wrong"),
    "logits": ("dnorm_logits", "logits is used twice"),
    "h": ("dlogits @ W2", "TypeError: "),
    "W2": ("dlogits.T @ h", "it is transposed"),
    "b2": ("dlogits.mean(0)", "1/32, a mean in place of a sum"),
    "hpreact": ("(1 - h) * dh", "slope of tanh"),
    "bngain": ("(bnraw * dhpreact).sum(0)", "the values are right: reshape them to (1, 64)"),
    "bnbias": ("dhpreact.sum(1, keepdims=True)", "shape (32, 1), not (1, 64)"),
    "bnraw": ("dhpreact", "the local derivative is missing"),
    "bnvar_inv": ("dbnraw.sum(0, keepdims=True)", "Product rule"),
    "bnvar": ("-0.5 * bnvar**-1.5 * dbnvar_inv", "What stands inside the power?"),
    "bndiff2": ("1 / n * jnp.ones_like(bndiff2) * dbnvar", "0.96875 times"),
    "bndiff": ("bnvar_inv * dbnraw + bndiff * dbndiff2", "bndiff is used twice"),
    "bnmeani": ("-dbndiff.mean(0, keepdims=True)", "1/32, a mean in place of a sum"),
    "hprebn": ("dbndiff + dbnmeani", "hprebn is used twice"),
    "embcat": ("2 * dhprebn @ W1.T", "it is twice what it should be"),
    "W1": ("-embcat.T @ dhprebn", "sign is wrong"),
    "b1": ("-dhprebn.sum(0)", "sign is wrong"),
    "emb": ("dembcat", "reshape them to (32, 3, 10)"),
    "C": ("jnp.zeros_like(C).at[X].set(demb)", "overwrites where it should add"),
    "logits_fast": ("jax.nn.softmax(logits) - jax.nn.one_hot(Y, 27)", "32 times"),
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
