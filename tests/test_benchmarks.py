"""The benchmarks' contestants compute the same losses, at a tiny size; nothing is timed here."""

import json
import shutil
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import (
    forms,
    growth,
    inference,
    ladder,
    memory,
    quality,
    scaling,
    training,
)
from benchmarks.__main__ import ALL
from benchmarks.account import gradient_account, product_flops
from benchmarks.columns import Section, code_lines, column, put
from benchmarks.contestants import microgpt_c, microgpt_numpy
from benchmarks.figure import growth_figure
from benchmarks.hlo import account
from benchmarks.machine import describe_machine
from benchmarks.race import Result, Worker, check_losses, race
from benchmarks.report import PAGE, write_report
from benchmarks.roofline import MACHINES, crossover, model_axis, seconds
from benchmarks.tables import floor_of
from benchmarks.task import Task, make_task
from jaxmore import plots
from jaxmore.backprop import loss_and_grad
from jaxmore.data import Vocabulary, context_windows, sequences
from jaxmore.models import MODELS, model_options

WORDS = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "ava", "emma", "emm"] * 3
COMPILED = ("torch_compiled", "torch_unrolled")
VOCAB = Vocabulary.from_words(WORDS)


def losses(module: str, task: Task) -> np.ndarray:
    """Two runs of a contestant, one after the other."""
    if module.startswith("torch"):
        pytest.importorskip("torch")
    if module.endswith("_c"):
        skip_without_gcc()
    if module in COMPILED and not shutil.which("g++"):
        pytest.skip("torch.compile wants a C++ compiler")
    run = import_module(f"benchmarks.contestants.{module}").prepare(task)
    return np.concatenate([run(), run()])


def skip_without_gcc() -> None:
    if not (sys.platform == "linux" and shutil.which("gcc")):
        pytest.skip("the C programs want Linux and gcc")


@pytest.fixture(scope="module")
def machine() -> dict[str, Any]:
    """This machine, described once: to find the ceiling of its products takes two seconds."""
    return describe_machine() | {"rounds": "test"}


@pytest.fixture(scope="module")
def seeds_task() -> Task:
    """Four blocks of the C program, the last not full, and repeated contexts."""
    X, Y = context_windows(WORDS, VOCAB, 3)
    options = {"n_embd": 4, "n_embd2": 21}
    return make_task("mlp-bn", options, VOCAB.size, X, Y, batch_size=149, n_steps=10)


@pytest.fixture(scope="module")
def seeds_losses(seeds_task: Task) -> np.ndarray:
    return losses("jaxmore_scan", seeds_task)


@pytest.mark.filterwarnings("ignore")  # torch.compile calls what torch has deprecated
@pytest.mark.parametrize(
    "module",
    [
        pytest.param(module, marks=[pytest.mark.slow] if module in COMPILED else [])
        for module in training.CONTESTANTS.values()
        if module != "jaxmore_scan"
    ],
)
@pytest.mark.quick("torch_manual", "torch_autograd", "numpy_by_hand", "plain_c")
def test_contestants_have_the_same_losses(
    module: str, seeds_task: Task, seeds_losses: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module == "torch_unrolled":  # two steps a graph; compiling ten, which are timed, takes long
        pytest.importorskip("torch")
        unrolled = import_module("benchmarks.contestants.torch_unrolled")
        in_graphs = unrolled.train_in_graphs
        two = lambda task, steps_per_graph: in_graphs(task, steps_per_graph // 5)  # noqa: E731
        monkeypatch.setattr(unrolled, "train_in_graphs", two)
    np.testing.assert_allclose(losses(module, seeds_task), seeds_losses, rtol=1e-5)


@pytest.mark.parametrize("type", ["rnn", "transformer"])
@pytest.mark.slow
def test_ladder_contestants_have_the_same_losses(type: str) -> None:
    sizes = {"n_embd": 4, "n_embd2": 6, "n_layer": 1, "n_head": 2, "block_size": 9}
    options = {name: sizes[name] for name in model_options(type)}
    X, Y = sequences(WORDS, VOCAB, 9)
    task = make_task(type, options, VOCAB.size, X, Y, batch_size=5, n_steps=3, optimizer="adamw")
    ours = losses("jaxmore_scan", task)
    peers = ["grad_scan"] + ["torch_twin"] * bool(find_spec("torch"))
    for module in peers + ["grad_plain_scan"] * (type == "transformer"):
        np.testing.assert_allclose(losses(module, task), ours, rtol=1e-4, err_msg=module)


@pytest.mark.slow
def test_a_race_gives_a_report(
    machine: dict[str, Any], seeds_task: Task, seeds_losses: np.ndarray
) -> None:
    with Worker("benchmarks.contestants.numpy_by_hand") as worker:
        results = race({"jaxmore": worker}, seeds_task, rounds=2)
    check_losses(results)
    np.testing.assert_allclose(results["jaxmore"].first, seeds_losses[:10], rtol=1e-5)
    assert len(results["jaxmore"].seconds) == 2
    row = inference.row_of("jaxmore", results["jaxmore"], results["jaxmore"])
    section = {"machine": machine, "rows": [row]}
    assert "| jaxmore |" in write_report({"sampling": [section]})


@pytest.mark.slow
def test_the_account_of_a_gradient_and_of_a_rule(machine: dict[str, Any], seeds_task: Task) -> None:
    rows = [
        {"model": "mlp-bn", "contestant": name} | account._asdict()
        for name in ("jaxmore_scan", "grad_scan")
        if (account := gradient_account(name, seeds_task))
    ]
    # The network's two products, each with two in the backward: B rows, 12 -> 21 -> V.
    products = 3 * 2 * seeds_task.batch_size * (12 * 21 + 21 * VOCAB.size)
    assert [row["product_flops"] for row in rows] == [products, products]
    rule = memory.residuals_of("tanh")
    assert 0 < rule["residual_bytes"] <= rule["autodiff_bytes"]
    section = {"machine": machine, "rows": [*rows, rule]}
    page = write_report({"memory": [section]})
    assert f"| mlp-bn | jaxmore_scan | {products / 1e6:,.1f} (×1.00) |" in page
    assert "| tanh | `f[*B,E]` |" in page


def test_products_in_a_loop_count_as_often_as_it_runs() -> None:
    def powers(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda y, _: (jax.jit(jnp.matmul)(y, x), None), x, None, length=7)[0]

    assert product_flops(jax.make_jaxpr(powers)(jnp.ones((3, 3))).jaxpr) == 7 * 2 * 27


def test_contestants_that_differ_are_refused() -> None:
    ours, theirs = (Result(np.full(20, loss), 0.0, 0.0) for loss in (2.0, 2.001))
    check_losses({"jaxmore": ours, "equal": ours})
    with pytest.raises(AssertionError, match="other"):
        check_losses({"jaxmore": ours, "other": theirs})
    with pytest.raises(AssertionError, match="other"):
        check_losses({"jaxmore": ours, "other": theirs}, tolerance=1.0, mean_tolerance=1e-4)


def test_every_case_names_a_model_and_every_contestant_a_file() -> None:
    assert {case.type for case in ladder.CASES} <= set(MODELS)
    folder = Path(training.__file__).parent / "contestants"
    tables = (training.CONTESTANTS, ladder.CONTESTANTS, inference.EVALUATION, inference.SAMPLING)
    for table in tables:
        assert all((folder / f"{module}.py").exists() for module in table.values())


def test_the_page_has_every_section() -> None:
    assert list(PAGE) == list(ALL)


def test_training_says_in_each_column_whether_c_is_a_floor(machine: dict[str, Any]) -> None:
    row = {"contestant": "jaxmore", "batch_size": 32, "us_per_step": 10.0, "ratio": 1.0}
    row |= {"steps_per_second": 1e5, "seconds_to_first_step": 1.0, "peak_mb": 1.0}
    row |= {"flops": 4e6, "product_flops": 3e6, "temporary_bytes": 5e6}
    c_by_hand = row | {"contestant": "C by hand", "flops": None, "products_us": 7.5, "ratio": 0.5}
    here = machine | {"matmul_ceiling_gflops": 400.0}
    newest = here | {"versions": here["versions"] | {"jax": "99"}}
    columns = [{"machine": here, "rows": [row, c_by_hand]}, {"machine": newest, "rows": [row]}]
    page = write_report({"training": columns})
    assert "| C by hand | 10.0 (×0.50) |  |" in page
    assert "| C by hand | 100% |  |" in page
    assert f"{column(here)}: C by hand is the floor" in page
    assert f"{column(newest)}: C" not in page
    assert "| 32 | jaxmore | 5.00 (×1.00) | 5.00 (×1.00) |" in page


def test_growth_tells_the_power_and_the_share_of_the_ceiling(
    machine: dict[str, Any], tmp_path: Path
) -> None:
    rows = [
        {"axis": axis.name, "model": "mlp-bn", "value": value}
        | {"us_per_example": 3.0 * value**2, "product_flops_per_example": 6e5 * value**2}
        for axis in growth.AXES
        for value in axis.values
    ]
    assert growth.slope(growth.by_axis(rows)["T"]) == pytest.approx(2)
    section = {"machine": machine | {"matmul_ceiling_gflops": 400.0}, "rows": rows}
    page = write_report({"growth": [section]})
    assert "| T | mlp-bn | 2.00 |" in page
    assert f"| T | 16 | {3 * 16**2}.0 (50%) |" in page
    figure = growth_figure([section])
    assert len(figure.axes) == len(growth.AXES)
    plots.save(figure, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_forms_have_the_numbers_of_the_plain_forms(machine: dict[str, Any]) -> None:
    """``compare`` refuses what differs."""
    small = [
        ((9, 6),),
        ((8, 5), (8, 3), (5, 3)),
        ((2, 5, 8), (2, 5, 8), (8, 2)),
        ((2, 2, 15, 4),) * 4,
    ]
    pairs = list(zip(forms.FORMS, small, strict=True))
    rows = [forms.compare(form, shapes, n_steps=8, rounds=1) for form, shapes in pairs]
    section = {"machine": machine, "rows": rows}
    assert "| softmax: maximum | (9, 6) |" in write_report({"forms": [section]})
    wrong = forms.FORMS[0]._replace(plain=lambda x: x.min(-1, keepdims=True))
    with pytest.raises(AssertionError, match=wrong.name):
        forms.compare(wrong, ((9, 6),), n_steps=8, rounds=1)


def test_a_column_is_replaced_by_its_next_run(machine: dict[str, Any]) -> None:
    here = machine
    newest = here | {"versions": here["versions"] | {"jax": "99"}}
    row = {"contestant": "jaxmore", "model": "gru", "us_per_step": 1.0, "seconds_to_first_step": 1}
    row |= {"peak_mb": 1, "ratio": 1.0}
    columns: list[Section] = []
    for of_column, ratio in (here, 1.0), (newest, 2.0), (here, 4.0):
        columns = put(columns, {"machine": of_column, "rows": [row | {"ratio": ratio}]})
    assert [its["rows"][0]["ratio"] for its in columns] == [4.0, 2.0]
    columns[1]["rows"].append(row | {"contestant": "other", "us_per_step": 5.0})
    page = write_report({"ladder": columns})
    assert f"| contestant | {column(here)} | {column(newest)} |" in page
    assert "| jaxmore | ×4.00 (×4.00) | ×2.00 (×2.00) |" in page
    assert "| gru | other |  | 5 (×1.00) |" in page
    assert "Measured on an earlier version" not in page
    older = {"machine": here | {"code": "of yesterday"}, "rows": [row]}
    assert "Measured on an earlier version" in write_report({"ladder": [older]})


def test_the_page_on_scaling_has_the_figures_of_its_file() -> None:
    docs = Path(training.__file__).resolve().parents[1] / "docs"
    results = json.loads((docs / "scaling.json").read_text("utf-8"))
    page = (docs / "scaling.md").read_text("utf-8")
    for table in scaling.tables(results):
        assert table in page, "python -m benchmarks.scaling tables writes the page anew"


def test_the_page_says_which_figures_are_older_than_the_code() -> None:
    docs = Path(training.__file__).resolve().parents[1] / "docs"
    results = json.loads((docs / "benchmarks.json").read_text("utf-8"))
    page = (docs / "benchmarks.md").read_text("utf-8")
    assert write_report(results) == page, "python -m benchmarks --page-only writes the page anew"


def test_only_code_is_compared_with_the_code_that_was_measured() -> None:
    source = 'def f(x):\n    """Say."""\n    # why\n    return f"{x}"  # here\n\n'
    assert code_lines(source) == ["def f(x):", '    return f"{x}"']


@pytest.mark.parametrize(
    ("tiles", "slowest", "verdict"),
    [(0.9, 0.6, "is the floor"), (0.5, 1.1, "should fill 80%"), (0.9, 2.5, "takes ×2.5")],
)
def test_c_is_called_a_floor_where_it_is_one(tiles, slowest, verdict) -> None:
    assert verdict in floor_of(tiles, 0.6, slowest)


def test_tables_are_written_between_what_stands_around_them() -> None:
    table = quality.HEAD + "| new |\n"
    readme = "before\n" + quality.HEAD + "| old |\n| older |\n\nafter\n"
    assert quality.write_into_page(readme, table) == f"before\n{table}\nafter\n"
    with pytest.raises(SystemExit, match=r"docs/ladder\.md has"):
        quality.write_into_page("nothing", table)


@pytest.fixture(scope="module")
def microgpt_task() -> Task:
    """Two groups of the C program, the last not full, and words of several lengths."""
    X, Y = sequences(WORDS, VOCAB, 9)
    options = {"block_size": 9, "n_layer": 1, "n_embd": 16, "n_head": 4}
    sizes = {"batch_size": 5, "n_steps": 3, "optimizer": "adam", "learning_rate": 0.01}
    return make_task("microgpt", options, VOCAB.size, X, Y, **sizes)


@pytest.mark.parametrize("module", ["microgpt_numpy", "microgpt_c", "microgpt_scalar"])
@pytest.mark.slow
def test_microgpt_takes_our_steps(microgpt_task, module) -> None:
    ours = losses("jaxmore_scan", microgpt_task)
    np.testing.assert_allclose(losses(module, microgpt_task), ours, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of", "tolerance"), [(microgpt_numpy, 1e-13), (microgpt_c, 1e-5)], ids=["numpy", "c"]
)
def test_microgpt_has_our_gradients(microgpt_task, x64, of, tolerance) -> None:
    if of is microgpt_c:
        skip_without_gcc()
    loss, grads = gradient(microgpt_task)
    theirs, found = of.first_gradient(microgpt_task)
    np.testing.assert_allclose(theirs, loss, rtol=tolerance)
    for expected, other in zip(microgpt_numpy.matrices(grads), found, strict=True):
        np.testing.assert_allclose(other, expected, rtol=0, atol=tolerance * abs(expected).max())


def gradient(task: Task) -> tuple[jax.Array, dict]:
    """Our loss and gradient of the first batch of a microgpt task, in float64."""
    model = MODELS["microgpt"].make(VOCAB.size, **task.options)
    params = jax.tree.map(lambda p: jnp.array(p, "float64"), task.params)
    x, y = (jnp.array(a[task.indices[0]]) for a in (task.X, task.Y))
    return jax.jit(loss_and_grad, static_argnums=0)(model, params, x, y)


def test_the_microgpt_tables(machine: dict[str, Any]) -> None:
    row = {"batch_size": 1, "contestant": "jaxmore", "us_per_example": 9.0, "ratio": 1.0}
    row |= {"losses": {1: 2.25, 5: 2.125}}
    section = {"machine": machine, "rows": [row]}
    written = write_report({"microgpt": [section]})
    assert "Microseconds an example at batch 1:" in written
    assert "| jaxmore | 9.0 (×1.00) |" in written
    assert "| jaxmore | 2.250 (1 s), 2.125 (5 s) |" in written


def test_a_loop_counts_as_often_as_it_runs() -> None:
    def chunk(x: jax.Array, w: jax.Array) -> jax.Array:
        def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jax.lax.fori_loop(0, 3, lambda _, x: jnp.sin(x @ w), x), None

        return jax.lax.scan(step, x @ w, length=7)[0]

    x, w = jnp.ones((20, 30)), jnp.ones((30, 30))
    found = account(jax.jit(chunk).lower(x, w).compile().as_text(), 7)
    assert found.flops == 3 * 2 * 20 * 30 * 30  # the product before the loop is no part of a step
    assert found.bytes >= 3 * 4 * (20 * 30 + 30 * 30 + 20 * 30)
    assert not found.counts


def test_the_model_of_a_step_has_the_derived_crossovers() -> None:
    """Without latency: 4C / 3W tokens for data; M = 1 + 9 D W / 4 C for model."""
    h100, *_ = MACHINES
    tokens, n_params, features = 2**40, 10**8, 768  # so many tokens that latency is nothing
    row = {"tokens": tokens, "flops": 6 * n_params * tokens, "bytes": 0, "model": 1, "n": 8}
    over_data = row | {"collectives": [["all-reduce", 8, 1, 2**20 * 4 * n_params]]}
    expected = 2**20 * 4 / 3 * h100.flops / h100.link * 7 / 8
    assert crossover(h100, over_data) == pytest.approx(expected, rel=1e-3)
    m = 8
    layer = row | {"flops": 72 * features**2 * tokens / m, "model": m}
    sums = layer | {"collectives": [["all-reduce", m, 4, 4 * 4 * features * tokens]]}
    products, _, _, over_model = seconds(h100, sums)
    longest = model_axis(h100, features)
    assert over_model / products == pytest.approx((m - 1) / (longest - 1), rel=1e-3)
