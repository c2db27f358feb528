"""Methods are rows: each is a tuple of stages, plain data.

  from daft_jax.methods import METHODS
  [stage.name for stage in METHODS['lp_ft']]      # ['probe', 'finetune']

A stage starts from the variables the one before it ended with (the first from
the pretrained ones), changes the head and the BatchNorms, then trains. A new
method is a new row here, not a new loop.
"""

import dataclasses

HEAD = '^head/'
ALL = ''

# What each field may say. `experiment` refuses other words before any work.
CHOICES = {
  'norm': ('batch', 'running'),
  'bn': ('keep', 'convert', 'replace'),
  'head': ('keep', 'random', 'zero'),
  'solver': ('sgd', 'logreg'),
  'head_lr': ('same', 'own'),
}


@dataclasses.dataclass(frozen=True)
class Stage:
  """One phase of optimisation.

  The order of what is prepared: the new head, then `bn`, then, if `head` is
  'zero', the zeros, then the optimizer.

  Attributes:
    name: 'probe' or 'finetune'; names its folder of checkpoints.
    trainable: regular expression; parameters train whose path in `params`
      ('head/kernel', 'layer1_0/bn1/scale') it finds.
    norm: 'batch': BatchNorm normalises by the batch and its running statistics
      move; 'running': it normalises by the running statistics, which stay.
    bn: 'convert' gives new statistics and keeps the function (`convert_bn`),
      'replace' gives them and keeps scale and bias (`replace_bn`, AdaBN).
    head: what the classifier starts from: 'keep', 'random' or 'zero'.
    solver: 'sgd' (any gradient optimizer of the config) or 'logreg' (logistic
      regression on cached eval-mode features).
    head_lr: 'own': the head has a learning rate of its own.

  Raises:
    ValueError: a field says something that is not in `CHOICES`.

  Example:
    >>> Stage('finetune', head='zero', head_lr='own').norm
    'batch'
  """

  name: str
  trainable: str = ALL
  norm: str = 'batch'
  bn: str = 'keep'
  head: str = 'keep'
  solver: str = 'sgd'
  head_lr: str = 'same'

  def __post_init__(self):
    for field, words in CHOICES.items():
      value = getattr(self, field)
      if value not in words:
        raise ValueError(
          f'Stage {self.name!r}: {field}={value!r}; say one of '
          f'{", ".join(map(repr, words))}'
        )


_PROBE = Stage('probe', trainable=HEAD, norm='running', solver='logreg')

METHODS: dict[str, tuple[Stage, ...]] = {
  # The baselines: linear probing (two solvers), fine-tuning, both in turn.
  'lp': (_PROBE,),
  'lp_sgd': (
    Stage('probe', trainable=HEAD, norm='running', head='zero', head_lr='own'),
  ),
  'ft': (Stage('finetune', head='random'),),
  'lp_ft': (_PROBE, Stage('finetune', norm='running')),
  # Domain-Aware Fine-Tuning: conversion, zero head, fast head, one stage.
  'daft': (Stage('finetune', bn='convert', head='zero', head_lr='own'),),
  # What of it matters: one of its parts at a time.
  'daft_no_conversion': (Stage('finetune', head='zero', head_lr='own'),),
  'daft_no_fast_head': (Stage('finetune', bn='convert', head='zero'),),
  'lp_ft_converted': (_PROBE, Stage('finetune', bn='convert')),
  'ft_frozen_bn': (Stage('finetune', head='random', norm='running'),),
  'adabn': (dataclasses.replace(_PROBE, bn='replace'),),
}


def uses_lr(method: str) -> bool:
  """Whether the method has a learning rate for more than the head.

  Example:
    >>> uses_lr('lp'), uses_lr('lp_sgd'), uses_lr('daft')
    (False, False, True)
  """
  return any(
    stage.solver == 'sgd' and stage.trainable != HEAD
    for stage in METHODS[method]
  )


def uses_head_lr(method: str) -> bool:
  """Whether the method has a learning rate of the head's own.

  Example:
    >>> uses_head_lr('ft'), uses_head_lr('lp_sgd'), uses_head_lr('daft')
    (False, True, True)
  """
  return any(stage.head_lr == 'own' for stage in METHODS[method])
