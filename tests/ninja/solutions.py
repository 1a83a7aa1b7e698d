"""A learner's lines for attention and the GRU: the solution, and a mistake on each."""

import ast
import inspect
import re
from collections.abc import Callable
from typing import Any

from jaxmore.ninja import EXERCISES, attention, gru
from jaxmore.ninja.exercises import my_backward


def solution(backward: Callable[..., Any]) -> dict[str, str]:
    """The backward lines of the solved twin, as a learner would write them."""
    source = inspect.getsource(inspect.unwrap(backward))
    return {
        node.targets[0].id[1:]: plain(ast.get_source_segment(source, node.value) or "")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.startswith("d")
    }


def plain(code: str) -> str:
    """A line of the twin with the variables under their own names."""
    return re.sub(r"\b(params|values|v)\.", "", code)


def filled(name: str, lines: dict[str, str]) -> str:
    text = my_backward(EXERCISES[name])
    for variable, line in lines.items():
        assert text.count(f"\nd{variable} = None") == 1, variable
        text = text.replace(f"\nd{variable} = None", f"\nd{variable} = {line}")
    return text


SOLUTIONS = {"attention": solution(attention.backward), "gru": solution(gru.backward)}

# A mistake on each line, and words of what the check says to it.
ATTENTION = {
    "logits": ("jax.nn.softmax(logits, -1) - jax.nn.one_hot(Y, V)", "40 times"),
    "y": ("dlogits @ Wout", "TypeError"),
    "Wout": ("y.mT @ dlogits", "sum over axis 0, which the forward broadcast, is missing"),
    "proj": ("-dy", "sign is wrong hint: "),
    "joined": ("dproj @ Wo", "Here the shapes don't tell"),
    "Wo": ("(dproj.mT @ joined).sum(0)", "it is transposed"),
    "heads": ("djoined.reshape(B, N, T, D)", "with two axes exchanged"),
    "probs": ("vh @ dheads.mT", "it is transposed"),
    "vh": ("probs @ dheads", "a position collects from all"),
    "masked": ("probs * dprobs", "every entry of a row moves every other"),
    "scores": ("dmasked", "dy is passed on as it is"),
    "qh": ("dscores @ kh", "possibly √6"),
    "kh": ("dscores @ qh * scale", "kh stands in the product transposed"),
    "q": ("dqh.reshape(B, T, E)", "with two axes exchanged"),
    "k": ("dkh.swapaxes(1, 2)", "reshape them to (8, 5, 12)"),
    "v": ("2 * dvh.swapaxes(1, 2).reshape(B, T, E)", "twice what it should be"),
    "Wq": ("normed.mT @ dq", "sum over axis 0, which the forward broadcast, is missing"),
    "Wk": ("(normed.mT @ dk).mean(0)", "1/8, a mean in place of a sum"),
    "Wv": ("(dv.mT @ normed).sum(0)", "it is transposed"),
    "normed": ("dq @ Wq.T + dk @ Wk.T", "normed is used three times"),
    "gain": ("(dnormed * lnraw).sum(0)", "sum over axis 0, which"),
    "bias": ("dnormed.sum(1)", "shape (8, 12), not (12,)"),
    "lnraw": ("dnormed", "the local derivative is missing"),
    "lnvar_inv": ("(dlnraw * lndiff).sum(-1)", "reshape them to (8, 5, 1)"),
    "lnvar": ("-0.5 * (lnvar + 1e-5) ** -0.5 * dlnvar_inv", "lnvar + 1e-5 is there once too often"),
    "lndiff": ("dlnraw * lnvar_inv + 2 * lndiff * dlnvar", "lndiff is used twice"),
    "lnmean": ("dlndiff.sum(-1, keepdims=True)", "sign is wrong"),
    "x": ("dlndiff + dlnmean / E", "a skip path?"),
    "C": ("jnp.zeros_like(C).at[X].set(dx)", "overwrites where it should add"),
    "P": ("dx.mean(0)", "1/8, a mean in place of a sum"),
}


def _gru_step(t: int) -> dict[str, tuple[str, str]]:
    p = t - 1
    return {
        f"hhat{t}": (f"dh{t}", "the local derivative is missing"),
        f"z{t}": (f"(h{p} - hhat{t}) * dh{t}", "sign is wrong"),
        f"ah{t}": (f"(1 - hhat{t}) * dhhat{t}", "slope of tanh"),
        f"xrh{t}": (f"dah{t} @ Wh", "TypeError"),
        f"r{t}": (f"dxrh{t}[:, E:]", f"the factor h{p} is missing"),
        f"ar{t}": (f"r{t} * dr{t}", "slope of the logistic function"),
        f"az{t}": (f"(1 - z{t}**2) * dz{t}", "slope of the logistic function"),
        f"xh{t}": (f"daz{t} @ Wz.T", "used twice, by both gates"),
    }


GRU = {
    "logits": ("(jax.nn.one_hot(Y, V) - jax.nn.softmax(logits, -1)) / n", "sign is wrong"),
    "hs": ("dlogits @ Wout", "TypeError"),
    "Wout": ("hs.mT @ dlogits", "sum over axis 0, which the forward broadcast, is missing"),
    "bout": ("dlogits.sum(0)", "sum over axis 0, which the forward broadcast, is missing"),
    "h3": ("dhs[:, 1]", "Which part of dhs is h3's?"),
    **_gru_step(3),
    "h2": ("dhs[:, 1] + (1 - z3) * dh3 + dxh3[:, E:]", "h2 is used four times"),
    **_gru_step(2),
    "h1": ("dhs[:, 0]", "h1 is used four times"),
    **_gru_step(1),
    "h0": ("dh1", "Is it in hs?"),
    "start": ("dh0", "sum over axis 0, which the forward broadcast, is missing"),
    "Wz": ("xh3.T @ daz3", "Wz is used at three steps"),
    "bz": ("(daz1 + daz2 + daz3).mean(0)", "1/32, a mean in place of a sum"),
    "Wr": ("xh1.T @ dar1 + xh2.T @ dar2 + xh2.T @ dar3", "Wr is used at three steps"),
    "br": ("dar1 + dar2 + dar3", "sum over axis 0, which the forward broadcast, is missing"),
    "Wh": ("xh1.T @ dah1 + xh2.T @ dah2 + xh3.T @ dah3", "Wh is used at three steps"),
    "bh": ("dah3.sum(0)", "three uses"),
    "emb": ("jnp.stack([dxh1[:, :E], dxh2[:, :E], dxh3[:, :E]], 1)", "in xh1 and in xrh1"),
    "C": ("jnp.zeros_like(C).at[X].set(demb)", "overwrites where it should add"),
}
MISTAKES = {"attention": ATTENTION, "gru": GRU}
