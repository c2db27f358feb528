"""A workdir belongs to its settings; what is meant to change is told."""

import json

import pytest

import daft_jax
from daft_jax import disclosed, results, settings
from tests.mistakes import files


def run(config, workdir):
  daft_jax.run(config, workdir)
  return results.read(workdir)


def test_a_change_that_is_meant_sets_aside_what_is_there(tiny_config, tmp_path):
  config = tiny_config(methods=('lp_sgd',), epochs=1)
  (before,) = run(config, tmp_path)
  there = {
    path.relative_to(tmp_path): path.read_bytes()
    for path in tmp_path.rglob('*')
    if path.is_file() and path.name != 'lock'
  }
  config = tiny_config(methods=('lp_sgd',), epochs=2)
  with pytest.raises(settings.ConfigError) as error:
    daft_jax.run(config, tmp_path)
  assert 'epochs: 1 there, 2 now' in str(error.value)
  assert '--config.change=epochs' in str(error.value)
  # Another one is not meant.
  with pytest.raises(settings.ConfigError, match='epochs: 1 there'):
    daft_jax.run(
      tiny_config(methods=('lp_sgd',), epochs=2, change=('dtype',)), tmp_path
    )
  assert not (tmp_path / 'before-1').exists()
  config = tiny_config(methods=('lp_sgd',), epochs=2, change=('epochs',))
  (after,) = run(config, tmp_path)
  assert after['trial'] != before['trial']
  # Nothing is lost.
  for path, content in there.items():
    assert (tmp_path / 'before-1' / path).read_bytes() == content
  # The same command again: nothing has changed since.
  assert run(config, tmp_path) == [after]
  assert not (tmp_path / 'before-2').exists()


def test_a_damaged_record_says_what_to_do(tiny_config, tmp_path):
  config = tiny_config(methods=('lp',))
  run(config, tmp_path)
  record = tmp_path / 'experiment.json'
  good = json.loads(record.read_text())
  record.write_text(record.read_text()[:100])
  with pytest.raises(results.ResultsError, match='delete it and run'):
    daft_jax.run(config, tmp_path)
  record.unlink()
  run(config, tmp_path)
  assert json.loads(record.read_text())['settings'] == good['settings']


def test_a_disk_without_room_is_said_before_anything(tiny_config, tmp_path):
  """On a real disk of 6 MB, where ten times the variables are 7."""
  disk = tmp_path / 'disk'
  if not files.mount(disk, 'size=6m'):
    pytest.skip('no disk can be mounted here')
  try:
    with pytest.raises(settings.ConfigError, match='has 6 MB of free space'):
      daft_jax.run(tiny_config(methods=('lp',)), disk / 'new')
  finally:
    files.unmount(disk)


def test_the_record_has_commands_without_places(tiny_config, tmp_path):
  config = tiny_config(methods=('lp',))
  typed = [
    ['--config=/home/x/configs/a.py:epochs=1', f'--workdir={tmp_path}'],
    ['--config', 'configs/a.py', '--config.data.ood=a=/data/b+c=~/d/'],
  ]
  for argv in [*typed, typed[0]]:
    daft_jax.run(config, tmp_path, command=disclosed.command(argv))
  record = results.read_experiment(tmp_path)
  assert record['commands'] == [
    'python -m daft_jax.main --config configs/a.py --config.data.ood=a=b+c=d',
    'python -m daft_jax.main --config=configs/a.py:epochs=1 '
    f'--workdir={tmp_path.name}',
  ]
  assert record['images']['id_test'] == 70 and record['images']['train'] > 0


def test_other_images_have_another_fingerprint(tiny_config, tmp_path):
  found = []
  for seed, name in enumerate(('a', 'b', 'c')):
    config = tiny_config(methods=('lp',), seeds=(seed,))
    config['image_size'] = 12 if name != 'c' else 10
    daft_jax.run(config, tmp_path / name)
    found.append(results.read_experiment(tmp_path / name)['data_sha256'])
  assert found[0] == found[1] != found[2] and len(found[2]) == 64


def test_commands_are_bounded_and_printable():
  command = disclosed.command(['--config=x\x1b[31m.py', 'y' * 5000])
  assert command.isprintable() and len(command) <= 1000
