"""The page as a person uses it: mouse, keyboard, dark, small, the exercise, links."""

import re

import pytest

from jaxmore.explore.network import NAMES
from jaxmore.ninja import check
from jaxmore.ninja.bank import network_bank
from jaxmore.ninja.bank.network import RIGHT
from jaxmore.ninja.stepwise import Cotangents, Intermediates
from tests.ninja.learner import filled

PLACES = [*NAMES, *Intermediates._fields]
LINES = {name: RIGHT[name] for name in Cotangents._fields}
LINES["bngain"] = "(bnraw * dhpreact).sum(axis=0, keepdims=True)"  # spelt in another way
WRONG = {
    "logprobs": ("jnp.zeros_like(logprobs).at[jnp.arange(n), Y].set(1.0 / n)", "minus sign of"),
    "probs": ("dlogprobs * probs", "elements are off"),
    "counts": ("counts_sum_inv * dprobs", "elements are off"),
    "logit_maxes": ("0 * logit_maxes", "write the zero that it comes out as"),
    "logits": ("dnorm_logits", "elements are off"),
    "b1": ("0 * b1", "write the zero that it comes out as"),
    "b2": ("dlogits.sum(0, keepdims=True)", "shape (1, 27), not (27)"),
    "h": ("dlogits @ W2", "the inner sizes differ"),
    "bndiff2": ("1 / n * jnp.ones_like(bndiff2) * dbnvar", "divide by n in place of n − 1"),
    "hprebn": ("dbndiff", "elements are off"),
    "W1": ("alert(1)", "there is no alert here"),
    "C": ("jnp.zeros_like(C).at[X].set(demb)", "elements are off"),
    "emb": ("dembcat.reshape(", "did not expect “the end”"),
    "embcat": ("constructor", "there is no constructor here"),
    "bnraw": ("", "nothing is written yet"),
    "W2": ("2 * h.T @ dlogits", "Every element is 2.000 times what it should be"),
    "norm_logits": ("counts / (dcounts - dcounts)", "864 of 864 elements are infinite"),
}  # fmt: skip


def test_every_tile_opens_by_mouse(open_page):
    page = open_page()
    for name in PLACES:
        page.click(f"[data-name={name}]")
        assert page.inner_text("#place-title") == f"{name} and d{name}"
        assert page.locator("#place .forward").inner_text().strip()
        if name == "loss":
            continue
        number = page.locator("#place .number")
        sums = [float(number.get_attribute(f"data-{key}")) for key in ("sum", "total")]
        assert abs(sums[0] - sums[1]) <= 1e-12 * max(1, abs(sums[1]))
        assert "✓ agrees" in number.inner_text()
        assert page.locator("#place math").count() == 1


def test_every_tile_is_reached_by_the_arrow_keys(open_page):
    page = open_page()
    seen, todo = set(), [("loss", None)]
    while todo:
        start, key = todo.pop()
        page.evaluate("(name) => explorer.graph.focusable(name).focus()", start)
        if key:
            page.keyboard.press(key)
        name = page.evaluate("document.activeElement.dataset.name")
        if name in seen:
            continue
        seen.add(name)
        page.keyboard.press("Enter")
        assert page.inner_text("#place-title") == f"{name} and d{name}"
        todo += [(name, key) for key in ("ArrowRight", "ArrowUp", "ArrowDown", "ArrowLeft")]
    assert seen == set(PLACES)


def test_one_number_by_keyboard_and_by_hover(open_page):
    page = open_page()
    page.click("[data-name=hprebn]")
    canvas = page.locator("#place .map").nth(1).locator("canvas")
    canvas.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    row, column = map(int, re.findall(r"\d+", page.locator(".readout").nth(1).inner_text())[:2])
    right = page.evaluate(
        "([i, j]) => explorer.network.cotangents.dhprebn[64 * i + j]", [row, column]
    )
    shown = page.locator(".readout").nth(1).inner_text().split(" = ")[1].replace("−", "-")
    assert float(shown) == right
    page.keyboard.press("Enter")
    assert page.inner_text("#place .number h3") == f"One number: dhprebn[{row}, {column}]"
    canvas.hover(position={"x": 3, "y": 3})
    assert page.locator(".readout").nth(1).inner_text().startswith("dhprebn[0, 0] = ")


def test_b1_is_32_terms_that_cancel(open_page):
    page = open_page("#place=b1")
    text = page.inner_text("#place .number")
    assert "The sum of 32 terms" in text
    assert "They cancel: what is left is rounding." in text


def test_the_headings_of_the_maps_follow_the_training(open_page):
    page = open_page("#place=logits")
    for _ in range(2):
        page.click("#one-step")
        for k, values in enumerate(("values.logits", "cotangents.dlogits")):
            largest = max(map(abs, page.evaluate(f"[...explorer.network.{values}]")))
            shown = float(page.locator("#place .map h3").nth(k).inner_text().rpartition(" ")[2])
            assert abs(shown - largest) <= 5e-3 * largest  # three digits are shown


def test_play_pause_step_and_time(open_page):
    page = open_page()
    first = float(page.inner_text("#loss"))
    page.keyboard.press("p")
    page.wait_for_function("explorer.network.step >= 200", timeout=60_000)
    page.keyboard.press("p")
    assert "Paused at step" in page.inner_text("#status")
    assert float(page.inner_text("#loss")) < first
    step = page.evaluate("explorer.network.step")
    page.keyboard.press("s")
    assert page.evaluate("explorer.network.step") == step + 1
    page.focus("#time")
    page.keyboard.press("Home")
    assert page.inner_text("#step") == "0"
    assert float(page.inner_text("#loss")) == first
    assert page.locator("#samples span").count() == 10


def test_overfit_one_batch_learns_it(open_page):
    page = open_page("#overfit=1&batch=8&hidden=16")
    page.evaluate("() => { for (let i = 0; i < 300; i++) explorer.network.train(); }")
    assert page.evaluate("explorer.network.values.loss[0]") < 1.0


def test_the_address_is_the_state(open_page):
    page = open_page("#seed=7&hidden=16&batch=8")
    for _ in range(3):
        page.click("#one-step")
    page.select_option("#mistake", "bessel")
    page.click("[data-name=bnvar]")
    address = page.evaluate("location.hash")
    loss = page.evaluate("explorer.network.values.loss[0]")
    again = open_page(address.replace("mistake=bessel", ""))
    assert again.evaluate("explorer.network.values.loss[0]") == loss
    again = open_page(address)
    assert again.input_value("#mistake") == "bessel"
    assert again.inner_text("#place-title") == "bnvar and dbnvar"
    page.fill("#seed", "8")
    page.keyboard.press("Enter")
    assert "seed=8" in page.evaluate("location.hash")
    assert page.inner_text("#step") == "0"


def test_a_rate_of_zero_is_refused(open_page):
    page = open_page("#hidden=16&batch=8")
    page.fill("#rate", "0")
    page.keyboard.press("Enter")
    assert "learning rate lies above 0" in page.inner_text("#status")


def test_the_exercise_judges_right_lines_and_wrong_ones(open_page):
    page = open_page()
    for name, line in LINES.items():
        page.click(f"[data-name={name}]")
        for text, verdict in [*([WRONG[name]] if name in WRONG else []), (line, "✓ Right")]:
            page.fill("#answer", text)
            page.press("#answer", "Enter")
            assert verdict in page.inner_text(".verdict"), (name, text)
        page.click(".hint")
        assert page.inner_text(".hints")


def test_a_wrong_line_gets_the_sentence_of_the_command(open_page, tmp_path):
    """A line of each blank that the bank knows, typed in the page and written in the file."""
    lines = {blank: known[-1].code for blank, known in network_bank().items()}
    file = tmp_path / "my_backward.py"
    file.write_text(filled(lines), encoding="utf-8")
    told = {verdict.name: verdict.answer for verdict in check(file).verdicts}
    page = open_page()
    for blank, line in lines.items():
        page.click(f"[data-name={blank.removesuffix('_fast')}]")
        if blank.endswith("_fast"):
            page.check(".closed")
        page.fill("#answer", line)
        page.press("#answer", "Enter")
        assert told[blank].startswith("This is what you get when you "), blank
        assert told[blank] in page.inner_text(".verdict"), blank


def test_every_line_of_the_bank_is_understood_and_answered(open_page):
    """On another batch than the command's: each line by its own sentence, and no right line."""
    page = open_page("#batch=8&seed=3")
    wrong = page.evaluate(
        """async () => {
          const { judge } = await import("#page/judge.js");
          const { network, data } = explorer;
          return Object.entries(data.bank).flatMap(([blank, known]) => {
            const name = blank.replace("_fast", "");
            return known.flatMap(([code, sentence]) => {
              const { right, text } = judge(name, code, network, data, name !== blank);
              return right || !text.includes(sentence) ? [[blank, code, text]] : [];
            });
          });
        }"""
    )
    assert wrong == []


def test_the_closed_forms(open_page):
    page = open_page()
    for name, wrong, right in [
        ("logits", "dnorm_logits", "(jax.nn.softmax(logits) - jax.nn.one_hot(Y, 27)) / n"),
        (
            "hprebn",
            "dbndiff + 1 / n * dbnmeani",
            "bngain * bnvar_inv / n * (n * dhpreact - dhpreact.sum(0)"
            " - n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0))",
        ),
    ]:
        page.click(f"[data-name={name}]")
        page.check(".closed")
        page.fill("#answer", wrong)
        page.press("#answer", "Enter")
        assert "there is no d" in page.inner_text(".verdict")
        page.fill("#answer", right)
        page.press("#answer", "Enter")
        assert page.inner_text(".verdict") == "✓ Right."
        page.click(".hint")
        assert "slope" in page.inner_text(".hints") or "sums" in page.inner_text(".hints")


def test_a_term_leads_on_to_its_own_sum(open_page):
    """From a number of the embedding's cotangent up to the loss, by the terms alone."""
    page = open_page("#place=C")
    walked = ["C"]
    while page.locator("#place .number .link").count():
        term = page.locator("#place .number .link").first
        title = term.inner_text()
        term.click()
        assert page.inner_text("#place .number h3") == f"One number: {title}"
        walked.append(title.split("[")[0][1:])
    assert walked[:4] == ["C", "emb", "embcat", "hprebn"]
    assert walked[-1] == "logprobs"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_fits_and_has_no_accessibility_violation(open_page, axe, scheme, width):
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme, welcome=True)
    page.evaluate(axe)

    def violations():
        return page.evaluate(
            "axe.run().then((r) => r.violations.map((v) => [v.id, v.nodes[0].html]))"
        )

    assert violations() == []
    page.click("#welcome .skip")
    for mistake in ("", "batchnorm-mean"):
        page.select_option("#mistake", mistake)
        for name in ("b1", "logits", "loss"):
            page.click(f"[data-name={name}]")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert violations() == []


def test_the_first_visit_is_four_steps_once(open_page):
    page = open_page(welcome=True)
    for step in range(1, 5):
        assert f"Step {step} of 4" in page.inner_text("#welcome")
        page.keyboard.press("Enter")
    assert not page.is_visible("#welcome")
    page.reload()
    page.wait_for_function("window.explorer")
    assert not page.is_visible("#welcome")
    page.click("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#welcome")
