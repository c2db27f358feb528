"""What a run shows, and its log files.

  writer = Writer(total=100)               # a bar with ETA on a terminal
  writer.line('daft, seed 0')              # above the bar, or a plain line
  writer.advance(10)
  writer.progress('epoch 1/10  id_val .97')
  writer.close()
  append(folder / 'metrics.jsonl', '{"epoch": 1}')

Only process 0 writes. Standard library and tqdm.
"""

import contextlib
import logging
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

import tqdm

PathLike = str | os.PathLike[str]


class Writer:
  """The console of a run: a progress bar on a terminal, plain lines elsewhere.

  Args:
    total: units of work of the whole run, whatever the caller counts; `more`
      adds to it.
    out: where to; default: stdout.
    active: False: shows nothing, as in processes other than the first.
  """

  def __init__(
    self, total: int = 0, *, out: TextIO | None = None, active: bool = True
  ):
    self._out = out or sys.stdout
    self._active = active
    self._total, self._done = total, 0
    self._start = time.monotonic()
    self._bar = None
    if active and self._out.isatty():
      self._bar = tqdm.tqdm(
        total=total,
        file=self._out,
        leave=False,
        dynamic_ncols=True,
        bar_format='{percentage:3.0f}% |{bar:24}| {elapsed}, {remaining} left'
        '  {desc}',
      )

  def line(self, text: str) -> None:
    """Prints a line that stays."""
    if not self._active:
      return
    if self._bar is not None:
      self._bar.write(text, file=self._out)
    else:
      print(text, file=self._out, flush=True)

  def more(self, units: int) -> None:
    """Adds to the work of the whole run."""
    self._total += units
    if self._bar is not None:
      self._bar.total = self._total
      self._bar.refresh()

  def advance(self, units: int) -> None:
    """Counts work that was done."""
    self._done += units
    if self._bar is not None:
      self._bar.update(units)

  def progress(self, text: str) -> None:
    """Says where the run is: beside the bar, or as a line with the ETA."""
    if self._bar is not None:
      self._bar.set_description_str(text)
    else:
      left = self.remaining()
      self.line(f'  {text}' + ('' if left is None else f'  ({left} left)'))

  def remaining(self) -> str | None:
    """The time left at the pace so far, 'm:ss'; None before any work."""
    if not self._done or not self._total:
      return None
    pace = (time.monotonic() - self._start) / self._done
    seconds = round(pace * max(self._total - self._done, 0))
    return f'{seconds // 60}:{seconds % 60:02d}'

  def close(self) -> None:
    """Takes the bar away."""
    if self._bar is not None:
      self._bar.close()
      self._bar = None

  def __enter__(self) -> 'Writer':
    return self

  def __exit__(self, *unused: Any) -> None:
    self.close()


@contextlib.contextmanager
def messages(
  out: TextIO | None = None, *, active: bool = True
) -> Iterator[None]:
  """Shows what the package's modules log, as plain lines on stderr.

  Not `active`, warnings alone.
  """
  logger = logging.getLogger('daft_jax')
  handler = logging.StreamHandler(out or sys.stderr)
  before = logger.level, logger.propagate
  logger.addHandler(handler)
  logger.setLevel(logging.INFO if active else logging.WARNING)
  # Some library sets up the root, which would show them once more.
  logger.propagate = False
  try:
    yield
  finally:
    logger.removeHandler(handler)
    logger.level, logger.propagate = before


def append(path: PathLike, text: str) -> None:
  """Appends one line to a file and hands it to the system at once."""
  with open(pathlib.Path(path), 'a', encoding='utf-8') as file:
    file.write(text + '\n')
