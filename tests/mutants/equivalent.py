"""Equivalent mutants, each with the identity that explains it and random inputs to confirm it."""

import inspect
from collections.abc import Callable
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmore.layers import Chain, Gelu, Linear
from jaxmore.testing.arguments import parse_args
from tests.mutants.oracle import python_loops
from tests.ninja.test_stepwise import Sizes, draw

N_INPUTS = 10_000
ULPS = 8
"""The tolerance for a different order of operations, in ULP of the largest element."""

Run = Callable[[ModuleType], Any]
"""Computes the results of a module on random inputs."""


class Equivalent(NamedTuple):
    file: str
    function: str
    before: str
    after: str
    identity: str
    run: Run

    @property
    def key(self) -> tuple[str, str, str]:
        return self.function, self.before, self.after

    def __str__(self) -> str:
        return f"{self.function}: {self.before}  →  {self.after}"


def show(entry: Equivalent, right: ModuleType, mutant: ModuleType) -> None:
    """Assert that both modules compute the same, on 10,000 random inputs if the entry has any."""
    with python_loops():
        ours, theirs = jax.tree.leaves(entry.run(mutant)), _of_the_right(entry.run, right)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        eps = float(jnp.finfo(a.dtype).eps) if jnp.issubdtype(a.dtype, jnp.floating) else 0
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        assert np.isfinite(b).all()
        assert np.abs(a - b).max() <= ULPS * eps * np.abs(b).max(), str(entry)


@lru_cache(maxsize=1)  # entries with the same inputs are adjacent
def _of_the_right(run: Run, right: ModuleType) -> list[Any]:
    return jax.tree.leaves(run(right))


def _rule(name: str, arguments: str, dtype: str = "float64", **options: Any) -> Run:
    """Run a rule forward and backward. N in the arguments is the number of inputs."""

    def run(module: ModuleType) -> Any:
        fwd, bwd = (partial(getattr(module, name + end), **options) for end in ("_fwd", "_bwd"))
        args = [
            jnp.asarray(a, dtype if np.issubdtype(a.dtype, np.floating) else None)
            for a in parse_args(arguments, sizes={"N": N_INPUTS})
        ]

        def both(*args: Any) -> Any:
            y, residuals = fwd(*args)
            return y, residuals, bwd(residuals, jax.tree.map(lambda a: jnp.cos(3 * a), y))

        return jax.vmap(both)(*args)

    return run


def _layer(make: Callable[[Any], Any], x: str, dtype: str = "float64") -> Run:
    """Run a layer forward, backward and token by token. N in x is the number of inputs."""

    def run(module: ModuleType) -> Any:
        layer = make(module)
        (arrays,) = parse_args(x, sizes={"N": N_INPUTS})
        is_float = np.issubdtype(arrays.dtype, np.floating)
        inputs = jnp.asarray(arrays, dtype if is_float else None)
        shapes = jax.eval_shape(layer.init, jax.random.key(0))
        rng = np.random.default_rng(0)
        params = jax.tree.map(
            lambda s: jnp.asarray(rng.normal(size=(N_INPUTS, *s.shape)), dtype), shapes
        )

        def everything(params: Any, x: Any) -> Any:
            y, residuals = layer.fwd(params, x)
            _, stats = layer.calibrate(params, x)
            cache, ys = layer.cache(params, len(x)), []
            for t in range(x.shape[1]):
                y_t, cache = layer.step(params, stats, cache, x[:, t])
                ys.append(y_t)
            return y, ys, layer.bwd(params, residuals, jnp.cos(3 * y))

        return jax.vmap(everything)(params, inputs)

    return run


def _stepwise(module: ModuleType) -> Any:
    """Run the notebooks' network with 10,000 draws of its parameters."""
    params, X, Y = draw(Sizes(3, 2, 4, 2, 3, b1=True), "float64")
    rng = np.random.default_rng(0)
    many = jax.tree.map(lambda p: p + rng.normal(size=(N_INPUTS, *p.shape)), params)

    def all_of_it(params: Any) -> Any:
        values = inspect.unwrap(module.forward)(params, X, Y)
        d = inspect.unwrap(module.backward)(params, X, Y, values)
        # The gradient of b1 is zero by identity; compare its rounding error with hprebn's scale.
        zero = d.b1 / jnp.abs(d.hprebn).max() * 1e-3 + 1
        return values, d._replace(b1=zero)

    return jax.vmap(all_of_it)(many)


def _dlogits_outer(module: ModuleType) -> Any:
    """Exercise 2's outer form of as many logits."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(N_INPUTS, 3, 4)))
    return jax.vmap(module.dlogits_outer, (0, None))(logits, jnp.array([2, 0, 2]))


def _windows(module: ModuleType) -> Any:
    return module.Windows(3, 2).fwd({}, jnp.asarray(parse_args("i[10000,5]<4")[0]))[0]


def _sums(module: ModuleType) -> Any:
    return jax.vmap(module._sum_rows)(jnp.asarray(parse_args("f[10000,5,7]")[0], "float64"))


def _described(module: ModuleType) -> Any:
    """Describe a model with layers of each width up to 100, as bytes."""
    model = Chain(**{f"l{n}": Linear(n, n + 1) for n in range(1, 101)})
    return jnp.array(list(f"{module.describe(model)} {module.count_parameters(model)}".encode()))


def _widened(dtype: str) -> Run:
    return lambda module: module.widen(jnp.asarray(parse_args("f[10000]")[0], dtype))


_ATTENTION = "f[N,5,2] f[N,5,2] f[N,5,2]"
_IN_BLOCKS = _rule("causal_attention", _ATTENTION, block_size=3)
_IN_ONE = _rule("causal_attention", _ATTENTION)
_LINEAR = _rule("linear", "f[N,7,3] f[N,3,5] f[N,5]", "bfloat16")

_PLACES = _layer(lambda m: m.PositionEmbedding(3, 2), "i[N,5,3]<4", "bfloat16")
_HEADS = _layer(lambda m: m.CausalSelfAttention(4, 2, 3), "f[N,2,3,12]")
_RECOMPUTED = _layer(lambda m: m.Chain(a=Gelu(approximate=True), b=Linear(3, 2)), "f[N,2,3,3]")
_LAYER_NORM = _layer(lambda m: m.LayerNorm(3), "f[N,2,3,3]")
_RMS_NORM = _layer(lambda m: m.RmsNorm(), "f[N,2,3,3]")
_LSTM_STEPS = _layer(lambda m: m.ScanTime(m.LstmCell(2, 3)), "f[N,5,2,2]", "bfloat16")

_TURNED = "lax.optimization_barrier(jnp.matmul(drows.T, rows{})).T"
_LARGER = (
    "lax.reduce(lax.stop_gradient(x), least, lambda a, b: lax.select(b {} a, b, a), "
    "(axis % x.ndim,))"
)

_UNSEEN = "exp(−1e30 − maximum) is 0, so a masked weight is zero without the second mask"
_ANY_ORDER = "the order of summation changes only the rounding"
_ANY_SIGNAL = "the signal is only compared with itself, so any part of the cotangent will do"
_FAR_BELOW = "any number far below every score will do: its exponential is 0"
_FIRST = "the first block scales the initial values by exp(−1e30 − m) = 0"
_IN_FLOAT32 = "JAX sums 16-bit numbers in float32 and rounds the result, with or without widen"
_ONE_LONG = "this axis has length 1, and JAX clamps an index beyond the end"
_SAME_SHAPE = "q, k and v have the same shape"

EQUIVALENT = [
    Equivalent(f"jaxmore/{file}.py", *rest)
    for file, *rest in [
        (
            "rules/_activations",
            "gelu_bwd",
            "near = jnp.clip(widen(x), -40, 40)",
            "near = jnp.clip(-40, widen(x), 40)",
            "clip(x, a, b) = min(max(x, a), b), and max commutes",
            _rule("gelu", "f[N]*30", approximate=False),
        ),
        (
            "rules/_activations",
            "gelu_bwd",
            "cdf = jnp.where(twice_u < 0, e, 1) * larger",
            "cdf = jnp.where(twice_u <= 0, e, 1) * larger",
            "e is 1 at 0",
            _rule("gelu", "f[N]*30", approximate=True),
        ),
        *(
            (
                "rules/_activations",
                "gelu_bwd",
                "near = jnp.clip(widen(x), -40, 40)",
                f"near = jnp.clip(widen(x), {bounds})",
                "beyond 39 Φ' = exp(−x²/2)/√(2π) is zero in float64, and so is 1 − tanh²",
                _rule("gelu", "f[N]*30", approximate=approximate),
            )
            for bounds, approximate in (("-41, 40", False), ("-40, 41", True))
        ),
        (
            "rules/_activations",
            "_tanh_by_quotients",
            "a = jnp.minimum(jnp.abs(widen(x)), 10)",
            "a = jnp.minimum(jnp.abs(widen(x)), 11)",
            "both tanh 10 and tanh 11 round to 1 in float32",
            _rule("tanh", "f[N]*10", "float32"),
        ),
        (
            "rules/_activations",
            "_tanh_by_quotients",
            "return jnp.where(x == 0, x, jnp.where(x < 0, -y, y).astype(x.dtype))",
            "return jnp.where(x == 0, x, jnp.where(x <= 0, -y, y).astype(x.dtype))",
            "the outer where already handles 0",
            _rule("tanh", "f[N]", "float32"),
        ),
        (
            "rules/_attention",
            "_attend_bwd",
            "probs_t = probs_t / jnp.where(total == 0, 1, total)",
            "probs_t = probs_t / jnp.where(total == 0, 2, total)",
            "the numerators are 0 as well, and 0/1 = 0/2",
            _IN_ONE,
        ),
        (
            "rules/_activations",
            "_tanh_by_quotients",
            "small, square = (a < 1, a * a)",
            "small, square = (a <= 1, a * a)",
            "both forms are valid at 1",
            lambda m: m.tanh_fwd(
                jnp.sign(jax.random.normal(jax.random.key(0), N_INPUTS, "float32"))
            ),
        ),
        *(
            (
                "layers/combinators",
                "Chain.bwd",
                "first = cast(Array, dy)[(slice(1),) * cast(Array, dy).ndim].sum()",
                f"first = cast(Array, dy)[{after}",
                _ANY_SIGNAL,
                _RECOMPUTED,
            )
            for after in (
                "(slice(1),) * cast(Array, dy).ndim].mean()",
                "(slice(1),) * cast(Array, dy).ndim]",
                "slice(1),].sum()",
                "cast(Array, dy).ndim].sum()",
                "(slice(2),) * cast(Array, dy).ndim].sum()",
            )
        ),
        (
            "rules/_attention",
            "causal_attention_fwd.step",
            "new = _merge(cast(_Sums, old), _attend(*block, (i - j) * size))",
            "new = _merge(_attend(*block, (i - j) * size), cast(_Sums, old))",
            "the sum over two blocks of keys does not depend on their order",
            _IN_BLOCKS,
        ),
        *(
            (
                "rules/_attention",
                "causal_attention_fwd",
                "start = (jnp.zeros((*rows, v.shape[-1]), wide), jnp.full((*rows, 1), MASK_VALUE, "
                "wide), jnp.zeros((*rows, 1), wide))",
                after,
                _FIRST,
                _IN_BLOCKS,
            )
            for after in (
                "start = (jnp.ones((*rows, v.shape[-1]), wide), jnp.full((*rows, 1), MASK_VALUE, "
                "wide), jnp.zeros((*rows, 1), wide))",
                "start = (jnp.zeros((*rows, v.shape[-1]), wide), jnp.full((*rows, 1), MASK_VALUE, "
                "wide), jnp.ones((*rows, 1), wide))",
            )
        ),
        *(
            (
                "rules/_attention",
                "causal_attention_bwd",
                "start = cast(_Sums, tuple((jnp.zeros_like(x, wide) for x in (q, k, v))))",
                f"start = cast(_Sums, tuple((jnp.zeros_like(x, wide) for x in ({order}))))",
                _SAME_SHAPE,
                _IN_BLOCKS,
            )
            for order in ("k, q, v", "q, v, k")
        ),
        (
            "rules/_attention",
            "module",
            "MASK_VALUE = -1e+30",
            "MASK_VALUE = -1.0009999999999999e+30",
            _FAR_BELOW,
            _IN_BLOCKS,
        ),
        (
            "rules/_attention",
            "_attend",
            "weights = jnp.where(mask, jnp.exp(scores - maximum), 0)",
            "weights = jnp.exp(scores - maximum)",
            _UNSEEN,
            _IN_BLOCKS,
        ),
        (
            "rules/_attention",
            "_attend_bwd",
            "probs_t = jnp.where(mask_t, jnp.exp(above_t), 0)",
            "probs_t = jnp.exp(above_t)",
            _UNSEEN,
            _IN_BLOCKS,
        ),
        (
            "rules/_attention",
            "_blocks",
            "n_blocks = max(-(-n_rows // block_size), 1)",
            "n_blocks = -(-n_rows // block_size)",
            "⌈T/b⌉ ≥ 1 for T ≥ 1; T = 0 has no largest score and is refused either way",
            _IN_ONE,
        ),
        (
            "rules/_cross_entropy",
            "softmax_cross_entropy_fwd",
            "nll = jnp.where(valid, jnp.log(total[..., 0]) - chosen, 0)",
            "nll = jnp.where(valid, jnp.log(total[..., 1]) - chosen, 0)",
            "total has one column, and JAX clamps an index beyond the end",
            _rule("softmax_cross_entropy", "f[N,3,5] i[N,3]=-1..5"),
        ),
        *(
            (
                "layers/contexts",
                "Windows.fwd",
                before,
                after,
                identity,
                _windows,
            )
            for before, after, identity in (
                (
                    "n_steps = x.shape[-1]",
                    "n_steps = x.shape[1]",
                    "ids are (B, T), so axis 1 is the last axis",
                ),
                (
                    "padded = jnp.pad(ids, ((0, 0), (self.n - 1, 0)), constant_values=self.blank)",
                    "padded = jnp.pad(ids, ((0, 0), (self.n - 1, 1)), constant_values=self.blank)",
                    "the last window ends with the last id, so padding after it is never read",
                ),
            )
        ),
        *(
            (
                "layers/description",
                function,
                f"shapes = {before}(0)){end}",
                f"shapes = {before}(1)){end}",
                "shapes do not depend on the key",
                _described,
            )
            for function, before, end in (
                ("count_parameters", "jax.eval_shape(model.init, jax.random.key", ""),
                ("describe_layers", "by_path(jax.eval_shape(layer.init, jax.random.key", ")"),
            )
        ),
        *(
            (
                "layers/embedding",
                "PositionEmbedding.bwd",
                "drows = widen(dy).sum(tuple(range(dy.ndim - 2))).astype(dy.dtype)",
                after,
                identity,
                _PLACES,
            )
            for after, identity in (
                (
                    "drows = widen(dy).sum(tuple(range(dy.ndim - 2)))",
                    "each position has one row, and embedding_bwd rounds it anyway",
                ),
                ("drows = dy.sum(tuple(range(dy.ndim - 2))).astype(dy.dtype)", _IN_FLOAT32),
            )
        ),
        (
            "layers/embedding",
            "PositionEmbedding.step",
            "row = params['weight'].at[cache].get(mode='fill', fill_value=jnp.nan)",
            "row = params['weight'].at[cache].get(mode='fill')",
            "NaN is JAX's default fill value for floats",
            _PLACES,
        ),
        (
            "layers/mixing",
            "CausalSelfAttention.cache",
            "room = jnp.zeros((batch_size, self.n_head, self.block_size, self.n_embd // "
            "self.n_head))",
            "room = jnp.ones((batch_size, self.n_head, self.block_size, self.n_embd // "
            "self.n_head))",
            "each slot is written before it is read",
            _HEADS,
        ),
        *(
            (
                "layers/mixing",
                "CausalSelfAttention.step",
                f"{a} = cache.{a}.at[:, :, place].set({a}_t[:, :, 0], mode='drop')",
                f"{a} = cache.{a}.at[:, :, place].{after}",
                identity,
                _HEADS,
            )
            for a in "kv"
            for after, identity in (
                (f"add({a}_t[:, :, 0], mode='drop')", "each slot is written once, and was zero"),
                (f"set({a}_t[:, :, 0])", "dropping out-of-bounds updates is JAX's default"),
                (f"set({a}_t[:, :, 1], mode='drop')", _ONE_LONG),
            )
        ),
        (
            "layers/mixing",
            "CausalSelfAttention.step",
            "return (self._merge(o)[:, 0].astype(x_t.dtype), KVCache(k, v, place + 1))",
            "return (self._merge(o)[:, 1].astype(x_t.dtype), KVCache(k, v, place + 1))",
            _ONE_LONG,
            _HEADS,
        ),
        (
            "layers/norms",
            "LayerNorm.bwd",
            "dx, dgain, dbias = rules.layer_norm_bwd(residuals, dy, eps=self.eps)",
            "dx, dgain, dbias = rules.layer_norm_bwd(residuals, dy)",
            "the backward pass ignores eps, which var already includes",
            _LAYER_NORM,
        ),
        (
            "layers/norms",
            "RmsNorm.bwd",
            "dx, _ = rules.rms_norm_bwd(rules.RmsNormResiduals(*res, gain=None), dy, eps=self.eps)",
            "dx, _ = rules.rms_norm_bwd(rules.RmsNormResiduals(*res, gain=None), dy)",
            "the backward pass ignores eps, which mean_square already includes",
            _RMS_NORM,
        ),
        (
            "layers/recurrent",
            "ScanTime.bwd",
            "dstart = jnp.stack([widen(d).sum(tuple(range(d.ndim - 1))) for d in dstate])",
            "dstart = jnp.stack([d.sum(tuple(range(d.ndim - 1))) for d in dstate])",
            _IN_FLOAT32,
            _LSTM_STEPS,
        ),
        *(
            (
                "rules/_linear",
                "linear_bwd",
                before,
                after,
                "JAX accumulates a product of 16-bit numbers in float32 and rounds once",
                _LINEAR,
            )
            for before, after in (
                (
                    "dx = jnp.matmul(dy, weight.T, preferred_element_type=wide)",
                    "dx = jnp.matmul(dy, weight.T)",
                ),
                (
                    "dweight = jnp.matmul(rows.T, drows, preferred_element_type=wide)",
                    "dweight = jnp.matmul(rows.T, drows)",
                ),
                (
                    f"dweight = {_TURNED.format(', preferred_element_type=wide')}",
                    f"dweight = {_TURNED.format('')}",
                ),
            )
        ),
        *(
            (
                "rules/_linear",
                "linear_bwd",
                "if dy.shape[-1] < min(rows.shape)",
                f"if {after}",
                "(dyᵀ x)ᵀ = xᵀ dy: the choice affects only the speed",
                _LINEAR,
            )
            for after in ("dy.shape[-1] <= min(rows.shape)", "min(rows.shape) < dy.shape[-1]")
        ),
        (
            "rules/_reductions",
            "max_keepdims",
            f"maximum = {_LARGER.format('>')}",
            f"maximum = {_LARGER.format('>=')}",
            "either of two equal numbers is the maximum",
            lambda m: m.max_keepdims(jnp.asarray(parse_args("i[10000,7]<4")[0], "float32")),
        ),
        *(
            (
                "rules/_precision",
                "accumulator",
                "return jnp.dtype('float32') if jnp.finfo(dtype).bits < 32 else dtype",
                f"return jnp.dtype('float32') if jnp.finfo(dtype).bits {bound} else dtype",
                "the accumulator of float32 is float32, and no float has 33 bits",
                _widened("float32"),
            )
            for bound in ("<= 32", "< 33")
        ),
        (
            "ninja/stepwise",
            "backward",
            "dlogprobs = jnp.zeros_like(v.logprobs).at[jnp.arange(n), Y].set(-1.0 / n)",
            "dlogprobs = jnp.zeros_like(v.logprobs).at[jnp.arange(n), Y].add(-1.0 / n)",
            "no element is written twice: each of the rows 0 to n − 1 occurs once",
            _stepwise,
        ),
        *(
            (
                "ninja/stepwise",
                "backward",
                f"{before}(d{what})[0]",
                f"{before}(d{what})[1]",
                _ONE_LONG,
                _stepwise,
            )
            for before, what in (
                ("db2 = _sum_rows", "logits"),
                ("db1 = None if params.b1 is None else _sum_rows", "hprebn"),
            )
        ),
        (
            "ninja/stepwise",
            "_rounded",
            "return jnp.where(product == 0, 0, product)",
            "return product",
            "the selection replaces 0 by 0; it only affects what XLA may fuse",
            _stepwise,
        ),
        *(
            (
                "ninja/stepwise",
                "_sum_rows",
                "size, axis = (16, 1) if width % 64 == 0 else (4, 0)",
                f"size, axis = {after}",
                _ANY_ORDER,
                _sums,
            )
            for after in (
                "(16, 1)",
                "(4, 0)",
                "(16, 1) if width % 64 != 0 else (4, 0)",
                "(16, 1) if width // 64 == 0 else (4, 0)",
                "(16, 1) if width == 0 else (4, 0)",
                "(16, 1) if 64 == 0 else (4, 0)",
                "(16, 1) if width % 65 == 0 else (4, 0)",
                "(16, 1) if width % 64 == 1 else (4, 0)",
                "(17, 1) if width % 64 == 0 else (4, 0)",
                "(16, 1) if width % 64 == 0 else (5, 0)",
                "(16, 1) if width % 64 == 0 else (4, 1)",
            )
        ),
        *(
            (
                "ninja/stepwise",
                "_sum_rows",
                "blocks = jnp.pad(x, ((0, -n % size), (0, 0))).reshape(-1, size, width)",
                f"blocks = jnp.pad(x, {after}, width)",
                _ANY_ORDER,
                _sums,
            )
            for after in (
                "((0, -n % size), (0, 0))).reshape(size, -1",
                "((-n % size, 0), (0, 0))).reshape(-1, size",
            )
        ),
        (
            "ninja/stepwise",
            "backward",
            "dbndiff2 = 1 / (n - 1) * jnp.ones_like(v.bndiff2) * dbnvar",
            "dbndiff2 = 1 / (n - 1) / jnp.ones_like(v.bndiff2) * dbnvar",
            "a / 1 = a · 1",
            _stepwise,
        ),
        (
            "ninja/closed_forms",
            "dlogits_outer",
            "return 1 / n * probs * (picked * (1 - eye / probs[:, :, None])).sum(1)",
            "return 1 / n * probs * (picked * (1 - eye / probs[:, None, :])).sum(1)",
            "δ_uv / p_u = δ_uv / p_v",
            _dlogits_outer,
        ),
    ]
]
