"""Methods are rows."""

import dataclasses
import re

import pytest

from daft_jax import methods
from daft_jax.methods import METHODS, Stage


def fields(method):
  """What each stage says beyond the defaults."""
  default = Stage('x')
  return [
    {
      key: value
      for key, value in dataclasses.asdict(stage).items()
      if value != getattr(default, key) and key != 'name'
    }
    for stage in METHODS[method]
  ]


PROBE = {'trainable': '^head/', 'norm': 'running', 'solver': 'logreg'}


@pytest.mark.parametrize(
  ('method', 'expected'),
  [
    ('lp', [PROBE]),
    (
      'lp_sgd',
      [
        {
          'trainable': '^head/',
          'norm': 'running',
          'head': 'zero',
          'head_lr': 'own',
        }
      ],
    ),
    ('ft', [{'head': 'random'}]),
    ('lp_ft', [PROBE, {'norm': 'running'}]),
    ('daft', [{'bn': 'convert', 'head': 'zero', 'head_lr': 'own'}]),
    ('daft_no_conversion', [{'head': 'zero', 'head_lr': 'own'}]),
    ('daft_no_fast_head', [{'bn': 'convert', 'head': 'zero'}]),
    ('lp_ft_converted', [PROBE, {'bn': 'convert'}]),
    ('ft_frozen_bn', [{'head': 'random', 'norm': 'running'}]),
    ('adabn', [PROBE | {'bn': 'replace'}]),
  ],
)
def test_rows(method, expected):
  assert fields(method) == expected


def test_every_method_has_a_row_that_was_checked():
  assert len(METHODS) == 10


@pytest.mark.parametrize('field', methods.CHOICES)
def test_stage_refuses_other_words(field):
  with pytest.raises(ValueError, match=f"{field}='bach'; say one of"):
    Stage('x', **{field: 'bach'})


def test_a_stage_is_hashable_data():
  assert hash(Stage('a')) == hash(Stage('a'))
  with pytest.raises(dataclasses.FrozenInstanceError):
    METHODS['ft'][0].norm = 'running'


@pytest.mark.parametrize(
  ('method', 'lr', 'head_lr'),
  [
    ('lp', False, False),
    ('adabn', False, False),
    ('lp_sgd', False, True),
    ('ft', True, False),
    ('lp_ft', True, False),
    ('lp_ft_converted', True, False),
    ('daft', True, True),
    ('daft_no_fast_head', True, False),
  ],
)
def test_rates_that_a_method_has(method, lr, head_lr):
  assert methods.uses_lr(method) is lr
  assert methods.uses_head_lr(method) is head_lr


def test_head_is_the_head_and_nothing_else():
  found = re.compile(methods.HEAD).search
  assert found('head/kernel') and found('head/bias')
  assert not found('layer1_0/head/kernel') and not found('header/kernel')
