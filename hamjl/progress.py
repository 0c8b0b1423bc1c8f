"""What is said while a run goes on, on the terminal and in a log, and how it is asked to stop."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from hamjl.checks import to_path
from hamjl.errors import ProblemError, shown
from hamjl.lowered import Monitor

LOG_SECONDS = 10.0  # between two lines of a log
BAR_SECONDS = 0.2
_STYLE = "{percentage:3.0f}%|{bar}| t = {n:.6g} of {total:.6g} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


@contextmanager
def bar(span: tuple[float, float], show: bool) -> Iterator[Monitor]:
    """A monitor that moves a progress bar, or does nothing."""
    with reporting(span, show) as report:
        yield report


@contextmanager
def reporting(span: tuple[float, float], show: bool, log: str | Path | None = None) -> Iterator[Report]:
    """A monitor with a bar on a terminal, and lines of JSON appended to a file: t, rate, remaining seconds, loss."""
    with ExitStack() as stack:
        report = Report(span)
        if show and sys.stderr.isatty():
            from tqdm import tqdm

            bar = tqdm(total=span[1] - span[0], delay=1, bar_format=_STYLE, unit=" units", miniters=0, leave=False)
            report.bar = stack.enter_context(bar)
        if log is not None:
            report.log = stack.enter_context(open_log(log))
        yield report


def open_log(path: str | Path) -> TextIO:
    """The file that lines are appended to, made where there is none."""
    try:
        found = to_path(path, "the log")
        if found.exists() and not found.is_file():  # opening a FIFO would wait for a reader
            raise ProblemError(f"the log must be a regular file, got {shown(str(path))}: name another one.")
        return found.open("a", encoding="utf-8")
    except OSError as error:
        raise ProblemError(f"the log must be writable, got {shown(str(path))} ({error.strerror}).") from None


class Report:
    """Tells bar and log of the time reached; the loss is asked for only when it is shown."""

    def __init__(self, span: tuple[float, float]) -> None:
        self.span = span
        self.bar: Any = None
        self.log: Any = None
        self._began = time.monotonic()
        self._first: float | None = None  # time reached at the first call
        self._shown = self._logged = -float("inf")

    def __call__(self, t: float, loss: Callable[[], float | None] | None = None) -> None:
        self._first = t if self._first is None else self._first
        now = time.monotonic()
        if self.log is not None and now - self._logged >= LOG_SECONDS:
            self._logged = now
            self.write(t, loss)
        if self.bar is not None and now - self._shown >= BAR_SECONDS:
            self._shown = now
            value = None if loss is None else loss()
            self.bar.set_postfix_str("" if value is None else f"loss {value:.3g}", refresh=False)
            self.bar.update(min(t, self.span[1]) - self.span[0] - self.bar.n)

    def write(self, t: float, loss: Callable[[], float | None] | None = None, **more: Any) -> None:
        """Append a line to the log, if there is one."""
        if self.log is None:
            return
        seconds = time.monotonic() - self._began
        rate = (t - (t if self._first is None else self._first)) / seconds if seconds > 0 else 0.0
        line = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "t": t,
            "end": self.span[1],
            "rate": rate,
            "remaining": (self.span[1] - t) / rate if rate > 0 else None,
            "loss": None if loss is None else loss(),
        }
        self.log.write(json.dumps(line | more) + "\n")
        self.log.flush()


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Note Ctrl-C and SIGTERM, to be asked for, instead of breaking off in the middle of a step.

    A second Ctrl-C breaks off. Outside the main thread, where signals do not arrive, nothing changes.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if handler is not None}  # else set outside Python

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
