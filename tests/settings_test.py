"""The rules of a config."""

import importlib.util
import pathlib
import re

import pytest

from daft_jax import settings

CONFIGS = pathlib.Path(__file__).parent.parent / 'configs'


def load(name):
  from daft_jax import main

  return main.load_config(str(CONFIGS / name))


def with_field(path, value):
  config = load('digits.py')
  settings.assign(config, path, value)
  return config


def test_common_has_exactly_the_fields_that_have_rules():
  flat = settings._flatten(load('common.py').to_dict())
  assert sorted(flat) == sorted(settings.RULES)


def test_every_field_of_common_has_a_comment_above_it():
  lines = (CONFIGS / 'common.py').read_text().splitlines()
  fields = [
    number
    for number, line in enumerate(lines)
    if re.match(r'  config\.[\w.]+ = (?!ml_collections)', line)
  ]
  assert len(fields) == len(settings.RULES)
  bare = [lines[i] for i in fields if not lines[i - 1].startswith('  #')]
  assert bare == []


@pytest.mark.parametrize(
  'name', [path.name for path in sorted(CONFIGS.glob('*.py'))]
)
def test_every_config_passes_and_says_its_command(name):
  config = settings.check(load(name))
  assert config['methods'] and config['seeds']
  if name != 'common.py':
    text = (CONFIGS / name).read_text()
    assert f'python -m daft_jax.main --config=configs/{name}' in text


@pytest.mark.parametrize(
  ('path', 'value', 'says'),
  [
    ('epochs', 5.5, 'a whole number from 1 on'),
    ('epochs', 0, 'a whole number from 1 on'),
    ('epochs', 10**400, 'at most 10**9'),
    pytest.param('epochs', 10**5000, 'is too large to be shown', id='digits'),
    ('lrs', (10**400,), 'positive numbers'),
    ('epochs', True, 'a whole number from 1 on'),
    ('epochs', 'ten', 'a whole number from 1 on'),
    ('epochs', None, 'a whole number from 1 on'),
    ('seeds', (), 'whole numbers from 0 on'),
    ('seeds', (0, 0), 'none twice'),
    ('seeds', (-1,), 'whole numbers from 0 on'),
    ('lrs', (0.0,), 'positive numbers'),
    ('lrs', (float('nan'),), 'positive numbers'),
    ('lrs', (float('inf'),), 'positive numbers'),
    ('lrs', '0.1', 'positive numbers'),
    ('methods', (), 'names, none twice'),
    ('methods', ('ft', 'ft'), 'names, none twice'),
    ('methods', (1,), 'names, none twice'),
    ('dtype', 'float16', "'float32', 'bfloat16'"),
    ('bn_estimator', 'mean', "'pooled', 'batch_mean'"),
    ('optimizer.name', 'adam', "'sgd', 'adamw'"),
    ('optimizer.momentum', 1, 'from 0 to below 1'),
    ('optimizer.weight_decay', -1e-4, 'a number from 0 on'),
    ('optimizer.nesterov', 1, 'True or False'),
    ('suite', '', 'a name'),
    ('keep', 'best', "'chosen', 'all'"),
  ],
)
def test_bad_values_are_named_with_path_and_rule(path, value, says):
  with pytest.raises(settings.ConfigError) as error:
    settings.check(with_field(path, value))
  assert str(error.value).startswith(f'config.{path} is ')
  assert says in str(error.value)


def test_unknown_and_missing_fields():
  config = load('digits.py').to_dict()
  with pytest.raises(settings.ConfigError, match='Did you mean config.seeds'):
    settings.check(config | {'seed': (0,)})
  del config['epochs']
  with pytest.raises(settings.ConfigError, match='config.epochs is missing'):
    settings.check(config)


def test_a_warmup_cannot_be_longer_than_the_run():
  with pytest.raises(settings.ConfigError, match='longer than the 10 epochs'):
    settings.check(with_field('optimizer.warmup_epochs', 11))


def test_values_get_their_types():
  config = with_field('lrs', [1])
  settings.assign(config, 'seeds', 3)
  checked = settings.check(config)
  assert checked['lrs'] == (1.0,) and isinstance(checked['lrs'][0], float)
  assert checked['seeds'] == (3,)
  assert checked['weights_path'] is None


@pytest.mark.parametrize(
  ('path', 'text', 'value'),
  [
    ('methods', 'ft+daft', ('ft', 'daft')),
    ('methods', 'ft,daft', ('ft', 'daft')),
    ('methods', "('ft', 'daft')", ('ft', 'daft')),
    ('methods', 'ft', ('ft',)),
    ('seeds', '0+1', (0, 1)),
    ('seeds', '(3,)', (3,)),
    ('lrs', '1e+3+2e-3', (1e3, 2e-3)),
    ('lrs', '[0.1, 0.2]', (0.1, 0.2)),
    ('eval_ood', '', ()),
    ('epochs', '5', 5),
    ('epochs', 'five', 'five'),
    ('eval_only', '', True),
    ('eval_only', 'false', False),
    ('augment', 'None', None),
    ('weights_path', '5', '5'),
  ],
)
def test_parse(path, text, value):
  assert settings.parse(path, text) == value


def test_rules_need_no_config_library():
  # Notebooks may pass a dict; ml_collections is for the files.
  files = [*pathlib.Path(settings.__file__).parent.glob('*.py')]
  assert len(files) == 3
  for file in files:
    assert 'import ml_collections' not in file.read_text()
  assert importlib.util.find_spec('ml_collections')
