"""What each search wants, and real processes that share one."""

import json
import math
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from daft_jax import experiment, results, search
from daft_jax.points import Point

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = {
  'methods': ('lp', 'ft', 'daft'),
  'seeds': (0, 1),
  'lrs': (0.1, 0.01, 0.001),
  'head_lrs': (1.0, 10.0, 0.1),
  'epochs': 9,
  'optimizer': {'name': 'sgd'},
}


def played(name, score, **fields):
  """The points of a whole search, in rounds, by a rule for accuracies."""
  config = {**CONFIG, **fields, 'search': name}
  found, rounds = {}, []
  while True:
    wanted = search.points_wanted(config, found)
    new = [point for point in wanted if point not in found]
    if not new:
      return rounds
    rounds.append(new)
    found |= {point: {'id_val': score(point)} for point in new}


def prefers(lr, head_lr):
  def score(point):
    return 0.5 + 0.2 * (point.lr == lr) + 0.1 * (point.head_lr == head_lr)

  return score


def test_a_grid_is_all_at_once_seed_by_seed():
  (points,) = played('grid', prefers(0.01, 0.1))
  assert len(points) == 2 * (1 + 3 + 9) == len(set(points))
  assert [p.seed for p in points] == sorted(p.seed for p in points)
  assert points[:4] == [
    Point('lp', 0, None, None),
    *(Point('ft', 0, lr, None) for lr in CONFIG['lrs']),
  ]


def test_the_paper_tries_head_rates_at_the_best_rate_of_the_backbone():
  first, second = played('paper', prefers(0.01, 0.1))
  assert len(first) == 2 * (1 + 3 + 3)
  assert {p.head_lr for p in first if p.method == 'daft'} == {1.0}
  assert {(p.method, p.lr, p.head_lr) for p in second} == {
    ('daft', 0.01, 10.0),
    ('daft', 0.01, 0.1),
  }
  assert {p.seed for p in second} == {0, 1}


def test_the_wide_search_has_rates_of_its_own():
  first, second = played('wide', prefers(3e-5, 3.0), methods=('daft',))
  assert sorted({p.lr for p in first}) == sorted(search.WIDE_LRS)
  assert {p.lr for p in second} == {3e-5}
  assert {p.head_lr for p in second} == {10.0, 3.0, 0.3, 0.1}


def test_halving_goes_on_with_the_best_third():
  rounds = played('halving', prefers(0.01, 0.1), methods=('daft',))
  assert [len(points) for points in rounds] == [9, 3, 2]
  assert [{p.rung for p in points} for points in rounds] == [{1}, {3}, {None}]
  assert {p.seed for points in rounds[:2] for p in points} == {0}
  assert {(p.lr, p.head_lr) for p in rounds[2]} == {(0.01, 0.1)}
  assert {p.seed for p in rounds[2]} == {0, 1}


@pytest.mark.parametrize('epochs', [1, 2, 3, 5, 9, 10, 20, 50, 100])
def test_auto_takes_at_most_three_times_the_epochs_of_one_run(epochs):
  rounds = played(
    'auto', prefers(0.003, None), methods=('daft',), seeds=(0,), epochs=epochs
  )
  points = [point for points in rounds for point in points]
  total = sum(point.rung or epochs for point in points)
  # What is left is for the conversions and validations of the short runs.
  assert total <= 2.5 * epochs
  assert {p.head_lr for p in points} == {'auto'}
  (last,) = rounds[-1]
  assert last.rung is None
  assert last.lr == (0.003 if epochs > 1 else 0.01)


def test_methods_without_rates_are_run_once():
  for name in search.SEARCHES:
    (points,) = played(name, lambda _: 0.5, methods=('lp',))
    assert points == [Point('lp', seed, None, None) for seed in (0, 1)]


def test_what_diverged_is_not_gone_on_with():
  nan = float('nan')
  rounds = played(
    'paper',
    lambda p: nan if p.lr == 0.1 or p.head_lr == 10 else p.lr,
    methods=('daft',),
  )
  assert {p.lr for p in rounds[1]} == {0.01}
  assert len(played('paper', lambda p: nan, methods=('daft',))) == 1


def test_ties_go_to_the_lower_loss_and_then_to_the_earlier():
  config = {**CONFIG, 'search': 'paper', 'methods': ('daft',), 'seeds': (0,)}
  first = search.points_wanted(config, {})
  losses = (0.3, 0.2, 0.2)
  found = {
    point: {'id_val': 0.9, 'id_val_loss': loss}
    for point, loss in zip(first, losses, strict=True)
  }
  assert search.points_wanted(config, found)[-1].lr == first[1].lr


def test_a_run_searches_and_goes_on_where_it_was(tiny_config, tmp_path):
  config = tiny_config(
    methods=('lp_sgd',), search='halving', epochs=3, head_lrs=('auto', 1e-6)
  )
  found = experiment.run(config, tmp_path)
  lines = results.read(tmp_path)
  rungs = {x['head_lr']: x['id_val'] for x in lines if x.get('rung') == 1}
  (whole,) = [line for line in lines if not line.get('rung')]
  assert rungs.keys() == {'auto', 1e-6}
  assert whole['head_lr'] == max(rungs, key=rungs.get)
  assert found['lp_sgd']['head_lr'] == whole['head_lr']
  for line in lines:  # Nothing but ID validation is looked at on the way.
    assert math.isnan(line['id_test']) == bool(line.get('rung'))
  kept = [p.name for p in (tmp_path / 'trials').glob('*/checkpoints/final')]
  assert len(kept) == 1
  before = {p: p.stat().st_mtime_ns for p in tmp_path.glob('trials/*/*.json')}
  more = tiny_config(
    methods=('daft',), search='paper', epochs=3, lrs=(0.01,), head_lrs=(0.1,)
  )
  assert experiment.run(more, tmp_path)['daft']['lr'] == 0.01
  assert all(p.stat().st_mtime_ns == time for p, time in before.items())
  assert len(results.read(tmp_path)) == len(lines) + 1
  assert (tmp_path / 'results.jsonl').read_text().count('\n') == len(lines) + 1


def test_processes_share_a_search_and_take_over_what_died(tmp_path):
  command = [sys.executable, '-m', 'daft_jax.main', f'--workdir={tmp_path}']
  command += [
    '--config=configs/digits.py:methods=lp_sgd,search=paper,seeds=0,'
    'head_lrs=0.1+0.03,epochs=3,mesh.data=1'
  ]

  def start(name):
    with open(tmp_path / name, 'w') as out:
      return subprocess.Popen(
        command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
      )

  def wait_for(holds):
    end = time.monotonic() + 120
    while not holds():
      assert time.monotonic() < end
      time.sleep(0.02)

  one = start('one.txt')
  try:
    wait_for(lambda: list(tmp_path.glob('trials/*/lock')))
    one.send_signal(signal.SIGSTOP)  # it holds the only trial there is
    two = start('two.txt')
    try:
      said = tmp_path / 'two.txt'
      waits = 'waits for what is run elsewhere: 1 of 1 trials (host '
      wait_for(lambda: waits in said.read_text())
      one.kill()
      assert two.wait(120) == 0, said.read_text()
    finally:
      two.kill()
  finally:
    one.kill()
    one.wait()
  found = (tmp_path / 'results.jsonl').read_text().splitlines()
  assert {json.loads(line)['head_lr'] for line in found} == {0.1, 0.03}
