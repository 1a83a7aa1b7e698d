"""Every number in the page against JAX: the network, the steps, the mistakes, the sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmore import explore
from jaxmore.data import Vocabulary
from jaxmore.explore import network
from jaxmore.explore.mistakes import mistakes
from jaxmore.ninja import stepwise
from jaxmore.ninja.bank.network import RIGHT
from tests.ninja.test_stepwise import Sizes, draw, named

STATE = """() => {
  const { network, data } = explorer;
  const each = (all, f) => Object.fromEntries(Object.entries(all).map(([k, v]) => [k, f(v, k)]));
  const plain = (all) => each(all, (array) => Array.from(array));
  return {
    shapes: each({ ...network.params, ...network.values }, (_, name) => network.shape(name)),
    params: plain(network.params), values: plain(network.values),
    cotangents: plain(network.cotangents), batch: plain(network.batchAt(network.step)),
    step: network.step,
  };
}"""

BATCH = "(i) => { const { X, Y } = explorer.network.batchAt(i); return [[...X], [...Y]]; }"


def state(page):
    """The page's arrays, and its batch as JAX takes it."""
    raw = page.evaluate(STATE)

    def arrays(group, prefix=0):
        return {k: np.reshape(v, raw["shapes"][k[prefix:]]) for k, v in raw[group].items()}

    X, Y = (jnp.array(raw["batch"][key], "int32") for key in "XY")
    return {
        "params": arrays("params"),
        "values": arrays("values"),
        "cotangents": arrays("cotangents", 1),
        "batch": (X.reshape(len(Y), -1), Y),
        "step": raw["step"],
    }


def sgd(params, X, Y, rate):
    values = stepwise.forward(params, X, Y)
    d = stepwise.backward(params, X, Y, values)
    grads = stepwise.Parameters(*(getattr(d, name) for name in network.NAMES))
    return jax.jit(network.sgd_step)(params, grads, rate)


@pytest.mark.parametrize("hidden", [16, 64])
def test_values_and_cotangents_equal_autograds(open_page, oracle, hidden, x64):
    now = state(open_page(f"#hidden={hidden}&seed=3"))
    values, cotangents = oracle.network(now["params"], *now["batch"])
    for name, right in values.items():
        oracle.assert_close(name, now["values"][name], right, 1e-12)
    assert len(now["cotangents"]) == 26
    for name, ours in now["cotangents"].items():
        oracle.assert_close(name, ours, cotangents[name[1:]], 1e-12)


def test_parameters_after_1_10_and_200_steps_equal_jaxs(open_page, x64):
    page = open_page("#hidden=64&batch=32&seed=5&rate=0.1")
    start = state(page)
    params = stepwise.Parameters(**{k: jnp.array(v) for k, v in start["params"].items()})
    for step in range(200):
        X, Y = (jnp.array(ids, "int32") for ids in page.evaluate(BATCH, step))
        params = sgd(params, X.reshape(len(Y), -1), Y, 0.1)
        if step < 10:
            page.click("#one-step")
        if step == 10:
            page.evaluate("() => { for (let i = 10; i < 200; i++) explorer.network.train(); }")
        if step + 1 in (1, 10, 200):
            now = state(page)
            assert now["step"] == step + 1
            for name, right in named(params).items():
                off = np.abs(now["params"][name] - right).max()
                assert off <= 1e-12 * np.abs(right).max(), (step, name)


def mistaken(mistake, names):
    """All cotangents by the exercise's lines, one of them replaced."""
    names = dict(names)
    for place in stepwise.Cotangents._fields:
        line = mistake.wrong if place == mistake.place else RIGHT[place]
        names[f"d{place}"] = eval(line, {"jax": jax, "jnp": jnp}, names)
    return {place: names[f"d{place}"] for place in stepwise.Cotangents._fields}


SAME_ON_A_REAL_BATCH = {
    "max-sign", "max-zero", "logit-maxes", "max-everywhere", "max-at-the-target", "max-shared-out",
    "closed-form-above", "b1-zero", "b1-mean",
}  # fmt: skip
"""Mistakes that leave the numbers of a real batch as they are, which is their lesson."""


@pytest.mark.slow
def test_each_mistake_equals_jaxs_and_marks_its_place(open_page, oracle, x64):
    page = open_page("#hidden=16&batch=8")
    start = state(page)
    X, Y = start["batch"]
    params = stepwise.Parameters(**{k: jnp.array(v) for k, v in start["params"].items()})
    values = stepwise.forward(params, X, Y)
    names = {**named(params), **named(values), "X": X, "Y": Y, "n": len(Y)}
    right = stepwise.backward(params, X, Y, values)
    _, scales = oracle.network(start["params"], X, Y)
    for mistake in mistakes():
        page.select_option("#mistake", mistake.name)
        now = state(page)
        wrong = mistaken(mistake, names)
        # A mistake may make the terms of what follows larger than those of the right cotangents.
        growth = max(1, *(np.abs(d).max() / scales[k].scale.max() for k, d in wrong.items()))
        for name, ours in now["cotangents"].items():
            theirs = wrong[name[1:]]
            scale = np.maximum(growth * scales[name[1:]].scale, np.abs(theirs).max())
            assert (np.abs(ours - theirs) <= 1e-12 * scale).all(), (mistake.name, name)
        marks = page.evaluate(
            "() => [...document.querySelectorAll('.tile .off:not([hidden])')]"
            ".map((off) => off.closest('.tile').dataset.name)"
        )
        changed = {
            name
            for name, value in wrong.items()
            if jnp.abs(value - getattr(right, name)).max() > 1e-6 * scales[name].scale.max()
        }
        assert changed <= set(marks), mistake.name
        told = mistake.place in marks
        assert told == (mistake.name not in SAME_ON_A_REAL_BATCH), mistake.name


def test_the_terms_of_every_element_add_up_to_it(open_page):
    off = open_page().evaluate(
        """async () => {
          const { network, data } = explorer;
          const { Terms } = await import("#page/terms.js");
          let worst = 0;
          for (const name of data.cotangents) {
            const d = network.cotangents[`d${name}`];
            const stride = Math.max(1, Math.floor(d.length / 40));
            for (let i = 0; i < d.length; i += stride) {
              const terms = Terms.of(network.backward).of(`d${name}`, i);
              const sum = terms.reduce((s, t) => s + t.value, 0);
              const scale = terms.reduce((s, t) => s + Math.abs(t.value), 0);
              if (d[i] !== 0 && !terms.length) return [name, i];
              worst = Math.max(worst, Math.abs(sum - d[i]) / (scale || 1));
            }
          }
          return worst;
        }"""
    )
    assert off < 1e-14


def test_central_differences_agree_with_every_cotangent(open_page):
    worst = open_page().evaluate(
        """() => {
          const { network, data } = explorer;
          return Object.fromEntries(data.cotangents.map((name) => {
            const d = network.cotangents[`d${name}`];
            const top = d.reduce((m, x) => Math.max(m, Math.abs(x)), 1e-6);
            let off = 0;
            for (let i = 0; i < d.length; i += Math.max(1, Math.floor(d.length / 20))) {
              off = Math.max(off, Math.abs(network.byDifferences(name, i) - d[i]) / top);
            }
            return [name, off];
          }));
        }"""
    )
    assert len(worst) == 26
    assert max(worst.values()) < 1e-4, worst


def test_a_trained_runs_parameters_are_where_it_starts(
    open_page, tmp_path, monkeypatch, oracle, x64
):
    monkeypatch.setattr("jaxmore.explore.assemble.BATCHES", (8,))
    monkeypatch.setattr("jaxmore.explore.assemble.mistakes", lambda: few)
    few = mistakes()[:1]
    params, *_ = draw(Sizes(8, 2, 4, 3, 5, b1=True), "float64")
    words = ["abc", "cab", "bca", "ab", "ca", "bc", "a", "b", "c", "aa"] * 2
    trained = explore.Trained("out", {k: np.asarray(v) for k, v in named(params).items()})
    path = tmp_path / "page.html"
    path.write_text(explore.page(words, Vocabulary("abc"), trained), "utf-8")
    now = state(open_page(page_url=path.as_uri()))
    for name, right in named(params).items():
        np.testing.assert_array_equal(now["params"][name], right)
    _, cotangents = oracle.network(now["params"], *now["batch"])
    for name, ours in now["cotangents"].items():
        oracle.assert_close(name, ours, cotangents[name[1:]], 1e-12)
