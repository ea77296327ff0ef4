"""Progress of long jobs: the caller's own function, a tqdm bar, or lines on stderr."""
from __future__ import annotations

import sys
import time
from typing import Any, Callable, Optional, Union


class Progress:
    """How far a job has come: stage, detail, done, total (0: unknown), memory_bytes."""

    __slots__ = ("stage", "detail", "done", "total", "memory_bytes")

    def __init__(self, stage: str, detail: str, done: int, total: int, memory_bytes: int):
        self.stage, self.detail, self.done, self.total, self.memory_bytes = stage, detail, done, total, memory_bytes

    def __repr__(self) -> str:
        return f"Progress({self.stage} {self.done}/{self.total} {self.detail})"


#: What functions take as `progress`: None or False for none, True for a bar, or a function of a Progress; it may return False
#: to cancel the job.
ProgressLike = Union[None, bool, Callable[[Progress], Any]]


class _Tqdm:
    """A tqdm bar for each count that a job goes through; the stages of quantization take turns within one."""

    def __init__(self, tqdm):
        self._tqdm, self._bar, self._last = tqdm, None, 0

    def __call__(self, p: Progress) -> None:
        total = p.total or None
        if self._bar is None or self._bar.total != total or p.done < self._last:
            self.close()
            self._bar = self._tqdm(total=total)
        self._bar.set_description_str(p.stage, refresh=False)
        self._bar.set_postfix_str(p.detail[-40:], refresh=False)
        self._bar.update(p.done - self._last)
        self._last = p.done

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._last = None, 0


class _Lines:
    """One line that is redrawn on a terminal; a line every few seconds elsewhere."""

    def __init__(self, file=None):
        self._file = sys.stderr if file is None else file
        self._terminal = bool(getattr(self._file, "isatty", lambda: False)())
        self._next, self._drawn = 0.0, False

    def __call__(self, p: Progress) -> None:
        now = time.monotonic()
        if self._file is None or now < self._next:
            return
        self._next = now + (0.1 if self._terminal else 3.0)
        count = f" {p.done}/{p.total}" if p.total else ""
        line = f"{p.stage}{count}  {p.memory_bytes // 1000000} MB  {p.detail}"
        self._file.write(f"\r{line[:79]:79}" if self._terminal else line + "\n")
        self._file.flush()
        self._drawn = True

    def close(self) -> None:
        if self._drawn and self._terminal:
            self._file.write("\r" + " " * 79 + "\r")
            self._file.flush()
        self._drawn = False


def reporter(progress: ProgressLike) -> Optional[Callable[[Progress], Any]]:
    """What is called with each Progress, or None. Bars that it makes have a close()."""
    if progress is None or progress is False:
        return None
    if progress is not True:
        if not callable(progress):
            raise TypeError(f"progress is {progress!r}; True, a function or None was expected")
        return progress
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _Lines()
    return _Tqdm(tqdm)
