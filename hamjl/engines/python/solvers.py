"""The complete state of SciPy's solvers, out and in again: a restored solver takes the same steps to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csc_matrix, issparse

from hamjl.errors import EngineError
from hamjl.lowered import State

_ALL = ("t", "t_old", "t_bound", "y", "status", "nfev", "njev", "nlu")
_RK = (*_ALL, "y_old", "f", "h_abs", "h_previous")
_KEPT = {
    "RK45": (*_RK, "K"),
    "DOP853": (*_RK, "K_extended"),
    "BDF": (*_ALL, "h_abs", "order", "n_equal_steps", "D", "J"),
    "Radau": (*_ALL, "y_old", "f", "h_abs", "h_abs_old", "error_norm_old", "current_jac", "Z", "J"),
    "LSODA": _ALL,
}
_FACTORED = {"BDF": {"LU": "real"}, "Radau": {"LU_real": "real", "LU_complex": "complex"}}
_LSODA = ("rwork", "iwork", "state_doubles", "state_ints")


class StuckError(Exception):
    """LSODA cannot go on."""


def prepared(solver: Any) -> Any:
    """A solver that keeps the matrices it factors, and warns of nothing.

    A factorization cannot be saved, but made again. LSODA says that it is stuck by a warning, which could only be
    silenced for all threads of the process.
    """
    if type(solver).__name__ in _FACTORED:
        factor, solver.factored = solver.lu, {}

        def lu(matrix: Any) -> Any:
            solver.factored["complex" if np.iscomplexobj(matrix) else "real"] = matrix.copy()
            return factor(matrix)

        solver.lu = lu
    elif type(solver).__name__ == "LSODA":
        inner = solver._lsoda_solver._integrator
        run = inner.runner

        def checked(*given: Any) -> Any:
            found = run(*given)
            if found[-1] < 0:
                raise StuckError
            return found

        inner.runner = checked
    return solver


def export(solver: Any) -> State:
    """Copy all that the solver's next step depends on."""
    name = type(solver).__name__
    state: State = {key: _plain(getattr(solver, key)) for key in _KEPT[name]}
    for key, kind in _FACTORED.get(name, {}).items():
        if getattr(solver, key) is not None:
            state[key] = _plain(solver.factored[kind])
    if name == "LSODA":
        inner = solver._lsoda_solver._integrator
        if not hasattr(inner, "state_doubles"):
            raise EngineError(
                "the state of LSODA can be saved with SciPy 1.17 or newer, got an older one: use BDF or DOP853."
            )
        state |= {key: getattr(inner, key).copy() for key in _LSODA}
        state |= {"istate": int(inner.call_args[3]), "inner": solver._lsoda_solver._y.copy()}
    return state


def restore(solver: Any, state: State) -> None:
    """Put an exported state into a new solver of the same kind and size."""
    name = type(solver).__name__
    for key in _KEPT[name]:
        setattr(solver, key, _rich(state[key]))
    if name == "DOP853":
        solver.K = solver.K_extended[: solver.n_stages + 1]
    for key in _FACTORED.get(name, {}):
        setattr(solver, key, solver.lu(_rich(state[key])) if key in state else None)
    if name == "Radau" and solver.Z is not None:
        solver.sol = solver._compute_dense_output()
    if name == "LSODA":
        outer = solver._lsoda_solver
        for key in _LSODA:
            getattr(outer._integrator, key)[:] = state[key]
        outer._integrator.call_args[3] = state["istate"]
        outer._y, outer.t = state["inner"].copy(), solver.t
    for key in ("nfev", "njev", "nlu"):
        setattr(solver, key, state[key])


def extend(solver: Any, bound: float) -> None:
    """Let a solver go on to another bound, with the history it has."""
    solver.t_bound, solver.status = bound, "running"
    if type(solver).__name__ == "LSODA":
        solver._lsoda_solver._integrator.rwork[0] = bound


def _plain(value: Any) -> Any:
    if issparse(value):
        return {"shape": list(value.shape), "data": value.data, "indices": value.indices, "indptr": value.indptr}
    return value.copy() if isinstance(value, np.ndarray) else value.item() if isinstance(value, np.generic) else value


def _rich(value: Any) -> Any:
    if isinstance(value, dict):
        return csc_matrix((value["data"], value["indices"], value["indptr"]), shape=value["shape"])
    return value.copy() if isinstance(value, np.ndarray) else value
