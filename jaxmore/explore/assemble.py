"""Assemble the page: its modules, its data and its style in one HTML file."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmore import __version__
from jaxmore.data import Vocabulary, split_words
from jaxmore.explore import network
from jaxmore.explore.html import html, read
from jaxmore.explore.mistakes import SIZES, line_program, mistakes
from jaxmore.explore.places import PLACES, source_lines
from jaxmore.ninja.bank import network_bank
from jaxmore.ninja.blanks import BACKPROP, LINES
from jaxmore.ninja.hints import HINTS
from jaxmore.ninja.stepwise import Cotangents, Intermediates

HIDDEN = (16, 64, 200)
BATCHES = (8, 32, 128)


class Trained(NamedTuple):
    """The parameters of a trained run, by their seed names, and what to call it."""

    name: str
    params: Mapping[str, np.ndarray]


def page(words: Sequence[str], vocab: Vocabulary, trained: Trained | None = None) -> str:
    """The page as HTML.

    Args:
        words: all words of the file; the page holds those of the training split.
        vocab: their characters.
        trained: start from these parameters in place of fresh ones.

    Raises:
        InputError: the words are too few to split, or the page cannot run a primitive.
    """
    base = SIZES._replace(V=vocab.size)
    hidden = HIDDEN
    if trained is not None:
        (fan_in, width), E = trained.params["W1"].shape, trained.params["C"].shape[1]
        base, hidden = base._replace(T=fan_in // E, E=E, H=width), (width,)
    data = {
        "version": __version__,
        "sizes": base._asdict(),
        "hidden": hidden,
        "batches": BATCHES,
        "characters": "." + vocab.characters,
        "words": list(split_words(words).train),
        "places": _places(),
        "parameters": network.NAMES,
        "values": Intermediates._fields,
        "cotangents": Cotangents._fields,
        "mistakes": [m._asdict() for m in mistakes()],
        "bank": {
            blank: [[mistake.code, mistake.answer] for mistake in known]
            for blank, known in network_bank().items()
        },
        "programs": {
            f"{H},{B}": _programs(base._replace(H=H, B=B)) for H in hidden for B in BATCHES
        },
        "trained": trained
        and {
            "name": trained.name,
            "params": {k: v.astype(float).ravel().tolist() for k, v in trained.params.items()},
        },
    }
    return html("index.html", data)


def _programs(sizes: network.Sizes) -> dict[str, Any]:
    return {
        "forward": network.forward_program(sizes),
        "backward": network.backward_program(sizes),
        "sgd": network.sgd_program(sizes),
        "infer": network.inference_program(sizes),
        "mistakes": {m.name: line_program(sizes, m) for m in mistakes()},
    }


def _places() -> dict[str, Any]:
    source, mathml = source_lines(), json.loads(read("formulas.json"))
    by_target = {line.target: line for line in LINES}
    known = {*Intermediates._fields, *network.NAMES}
    places: dict[str, Any] = {}
    for name in (*network.NAMES, *Intermediates._fields):
        line = by_target.get(name)
        users = BACKPROP.lines_that_read(name)
        places[name] = {
            "reads": [n for n in _in_order(line.code if line else "") if n in known - {name}],
            "users": [user.target for user in users],
            "line": line.code if line else "",
            "forward": source.get(name) or "\n".join(source[user.target] for user in users),
            "backward": source.get(f"d{name}", ""),
            "formula": mathml.get(name, ""),
            "derivation": PLACES[name].derivation if name in PLACES else "",
            "hints": list(HINTS[name]) if name in HINTS else [],
            "closedHints": list(HINTS[f"{name}_fast"]) if f"{name}_fast" in HINTS else [],
        }
    return places


def _in_order(code: str) -> list[str]:
    words = "".join(c if c.isalnum() or c == "_" else " " for c in code.split("#")[0]).split()
    return list(dict.fromkeys(words))
