"""The two logs of a trial: what came out, and how long it took.

  log = TrialLog(folder)
  log.metrics({'stage': 'finetune', 'epoch': 1, 'id_val': 0.9})
  log.lap('finetune epoch 1')
  log.rewind('finetune', 0)             # what is done again is logged again

Each is a file of JSON lines in the trial's folder.
"""

import pathlib
import time
from typing import Any

from daft_jax import names, processes, results, writer

METRICS, TIMINGS = 'metrics.jsonl', 'timings.jsonl'


class TrialLog:
  """The two logs of a trial; of several processes the first one has them.

  Raises:
    results.ResultsError: what is in one of them is none of its lines.
  """

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    self._fix = f'delete {names.shown(folder)} and run the same command again'
    self._clock = time.perf_counter()
    processes.from_first(self._mend)

  def _mend(self) -> None:
    for path in (self.folder / METRICS, self.folder / TIMINGS):
      # A kill, or a full disk, may have cut the last line off.
      text = results.read_text(path, self._fix) if path.exists() else ''
      if text and not text.endswith('\n'):
        results.atomic_write(path, text[: text.rfind('\n') + 1])

  def metrics(self, line: dict[str, Any]) -> None:
    self._append(METRICS, line)

  def lap(self, what: str, **more: Any) -> None:
    """Writes the seconds since the last lap, or since the trial was begun."""
    now = time.perf_counter()
    line = {'what': what, 'seconds': round(now - self._clock, 3), **more}
    self._append(TIMINGS, line)
    self._clock = now

  def _append(self, name: str, line: dict[str, Any]) -> None:
    text = results.dumps(line)
    processes.from_first(lambda: writer.append(self.folder / name, text))

  def seconds(self) -> float:
    """Seconds of all laps, over all starts of the trial."""
    return processes.from_first(self._seconds)

  def _seconds(self) -> float:
    laps = self._read(TIMINGS, results.TIMING)
    return round(sum(line['seconds'] for line in laps), 3)

  def rewind(self, stage: str, epoch: int) -> list[dict[str, Any]]:
    """Drops the stage's lines after an epoch; returns those that stay."""
    return processes.from_first(lambda: self._rewind(stage, epoch))

  def _rewind(self, stage: str, epoch: int) -> list[dict[str, Any]]:
    lines = self._read(METRICS, results.EPOCH)
    before = [line for line in lines if line['stage'] != stage]
    stay = [
      line
      for line in lines
      if line['stage'] == stage and line['epoch'] <= epoch
    ]
    text = ''.join(results.dumps(line) + '\n' for line in before + stay)
    results.atomic_write(self.folder / METRICS, text)
    return stay

  def _read(self, name: str, table: dict[str, Any]) -> list[dict[str, Any]]:
    path = self.folder / name
    if not path.exists():
      return []
    return [
      results.check(line, where, self._fix, table)
      for where, line in results.read_jsonl(path, self._fix)
    ]
