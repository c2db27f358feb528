"""Jobs done ahead of time, in order, by threads or by processes.

  pool = Pool(workers=4, timeout=120)
  for images in pool.map(jobs):
    ...
  pool.close()

What is in memory already is prepared by threads, encoded images by processes,
which `loky` starts without importing the program again. A process that dies, or
that takes longer than the time-out, ends the run with the name of the image it
was at.
"""

import collections
import concurrent.futures
import itertools
import os
import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from daft_jax import names
from daft_jax.data import buffers
from daft_jax.data.recipe import Job
from daft_jax.data.records import DataError, Records

_MOST = 16  # processes, unless asked for more
_THREADS = 2
_AHEAD = 2  # batches waiting, for each worker


class Pool:
  """Threads and processes that prepare batches.

  Processes are started by the first job that needs them.

  Args:
    workers: how many processes; None: one for each core, at most 16. 0: none,
      threads do everything.
    timeout: seconds that one batch may take in a process.
  """

  def __init__(self, workers: int | None = None, timeout: float = 120.0):
    cores = len(os.sched_getaffinity(0)) if _AFFINITY else os.cpu_count() or 1
    self.workers = min(cores, _MOST) if workers is None else workers
    self.timeout = timeout
    self._threads: concurrent.futures.Executor | None = None
    self._processes: concurrent.futures.Executor | None = None
    self._buffers = buffers.Buffers()

  def map(self, jobs: Iterable[Job]) -> Iterator[np.ndarray]:
    """Yields what each job returns, in their order, some being done ahead.

    Raises:
      DataError: an image cannot be read, or a worker died or hung at it.
    """
    jobs = iter(jobs)
    first = next(jobs, None)
    if first is None:
      return
    jobs = itertools.chain([first], jobs)
    if self.workers and isinstance(first.examples, Records):
      yield from self._by_processes(jobs)
    else:
      yield from self._by_threads(jobs)

  def close(self) -> None:
    """Ends the workers; the pool may be used again."""
    if self._threads is not None:
      self._threads.shutdown(wait=False, cancel_futures=True)
      self._threads = None
    self._kill()
    self._buffers.close()

  def _by_threads(self, jobs: Iterator[Job]) -> Iterator[np.ndarray]:
    if self._threads is None:
      self._threads = concurrent.futures.ThreadPoolExecutor(_THREADS, 'images')
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
      for job in jobs:
        waiting.append(self._threads.submit(job))
        if len(waiting) > _AHEAD * _THREADS:
          yield waiting.popleft().result()
      while waiting:
        yield waiting.popleft().result()
    finally:
      for future in waiting:
        future.cancel()

  def _by_processes(self, jobs: Iterator[Job]) -> Iterator[np.ndarray]:
    waiting: collections.deque[tuple] = collections.deque()
    try:
      for job in jobs:
        waiting.append(self._submit(job))
        if len(waiting) > _AHEAD * self.workers:
          yield self._result(waiting)
      while waiting:
        yield self._result(waiting)
    finally:
      for _, future, buffer in waiting:
        future.cancel()
        self._buffers.give_back(buffer, future)

  def _submit(self, job: Job) -> tuple:
    if self._processes is None:
      self._processes = _executor(self.workers)
    buffer = self._buffers.take(_size(job))
    try:
      future = self._processes.submit(_work, job, buffer and buffer.place)
    except concurrent.futures.BrokenExecutor as error:
      # One of those before killed it: said when their results are asked for.
      future = concurrent.futures.Future()
      future.set_exception(error)
    return job, future, buffer

  def _result(self, waiting: collections.deque[tuple]) -> np.ndarray:
    """Takes the first of those that wait, and gives what it returned."""
    job, future, buffer = waiting[0]
    try:
      found = future.result(timeout=self.timeout)
    except TimeoutError as error:
      raise self._culprit([job], error) from error
    except concurrent.futures.BrokenExecutor as error:
      # A process that dies takes the jobs of the others with it: the first
      # whose result is missing need not be the one it died at.
      raise self._culprit([job for job, *_ in waiting], error) from error
    waiting.popleft()
    if isinstance(found, tuple):
      found = buffer.array(found).copy()
    self._buffers.give_back(buffer, future)
    return found

  def _culprit(self, jobs: Sequence[Job], error: Exception) -> DataError:
    """Does jobs again, image by image, to see at which it happens."""
    self._kill()
    hung = isinstance(error, TimeoutError)
    what = f'took more than {self.timeout:g} s' if hung else 'died'
    alone = _executor(1)
    try:
      for job in jobs:
        for row in range(len(job.examples)):
          alone.submit(_work, job.at(row), None).result(timeout=self.timeout)
    except (TimeoutError, concurrent.futures.BrokenExecutor):
      return DataError(
        f'{names.shown(job.examples.items.name(row))}: the process that read '
        f'it {what}. Mend or remove the file; the same command goes on'
      )
    finally:
      alone.shutdown(wait=False, kill_workers=True)
    fix = (
      'raise config.data.timeout'
      if hung
      else 'it may have run out of memory: lower config.data.workers'
    )
    first = jobs[0].examples.items
    return DataError(
      f'a process that read {len(first)} images, the first of them '
      f'{names.shown(first.name(0))}, {what}, and each of them can be read '
      f'alone: {fix}'
    )

  def _kill(self) -> None:
    if self._processes is not None:
      self._processes.shutdown(wait=False, kill_workers=True)
      self._processes = None


_AFFINITY = hasattr(os, 'sched_getaffinity')  # not on macOS


def _executor(workers: int) -> concurrent.futures.Executor:
  from loky import process_executor

  # Threads of NumPy and OpenCV would compete: a worker is one core.
  one = {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
  return process_executor.ProcessPoolExecutor(
    workers, env=one, initializer=_start
  )


def _start() -> None:
  """In a worker, before its first job."""
  # Ctrl-C reaches every process of a terminal; the program ends its workers.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  # PIL warns of large pictures and of odd EXIF records.
  warnings.simplefilter('ignore')


def _size(job: Job) -> int:
  side = job.preprocess.image_size
  return len(job.examples) * side * side * 3


def _work(
  job: Job, place: buffers.Place | None
) -> np.ndarray | tuple[int, ...]:
  """In a worker: the images, or their shape where they are in the buffer."""
  found = job()
  written = place is not None and buffers.write(place, found)
  return found.shape if written else found
