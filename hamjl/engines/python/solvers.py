"""The complete state of SciPy's solvers, out and in again: a restored solver takes the same steps to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csc_matrix, issparse

from hamjl import schema
from hamjl.errors import EngineError
from hamjl.lowered import State
from hamjl.schema import array, maybe, one_of, positive, real, whole

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


def check_state(solver: Any, state: Any) -> None:
    """ValueError where a state is none of this kind of solver and this size."""
    schema.check(state, _schema(type(solver).__name__, solver), "its solver")


def _schema(name: str, solver: Any) -> schema.Schema:
    """What the state of such a solver holds: nothing in it may lead the solver's own code outside of its arrays."""
    n = solver.n
    rules: dict[str, Any] = dict.fromkeys(("t", "t_bound"), real)
    rules |= {"t_old": maybe(real), "y": array(n), "status": one_of("running", "finished", "failed")}
    rules |= dict.fromkeys(("nfev", "njev", "nlu"), whole())
    if name != "LSODA":
        rules["h_abs"] = positive
    if name in ("RK45", "DOP853"):
        rules |= {"y_old": maybe(array(n)), "f": array(n), "h_previous": maybe(real)}
        stages = "K" if name == "RK45" else "K_extended"
        rules[stages] = array(*getattr(solver, stages).shape)
    elif name == "BDF":
        rules |= {"order": whole(1, 5), "n_equal_steps": whole(), "D": array(*solver.D.shape)}
        rules |= {"J": _matrix(n), "LU?": _matrix(n)}
    elif name == "Radau":
        rules |= {"y_old": maybe(array(n)), "f": array(n), "h_abs_old": maybe(positive)}
        rules |= {"error_norm_old": maybe(positive), "current_jac": schema.flag, "Z": maybe(array(3, n))}
        rules |= {"J": _matrix(n), "LU_real?": _matrix(n), "LU_complex?": _matrix(n, "c")}
    else:
        inner = solver._lsoda_solver._integrator
        rules |= {"rwork": array(*inner.rwork.shape), "state_doubles": array(*inner.state_doubles.shape)}
        rules |= {"iwork": _iwork(n), "state_ints": _state_ints(n), "istate": one_of(1, 2), "inner": array(n)}
    return rules


def _matrix(n: int, kind: str = "f") -> schema.Rule:
    """A square matrix, whole or sparse by columns as `_plain` writes it."""
    whole_matrix = array(n, n, kind=kind)

    def rule(value: Any) -> bool:
        if not isinstance(value, dict):
            return whole_matrix(value)
        parts: list[Any] = [value.get(key) for key in ("data", "indices", "indptr")]
        data, indices, pointers = parts
        count = len(indices) if isinstance(indices, np.ndarray) and indices.ndim == 1 else -1
        return (
            set(value) == {"shape", "data", "indices", "indptr"}
            and value["shape"] == [n, n]
            and array(count, kind=kind)(data)
            and array(count, kind="i")(indices)
            and array(n + 1, kind="i")(pointers)
            and bool(((indices >= 0) & (indices < n)).all())
            and bool(pointers[0] == 0 and pointers[-1] == count and (np.diff(pointers) >= 0).all())
        )

    return rule


# The integers that ODEPACK's LSODA keeps, in SciPy's order; those without a range here only count something.
_INTS = 48
_RANGES = {
    **{"illin": (0, 0, 0), "init": (1, 1, 1), "ialth": (14, 0, 13), "lmax": (16, 2, 13), "meo": (17, 0, 2)},
    **{"icf": (20, 0, 2), "ierpj": (21, 0, 1), "iersl": (22, 0, 1), "jcur": (23, 0, 1), "jstart": (24, -2, 2)},
    **{"kflag": (25, -3, 0), "l": (26, 2, 13), "meth": (27, 1, 2), "miter": (28, 0, 1), "maxord": (29, 1, 12)},
    **{"nq": (34, 1, 12), "nqu": (38, 0, 12), "irflag": (43, 0, 1), "jtyp": (44, 1, 1), "mused": (45, 0, 2)},
    **{"mxordn": (46, 12, 12), "mxords": (47, 5, 5)},
}


def _state_ints(n: int) -> schema.Rule:
    """Where in its work array LSODA keeps what, for n unknowns and a full Jacobian, and orders that fit into it."""
    weights = max(20 + 13 * n, 22 + 6 * n + n * n)
    places = {2: 20, 3: weights, 4: weights + 2 * n, 5: weights + n, 6: 20 + 6 * n, 7: 0, 13: n, 33: n}

    def rule(value: Any) -> bool:
        if not array(_INTS, kind="i")(value):
            return False
        found = value.tolist()
        order, length, columns = found[34], found[26], found[18]
        return not any(found) or (  # before the first step there is nothing
            all(low <= found[k] <= high for k, low, high in _RANGES.values())
            and all(found[k] == place for k, place in places.items())
            and (length, columns) == (order + 1, order * n)
        )

    return rule


def _iwork(n: int) -> schema.Rule:
    """No bands, and n pivots."""
    shape = array(20 + n, kind="i")
    return lambda value: shape(value) and not value[:2].any() and bool(((value[20:] >= 0) & (value[20:] <= n)).all())


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
