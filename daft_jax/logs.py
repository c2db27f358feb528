"""The two logs of a trial: what came out, and how long it took.

  log = TrialLog(folder)
  log.metrics({'stage': 'finetune', 'epoch': 1, 'id_val': 0.9})
  log.lap('finetune epoch 1')
  log.rewind('finetune', 0)             # what is done again is logged again

Each is a file of JSON lines in the trial's folder.
"""

import json
import pathlib
import time
from typing import Any

from daft_jax import results, writer

METRICS, TIMINGS = 'metrics.jsonl', 'timings.jsonl'


class TrialLog:
  """The two logs of a trial."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    self._clock = time.perf_counter()
    for path in (folder / METRICS, folder / TIMINGS):
      # A kill, or a full disk, may have cut the last line off.
      data = path.read_bytes() if path.is_file() else b''
      if not data.endswith(b'\n') and data:
        results.atomic_write(path, data[: data.rfind(b'\n') + 1])

  def metrics(self, line: dict[str, Any]) -> None:
    writer.append(self.folder / METRICS, results.dumps(line))

  def lap(self, what: str, **more: Any) -> None:
    """Writes the seconds since the last lap, or since the trial was begun."""
    now = time.perf_counter()
    line = {'what': what, 'seconds': round(now - self._clock, 3), **more}
    writer.append(self.folder / TIMINGS, results.dumps(line))
    self._clock = now

  def seconds(self) -> float:
    """Seconds of all laps, over all starts of the trial."""
    return round(sum(line['seconds'] for line in self._read(TIMINGS)), 3)

  def rewind(self, stage: str, epoch: int) -> list[dict[str, Any]]:
    """Drops the stage's lines after an epoch; returns those that stay."""
    before = [line for line in self._read(METRICS) if line['stage'] != stage]
    stay = [
      line
      for line in self._read(METRICS)
      if line['stage'] == stage and line['epoch'] <= epoch
    ]
    text = ''.join(results.dumps(line) + '\n' for line in before + stay)
    results.atomic_write(self.folder / METRICS, text)
    return stay

  def _read(self, name: str) -> list[dict[str, Any]]:
    path = self.folder / name
    text = path.read_text(encoding='utf-8') if path.is_file() else ''
    return [json.loads(line) for line in text.splitlines()]
