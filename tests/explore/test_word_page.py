"""The page of a trained model of any type, with a word in it."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore.backprop import trace
from jaxmore.data import Vocabulary, context_windows, sequences
from jaxmore.errors import InputError
from jaxmore.explore.word_page import page_of_word
from jaxmore.layers import by_path
from jaxmore.models import MODELS
from jaxmore.runs.trained import Trained
from tests.explore.test_models import SIZES

WORDS = ["emma", "olivia", "ava", "mia", "amelia", "via", "lima", "eva"]
VOCAB = Vocabulary("".join(sorted({*"".join(WORDS)})))


def trained(type):
    """A small model with generic parameters."""
    options = {
        k: v for k, v in SIZES.items() if k in inspect.signature(MODELS[type].make).parameters
    }
    model = MODELS[type].make(VOCAB.size, **options)
    params = jax.jit(model.init)(jax.random.key(0))
    record = {"data": {}, "training": {"step": 7}, "versions": {}, "losses": {}}
    return Trained(type, options, VOCAB, params, {}, record)


@pytest.fixture(scope="module", params=["mlp-bn", "gru", "transformer"])
def built(request, tmp_path_factory):
    run = trained(request.param)
    path = tmp_path_factory.mktemp("model") / "page.html"
    path.write_text(page_of_word("out", run, WORDS, "emma", 8), "utf-8")
    return run, path.as_uri()


STATE = """() => {
  const { network } = explorer;
  const entries = (all, f) => Object.fromEntries(Object.entries(all).map(f));
  const plain = (all) => entries(all, ([k, v]) => [k, Array.from(v)]);
  return { params: plain(network.params), places: plain(network.values), step: network.step };
}"""


def _check(now, run, x, y):
    leaves, tree = jax.tree.flatten(run.params)
    shaped = [
        jnp.array(now["params"][path], float).reshape(leaf.shape)
        for path, leaf in by_path(run.params).items()
    ]
    assert len(shaped) == len(leaves)
    places = trace(run.model, jax.tree.unflatten(tree, shaped), x, y)
    usual = max(float(jnp.abs(d).max()) for path, (_, d) in places.items() if path != "loss")
    for path, pair in places.items():
        for name, right in zip((path, f"d{path}"), pair, strict=True):
            scale = max(float(jnp.abs(right).max()), 1e-3 * usual)  # zero by identity: rounding
            off = np.abs(np.ravel(right) - now["places"][name]).max()
            assert off <= 1e-12 * scale, (name, off, scale)


def test_every_number_equals_jaxs_before_and_after_training(open_page, built, x64):
    run, url = built
    page = open_page(page_url=url, welcome=True)
    make = context_windows if run.reads == "windows" else sequences
    x, y = make(["emma"], VOCAB, 8)
    x, y = (x, y) if run.reads == "windows" else (x[:, :5], y[:, :5])
    x, y = jnp.array(x, "int32"), jnp.array(y, "int32")
    first = page.evaluate(STATE)
    _check(first, run, x, y)
    batch = page.evaluate("() => explorer.network.batchAt(0)")
    page.click("#one-step")
    now = page.evaluate(STATE)
    _check(now, run, x, y)
    shape = (8, 8) if run.reads == "sequences" else (8, x.shape[1])
    ids = jnp.array(batch["x"], "int32").reshape(shape)
    targets = jnp.array(batch["y"], "int32").reshape(shape if run.reads == "sequences" else 8)
    params = jax.tree.map(lambda p: jnp.array(p, float), run.params)
    grads = trace(run.model, params, ids, targets)
    for path, leaf in by_path(params).items():
        right = leaf - 0.01 * grads[path][1]
        assert np.abs(np.ravel(right) - now["params"][path]).max() <= 1e-12, path


def test_every_place_opens_and_agrees_with_central_differences(open_page, built, axe):
    _, url = built
    page = open_page(page_url=url, welcome=True, viewport={"width": 360, "height": 800})
    page.evaluate(axe)
    places = page.evaluate("() => Object.keys(explorer.data.places)")
    for name in places:
        page.click(f'[data-name="{name}"]')
        assert page.inner_text("#place-title") == f"{name} and d{name}"
        d = page.evaluate("(d) => [...explorer.network.cotangents[d]]", f"d{name}")
        largest = max(map(abs, d))
        heading = page.locator("#place h3").nth(1).inner_text()
        shown = float(heading.rpartition(" ")[2].replace("−", "-"))
        assert abs(shown - largest) <= 5e-3 * largest  # three digits are shown
        assert "✓ agrees" in page.inner_text("#place .number"), name
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    violations = "axe.run().then((r) => r.violations.map((v) => [v.id, v.nodes[0].html]))"
    assert page.evaluate(violations) == []


def test_the_predictions_are_the_models(open_page, built):
    _, url = built
    page = open_page(page_url=url, welcome=True)
    rows = page.locator("#predictions tbody tr").all_inner_texts()
    assert [row.split("\t")[:2] for row in rows] == [
        [".", "e"], [".e", "m"], [".em", "m"], [".emm", "a"], [".emma", "."]
    ]  # fmt: skip
    nll = -np.log([float(row.split("\t")[2]) for row in rows]).mean()
    assert abs(nll - float(page.inner_text("#loss"))) < 0.03
    page.keyboard.press("p")
    page.wait_for_function("explorer.network.step > 3")
    page.keyboard.press("p")
    assert re.match(r"Paused at step \d+", page.inner_text("#status"))
    assert page.evaluate("explorer.network.losses.every(Number.isFinite)")


def test_refuses_what_would_be_too_large():
    run = trained("mlp-bn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxmore.explore.word_page.LARGEST", 1000)
        with pytest.raises(InputError, match="over 5 MB: the model is too large"):
            page_of_word("out", run, WORDS, "emma", 8)
