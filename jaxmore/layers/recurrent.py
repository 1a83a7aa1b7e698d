"""Recurrent cells and backpropagation through time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxmore import rules
from jaxmore.layers.base import Layer, Tree
from jaxmore.layers.linear import fan_in_linear
from jaxmore.rules._precision import widen

CellState = tuple[Array, ...]
"""The state that a cell passes to the next step: arrays (*B, H), the output first."""


@dataclass(frozen=True)
class Cell:
    """One time step, from an input (*B, E) and a state to the next state. See :class:`ScanTime`."""

    n_in: int
    """E, the length of an input."""
    n_hidden: int
    """H, the length of each array of the state."""
    n_states: ClassVar[int] = 1
    """S, the number of arrays in the state."""

    def init(self, key: Array) -> Tree:
        """Return initial parameters."""
        raise NotImplementedError(f"{type(self).__name__} defines no parameters")

    def fwd(self, params: Tree, x: Array, state: CellState) -> tuple[CellState, Any]:
        """Return (state, residuals). Residuals exclude parameters, which a scan would stack."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def bwd(self, params: Tree, res: Any, dstate: CellState) -> tuple[Tree, Array, CellState]:
        """Return (dparams, dx, dstate of the previous state) from dstate of the next state."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward")


@dataclass(frozen=True)
class RnnCell(Cell):
    """The plain recurrent cell, :func:`jaxmore.rules.rnn_cell`.

    Parameters: ``weight`` (E + H, H), with the rows for the input first, and ``bias`` (H,).
    """

    def init(self, key: Array) -> Tree:
        return fan_in_linear(self.n_in + self.n_hidden, self.n_hidden).init(key)

    def fwd(self, params: Tree, x: Array, state: CellState) -> tuple[CellState, Any]:
        (h,) = state
        h_new, _ = rules.rnn_cell_fwd(x, h, params["weight"], params["bias"])
        return (h_new,), (_concat(x, h), h_new)

    def bwd(self, params: Tree, res: Any, dstate: CellState) -> tuple[Tree, Array, CellState]:
        (xh, h_new), (dh_new,) = res, dstate
        x, h = _split(xh, self.n_in)
        residuals = rules.RnnCellResiduals(x, h, h_new, params["weight"])
        dx, dh, dweight, dbias = rules.rnn_cell_bwd(residuals, dh_new)
        return {"weight": dweight, "bias": dbias}, dx, (dh,)


@dataclass(frozen=True)
class GruCell(Cell):
    """The gated recurrent unit in makemore's form, :func:`jaxmore.rules.gru_cell`.

    Parameters: for each of ``update``, ``reset`` and ``candidate`` a ``weight`` (E + H, H), with
    the rows for the input first, and a ``bias`` (H,).
    """

    _gates: ClassVar[tuple[str, ...]] = ("update", "reset", "candidate")  # in the rule's order

    def init(self, key: Array) -> Tree:
        linear = fan_in_linear(self.n_in + self.n_hidden, self.n_hidden)
        keys = jax.random.split(key, 3)
        return {name: linear.init(k) for name, k in zip(self._gates, keys, strict=True)}

    def fwd(self, params: Tree, x: Array, state: CellState) -> tuple[CellState, Any]:
        (h,) = state
        arrays = [params[gate][name] for gate in self._gates for name in ("weight", "bias")]
        h_new, res = rules.gru_cell_fwd(x, h, *arrays)
        return (h_new,), (x, h, res.z, res.r, res.h_hat)

    def bwd(self, params: Tree, res: Any, dstate: CellState) -> tuple[Tree, Array, CellState]:
        (x, h, z, r, h_hat), (dh_new,) = res, dstate
        w_z, w_r, w_h = (params[gate]["weight"] for gate in self._gates)
        residuals = rules.GruCellResiduals(x, h, z, r, h_hat, w_z, w_r, w_h)
        dx, dh, dw_z, db_z, dw_r, db_r, dw_h, db_h = rules.gru_cell_bwd(residuals, dh_new)
        dparams = {
            "update": {"weight": dw_z, "bias": db_z},
            "reset": {"weight": dw_r, "bias": db_r},
            "candidate": {"weight": dw_h, "bias": db_h},
        }
        return dparams, dx, (dh,)


@dataclass(frozen=True)
class LstmCell(Cell):
    """The long short-term memory cell, :func:`jaxmore.rules.lstm_cell`, with the state (h, c).

    Parameters: ``weight`` (E + H, 4 H), with the rows for the input first and the columns in the
    order input gate, forget gate, candidate, output gate; and ``bias`` (4 H,).
    """

    n_states: ClassVar[int] = 2

    def init(self, key: Array) -> Tree:
        return fan_in_linear(self.n_in + self.n_hidden, 4 * self.n_hidden).init(key)

    def fwd(self, params: Tree, x: Array, state: CellState) -> tuple[CellState, Any]:
        h, c = state
        states, res = rules.lstm_cell_fwd(x, h, c, params["weight"], params["bias"])
        _, _, *kept, _ = res
        return states, (_concat(x, h), *kept)

    def bwd(self, params: Tree, res: Any, dstate: CellState) -> tuple[Tree, Array, CellState]:
        (xh, *kept), (dh_new, dc_new) = res, dstate
        x, h = _split(xh, self.n_in)
        residuals = rules.LstmCellResiduals(x, h, *kept, weight=params["weight"])
        dx, dh, dc, dweight, dbias = rules.lstm_cell_bwd(residuals, (dh_new, dc_new))
        return {"weight": dweight, "bias": dbias}, dx, (dh, dc)


def _concat(x: Array, h: Array) -> tuple[Array, ...]:
    # A single array if the dtypes allow it: a scan writes and reads it faster than two arrays.
    return (jnp.concatenate([x, h], axis=-1),) if x.dtype == h.dtype else (x, h)


def _split(xh: tuple[Array, ...], n_in: int) -> Sequence[Array]:
    return xh if len(xh) == 2 else jnp.split(xh[0], [n_in], axis=-1)


@dataclass(frozen=True)
class ScanTime(Layer):
    """Run a cell over time, (*B, T, E) to (*B, T, H), from a learned initial state.

    The parameter ``start`` (S, H) has a row for each array of the cell's state and is initialised
    to zero. The forward pass, with s[0] = start and the output h as the first array of the state::

        s[t] = cell(x[t], s[t−1])          y[t] = s[t].h          t from 1 to T

    In the backward pass, s[t] is used twice, as the output and by the next step, and the parameters
    of the cell are used T times; a cotangent is the sum over all uses. So the scan runs from T down
    to 1 and carries the cotangent of the state and the running sum of the parameters' cotangents::

        ds[t] += dy[t] (its h)             dparams[t], dx[t], ds[t−1] = cell_bwd(ds[t])

    Only the residuals of the cell are stacked over time. For :meth:`step`, the cache is the state.

    Source: Werbos, Backpropagation through time (1990).

    >>> layer = ScanTime(RnnCell(n_in=3, n_hidden=5))
    >>> params = layer.init(jax.random.key(0))
    >>> y, residuals = layer.fwd(params, jnp.ones((2, 7, 3)))
    >>> dparams, dx = layer.bwd(params, residuals, jnp.ones_like(y))
    >>> y.shape, dx.shape, dparams["start"].shape
    ((2, 7, 5), (2, 7, 3), (1, 5))
    """

    cell: Cell

    def init(self, key: Array) -> Tree:
        start = jnp.zeros((self.cell.n_states, self.cell.n_hidden))
        return {"start": start, "cell": self.cell.init(key)}

    def fwd(self, params: Tree, x: Array, key: Array | None = None) -> tuple[Array, Any]:
        def step(state: CellState, x_t: Array) -> tuple[CellState, tuple[Array, Any]]:
            state, res = self.cell.fwd(params["cell"], x_t, state)
            return state, (state[0], res)

        start = self._start(params, x.shape[:-2])
        _, (y, res) = jax.lax.scan(step, start, jnp.moveaxis(x, -2, 0))
        return jnp.moveaxis(y, 0, -2), res

    def bwd(self, params: Tree, res: Any, dy: Array) -> tuple[Tree, Array]:
        def step(carry: tuple[CellState, Tree], at: tuple[Array, Any]) -> Any:
            (dh, *others), total = carry
            dy_t, res_t = at
            dcell, dx_t, dstate = self.cell.bwd(params["cell"], res_t, (dh + dy_t, *others))
            return (dstate, jax.tree.map(lambda a, b: a + widen(b), total, dcell)), dx_t

        last = jax.tree.map(jnp.zeros_like, self._start(params, dy.shape[:-2]))
        zero = jax.tree.map(lambda p: jnp.zeros_like(widen(p)), params["cell"])
        steps = jnp.moveaxis(dy, -2, 0), res
        (dstate, total), dx = jax.lax.scan(step, (last, zero), steps, reverse=True)
        dcell = jax.tree.map(lambda d, p: d.astype(p.dtype), total, params["cell"])
        dstart = jnp.stack([widen(d).sum(tuple(range(d.ndim - 1))) for d in dstate])
        dparams = {"start": dstart.astype(params["start"].dtype), "cell": dcell}
        return dparams, jnp.moveaxis(dx, 0, -2)

    def cache(self, params: Tree, batch_size: int) -> CellState:
        return self._start(params, (batch_size,))

    def step(
        self, params: Tree, stats: Tree, cache: CellState, x_t: Array
    ) -> tuple[Array, CellState]:
        state, _ = self.cell.fwd(params["cell"], x_t, cache)
        return state[0], state

    def _start(self, params: Tree, batch: tuple[int, ...]) -> CellState:
        shape = (*batch, self.cell.n_hidden)
        rows = range(self.cell.n_states)
        return tuple(jnp.broadcast_to(params["start"][i], shape) for i in rows)
