"""The page of any trained model: its own layers and a word, in place of the notebooks' network."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxmore import __version__
from jaxmore.data import context_windows, cut_sequences, sequences
from jaxmore.errors import InputError
from jaxmore.explore.export import Program
from jaxmore.explore.html import html
from jaxmore.explore.models import sgd_program, trace_program
from jaxmore.layers import Layer, by_path
from jaxmore.runs.trained import Trained

BATCH = 8
EXAMPLES = 2048
"""Training examples that the page holds; it draws its batches among them."""
LARGEST = 5_000_000


def page_of_word(name: str, trained: Trained, words: Sequence[str], word: str, T: int) -> str:
    """Write the page of a trained model as HTML.

    The page shows every place of :func:`jaxmore.trace` for one word, and trains on batches of
    other words by the model's own hand-derived rules.

    Args:
        name: what to call the run.
        trained: the model.
        words: the training words.
        word: the word whose values and cotangents the page shows.
        T: the block size.

    Raises:
        InputError: the word has unknown characters or is too long, the page cannot run one of the
            model's primitives, or it would be larger than 5 MB.
    """
    if not word:
        raise InputError("the word is empty")
    model, params, vocab = trained.model, trained.params, trained.vocab
    windows = trained.reads == "windows"
    make = context_windows if windows else cut_sequences if trained.cuts_words else sequences
    x, y = make([word], vocab, T)
    if not windows:
        x, y = x[:, : len(word) + 1], y[:, : len(word) + 1]  # without the places past the word
    train = make(words[:EXAMPLES], vocab, T)
    batch_x, batch_y = (np.empty((BATCH, *a.shape[1:]), np.int32) for a in train)
    leaves = list(by_path(params))
    shown = trace_program(model, params, x, y)
    graph = _graph(shown, leaves)
    data = {
        "version": __version__,
        "name": name,
        "type": trained.type,
        "word": word,
        "characters": vocab.itos[0] + vocab.characters,
        "trainedSteps": trained.record["training"].get("step", 0),
        "parameters": leaves,
        "logits": next(path for path in reversed(graph) if path not in (*leaves, "loss")),
        "values": [path for path in graph if path not in leaves],
        "places": {path: place | {"line": _line(path, model)} for path, place in graph.items()},
        "batch": BATCH,
        "shown": {"program": shown, "x": x.ravel().tolist(), "y": y.ravel().tolist()},
        "training": {
            "program": trace_program(model, params, batch_x, batch_y),
            "sgd": sgd_program(params),
            "width": [int(np.prod(a.shape[1:])) for a in train],
            "x": train[0][:EXAMPLES].ravel().tolist(),
            "y": train[1][:EXAMPLES].ravel().tolist(),
        },
        "params": {path: _packed(leaf) for path, leaf in by_path(params).items()},
    }
    page = html("model.html", data)
    if len(page) > LARGEST:
        raise InputError(
            f"the page would take {len(page) / 1e6:.1f} MB, over 5 MB: the model is too large"
        )
    return page


def _graph(program: Program, params: list[str]) -> dict[str, dict[str, Any]]:
    """The places, in the order in which they are computed, with those that they read and feed."""
    outputs, inputs = program["outputs"], program["inputs"]
    by_slot = {slot: path for path, slot in inputs.items()}
    # The last layer of a chain and the chain itself have one output: the inner name is kept.
    paths = [path for path in outputs if f"d{path}" in outputs and path not in inputs]
    for path in sorted(paths, key=lambda path: path.count(".")):
        by_slot[outputs[path]] = path
    kept = {outputs[path]: path for path in by_slot.values() if path in outputs}
    makers = {slot: e["reads"] for e in program["equations"] for slot in e["writes"]}
    graph: dict[str, dict[str, Any]] = {}
    for slot in sorted(slot for slot, path in kept.items() if path not in inputs):
        reads: list[str] = []
        todo, seen = list(makers.get(slot, ())), set[int]()
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            if at in by_slot:
                reads.append(by_slot[at])
            else:
                todo += makers.get(at, ())
        order = {path: k for k, path in enumerate([*graph, *params])}
        known = [path for path in reads if path in order]
        graph[kept[slot]] = {"reads": sorted(known, key=order.__getitem__)}
    graph |= {path: {"reads": []} for path in params}
    for path, place in graph.items():
        place["users"] = [user for user, other in graph.items() if path in other["reads"]]
    return graph


def _line(path: str, model: Layer) -> str:
    """The layer that a place is the output of, as its description; nothing for a parameter."""
    layer: Any = model
    for name in path.split("."):
        inner = dict(getattr(layer, "layers", ()))
        if name not in inner:
            return "mean cross-entropy" if path == "loss" else ""
        layer = inner[name]
    return type(layer).__name__ if getattr(layer, "layers", ()) else repr(layer)


def _packed(leaf: Any) -> dict[str, str]:
    array = np.asarray(leaf)
    return {"dtype": str(array.dtype), "data": base64.b64encode(array.tobytes()).decode()}
