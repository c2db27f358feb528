"""One of two processes is killed, or told to stop, at any moment.

The other one ends soon, and says why; the same command goes on, and ends with
the bits of a run that nobody disturbed.
"""

import random

import pytest

from tests import kill_test
from tests.fixtures import disturbed, programs


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  cache = tmp_path_factory.mktemp('cache')
  # Of one that is killed before it comes, the other one does not wait long.
  flags = ['--join_timeout=20']
  return lambda workdir: programs.Run(cache, workdir, 2, flags=flags)


@pytest.fixture(scope='module')
def whole(run, tmp_path_factory):
  """A run that nobody disturbed."""
  workdir = tmp_path_factory.mktemp('whole')
  run(workdir).ended(0, 0)
  return workdir


@pytest.mark.nightly
@pytest.mark.parametrize('seed', range(5))
def test_the_end_of_one_at_thirty_moments_changes_nothing(
  run, whole, tmp_path, seed
):
  rng = random.Random(seed)
  places = [*disturbed.PLACES]
  runs = 1
  for place in rng.sample(places, k=6) + rng.choices(places, k=24):
    moment = disturbed.drawn(rng, place)
    if disturbed.disturb(run(tmp_path / str(runs)), moment):
      runs += 1  # That one was done: the next one begins.
  run(tmp_path / str(runs)).ended(0, 0)
  for each in range(1, runs + 1):
    kill_test.compare(whole, tmp_path / str(each))
