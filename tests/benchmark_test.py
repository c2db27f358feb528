"""A small run of `data` prints every line; wrong arguments are refused."""

import importlib.util
import os
import re
import sys

import pytest

from daft_jax import benchmark
from daft_jax.benchmark import __main__ as main
from daft_jax.benchmark import save, scaling, step
from tests.train import collectives_test

LINE = re.compile(
  r'^  (\S.*?)\s+min (\d[\d.]*)( s)?  median (\d[\d.]*)( s)?  max (\d[\d.]*)'
)
CACHED = {
  'uint8 batch, / CPU second',
  'host to float, / CPU second',
  'host to float on cpu, / s',
  'held on cpu, / s',
}
WORKERS = {
  '1 worker',
  '2 workers',
  '2 workers / 1',
  'start of 1 worker',
  'start of 2 workers',
}


def decoding(installed):
  """The lines of a machine that has these."""
  rates = {'pillow'}
  if {'simplejpeg', 'cv2'} <= installed:
    rates.add('fast')
  ratios = {'fast / pillow'} if 'fast' in rates else set()
  if 'tensorflow' in installed:
    rivals = {'tf, antialiased', 'tf, aliased'}
    ratios |= {f'{name} / {rival}' for name in rates for rival in rivals}
    rates |= rivals
  return rates | ratios


def values(text):
  """Line -> least, middle and largest."""
  found = map(LINE.match, text.splitlines())
  return {m[1]: tuple(map(float, m.group(2, 4, 6))) for m in found if m}


def test_data_prints_every_line(capsys):
  pytest.importorskip('sklearn.datasets')
  cores = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else None
  main.main(['data', '--rounds=5', '--images=2'])
  text = capsys.readouterr().out
  installed = {
    name
    for name in ('simplejpeg', 'cv2', 'tensorflow')
    if importlib.util.find_spec(name)
  }
  found = values(text)
  assert found.keys() == decoding(installed) | CACHED | WORKERS
  for least, middle, most in found.values():
    assert 0 < least <= middle <= most
  assert '2 JPEGs of 500 x 375 and 1' in text
  missing = 'pip install tensorflow-cpu' in text
  assert missing == ('tensorflow' not in installed)
  if cores is not None:
    assert os.sched_getaffinity(0) == cores  # those after it may use them all


def test_what_is_not_installed_is_said(capsys, monkeypatch):
  pytest.importorskip('sklearn.datasets')
  from daft_jax.benchmark import data

  monkeypatch.setattr(data, '_has', lambda *modules: False)
  for part in ('_caching', '_working'):
    monkeypatch.setattr(data, part, lambda *args: None)
  main.main(['data', '--rounds=5', '--images=1'])
  text = capsys.readouterr().out
  assert values(text).keys() == {'pillow'}
  assert "fast: pip install 'daft_jax[fast]'" in text
  assert 'tf: pip install tensorflow-cpu' in text


@pytest.mark.parametrize(
  ('words', 'says'),
  [
    ([], 'required: what'),
    (['dta'], "invalid choice: 'dta'"),
    (['data', '--rounds=4'], '--rounds: fewer than 5 say little'),
    (['data', '--images=0'], '--images: at least 1'),
    (['data', '--images=few'], 'invalid int value'),
    (['data', '--model=resnet18'], '--model is of bn, scaling and step, not'),
    (['bn', '--images=3'], '--images is of data, not of bn'),
    (['data', '--size=9x9x2'], '--size is of probe, not of data'),
    (['probe', '--size=9x9'], "--size: '9x9' is not like 1000x64x30"),
    (['load'], 'load needs --file=FILE'),
    (['bn', '--model=resnet'], "--model: there is no 'resnet'; say one of "),
    (['bn', '--latency=1'], '--latency is of scaling, not of bn'),
    (['scaling', '--latency=0'], '--latency: 0 is no number above 0'),
    (['scaling', '--rate=fast'], '--rate: invalid'),
  ],
)
def test_wrong_arguments(words, says, capsys):
  with pytest.raises(SystemExit):
    main.main(words)
  assert says in capsys.readouterr().err


def test_sides_are_interleaved_and_the_first_round_is_left_out():
  now, done = [0.0], []

  def side(name, seconds):
    def run():
      done.append(name)
      now[0] += seconds if len(done) > 2 else 100.0

    return run

  times = benchmark.compare(
    2, side('a', 1.0), side('b', 3.0), clock=lambda: now[0]
  )
  assert times == [[1.0, 1.0], [3.0, 3.0]]
  assert ''.join(done) == 'ababab'


def test_save_compares_with_orbax_alone(capsys, monkeypatch):
  monkeypatch.setattr(save, '_BYTES', 1e6)
  main.main(['save', '--rounds=5'])
  text = capsys.readouterr().out
  least, middle, most = values(text)['ratio']
  assert 0 < least <= middle <= most
  assert 'ratio of medians' in text


def test_probe_prints_every_line(capfd):
  pytest.importorskip('sklearn')
  main.main(['probe', '--size=300x16x3'])
  text = capfd.readouterr().out
  assert text.startswith('300x16x3: 50 values of C')
  for line in ('scikit-learn / compiled', 'objective / scikit', 'best C'):
    assert line in text


def test_probe_says_what_is_not_installed(monkeypatch):
  monkeypatch.setitem(sys.modules, 'sklearn', None)
  with pytest.raises(SystemExit, match='pip install'):
    main.main(['probe'])


def test_step_prints_every_way(capsys, monkeypatch):
  monkeypatch.setattr(step, '_CASES', {'resnet14_cifar': (8, 64, 1)})
  ways = ('default', 'grad_accum_steps=4', 'remat=stages')
  monkeypatch.setattr(step, '_WAYS', {way: step._WAYS[way] for way in ways})
  main.main(['step', '--rounds=5'])
  text = capsys.readouterr().out
  found = values(text)
  assert found.keys() == step._WAYS.keys()
  assert found['default'] == (1, 1, 1)
  memory = dict(re.findall(r'(\S+)  +min .* memory ([0-9.]+) ', text))
  assert float(memory['grad_accum_steps=4']) < 1
  assert float(memory['remat=stages']) < 1


def test_scaling_is_of_the_messages_that_are_counted(capsys):
  given = scaling.Assumptions(rate=10, rows=10, bandwidth=1e6, latency=1e-3)
  # On 16 devices a reduction is 12 hops.
  found = scaling.step_seconds(16, [2e6, 2e6], given)
  assert found == pytest.approx(1 + 2 * (3.75 + 0.012))
  net = collectives_test.NET
  sent = scaling.messages(net, collectives_test.SIZE, True)
  found = collectives_test.messages(collectives_test.compiled(2))
  assert found == {'all-reduce': len(sent)}
  main.main(['scaling', '--model=resnet14_cifar', '--latency=1e-9'])
  lines = capsys.readouterr().out.splitlines()
  assert lines[1].startswith('BatchNorm over all devices: 54 reductions, ')
  shares = [float(line.split()[2]) for line in lines[4:]]
  assert shares[0] == 100 and sorted(shares)[::-1] == shares
