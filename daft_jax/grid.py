"""The trials of a search that are not finished, one after the other.

  run(config, workdir, task, shared)

Several runs may share a workdir, on one host or several: each takes the trials
that no other has, and goes on with those whose process ended. Where what comes
next depends on a trial that another one runs, it waits. Whoever ends last
writes the report that has all of them. Of the processes of one run, the first
one decides, and has the locks.
"""

import contextlib
import functools
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from daft_jax import (
  locks,
  points,
  processes,
  provenance,
  results,
  search,
  signals,
  trial,
  writer,
)
from daft_jax.points import Options, Point
from daft_jax.settings import ConfigError
from daft_jax.task import Task

_POLL = 2.0  # seconds between looks at trials that others run


class _Grid:
  """The state of one process's work on a search."""

  def __init__(
    self,
    config: Mapping[str, Any],
    workdir: pathlib.Path,
    task: Task,
    shared: dict[str, Any],
    out: writer.Writer,
  ):
    self._config, self._workdir, self._task = config, workdir, task
    self._shared, self.out = shared, out
    self._options = Options(
      config['epochs'],
      config['bn_estimator'],
      config['optimizer'],
      config['nonfinite'],
    )
    self._counted: set[Point] = set()
    self.found: dict[Point, results.Line] = {}

  def wanted(self) -> list[Point]:
    """What the search wants now; `found` has what is finished of it."""
    while True:
      wanted = search.points_wanted(self._config, self.found)
      new = [point for point in wanted if point not in self.found]
      lines = processes.from_first(
        lambda new=new: [results.finished(self._folder(x)) for x in new]
      )
      pairs = zip(new, lines, strict=True)
      done = {point: line for point, line in pairs if line is not None}
      if not done:
        break
      self.found |= done  # which may make it want more
    for point in wanted:
      if point not in self._counted and point not in self.found:
        self._counted.add(point)
        self.out.more(points.cost(self._task, point, self._options.epochs))
    return wanted

  def run_free(self, todo: list[Point]) -> dict[Point, str]:
    """Runs those that no other run has; returns who has the others."""
    taken: dict[Point, str] = {}
    for point in todo:
      signals.check()
      folder = self._folder(point)
      with _trial(folder) as (owner, done):
        if owner is not None:
          taken[point] = owner
        elif not done:
          self._run(point, folder)
    return taken

  def _folder(self, point: Point) -> pathlib.Path:
    name = points.trial_name(self._shared, point)
    return self._workdir / 'trials' / name

  def _run(self, point: Point, folder: pathlib.Path) -> None:
    line = trial.run_trial(self._task, point, self._options, folder, self.out)
    line |= {
      'suite': self._task.suite,
      'backbone': self._task.backbone,
      'weights': self._task.weights,
      'config': self._shared,
      'versions': provenance.versions(),
    }
    processes.from_first(lambda: self._record(point, folder, line))

  def _record(
    self, point: Point, folder: pathlib.Path, line: results.Line
  ) -> None:
    results.write_line(self._workdir, line)
    if 'diverged' not in line:
      self.out.line(_finished(point, line))
      if self._config['keep'] == 'chosen':
        trial.prune(folder, chosen=point.rung is None)


@contextlib.contextmanager
def _trial(folder: pathlib.Path) -> Iterator[tuple[str | None, bool]]:
  """Takes a trial for the length of the block, or says who has it.

  Yields:
    None, or who has it; and whether it is done: another run may have done it
    since it was looked at.
  """
  with contextlib.ExitStack() as stack:

    @functools.cache
    def done() -> bool:
      return results.finished(folder) is not None

    def take() -> tuple[str | None, bool]:
      folder.mkdir(parents=True, exist_ok=True)
      lock = locks.held(folder / locks.NAME, done=done)
      owner = stack.enter_context(lock)
      return owner, owner is None and done()

    yield processes.from_first(take)


def run(
  config: Mapping[str, Any],
  workdir: pathlib.Path,
  task: Task,
  shared: dict[str, Any],
) -> None:
  """Runs the trials that are neither finished nor run by another process.

  Raises:
    ConfigError: all that are left of a grid are run by others.
  """
  with writer.Writer(active=processes.is_first()) as out:
    grid = _Grid(config, workdir, task, shared, out)
    wanted = grid.wanted()
    out.line(
      f'{task.suite}, {task.backbone} ({task.weights}): search '
      f'{config["search"]!r}, {len(wanted)} trials so far, {len(grid.found)} '
      f'finished before; {workdir}'
    )
    waits = ran = False
    while todo := [point for point in wanted if point not in grid.found]:
      taken = grid.run_free(todo)
      before, wanted = wanted, grid.wanted()
      if len(taken) < len(todo) or wanted != before:
        ran = True
        continue  # Whoever has the others may have ended by now.
      others = _others(taken, wanted)
      if config['search'] == 'grid':
        if not ran:
          raise _nothing_left(others, workdir)
        out.line(f'run elsewhere: {others}')
        return
      if not waits:
        out.line(f'waits for what is run elsewhere: {others}')
      waits = True
      signals.check()
      time.sleep(_POLL)


def _nothing_left(others: str, workdir: pathlib.Path) -> Exception:
  return processes.mark_told(
    ConfigError(
      f'what is left to run in {workdir} is run elsewhere: {others}. Wait '
      'until it is done, or give another --workdir'
    )
  )


def _others(taken: Mapping[Point, str], wanted: Sequence[Point]) -> str:
  who = ', '.join(dict.fromkeys(taken.values()))
  return f'{len(taken)} of {len(wanted)} trials ({who})'


def prune(workdir: pathlib.Path, lines: list[results.Line]) -> None:
  """Removes the checkpoints of rates that were not chosen.

  Of trials that diverged the last good step stays.
  """
  chosen = {
    line['trial']
    for choice in results.choose(lines).values()
    for line in choice.lines
  }
  for line in lines:
    if line.get('diverged'):
      continue
    folder = workdir / 'trials' / line['trial']
    trial.prune(folder, chosen=line['trial'] in chosen)


def _finished(point: Point, line: Mapping[str, Any]) -> str:
  val = f'{point} | ID val {100 * line["id_val"]:.1f}'
  if point.rung:
    return f'{val}; {line["seconds"]:.1f} s'
  ood = ', '.join(f'{k} {100 * v:.1f}' for k, v in line['ood'].items())
  return (
    f'{val}, test {100 * line["id_test"]:.1f}; OOD {ood}; '
    f'feature L2 {line["feature_l2"]:.2f}; {line["seconds"]:.1f} s'
  )
