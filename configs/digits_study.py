"""The study on digits: every method, five seeds, rates searched for each.

  python -m daft_jax.main --config=configs/digits_study.py --workdir=/tmp/study

The learning rate is searched at the first head rate, then, for methods whose
head has its own, the head rate; both by ID validation over all five seeds. With
ID and OOD exchanged, trained on as many digits of MNIST:

  --config=configs/digits_study.py:suite=digits_swapped
"""

from configs import common, digits
from daft_jax import methods


def get_config(arg=''):
  config = digits.get_config()
  config.methods = tuple(methods.METHODS)
  config.seeds = (0, 1, 2, 3, 4)
  config.search = 'paper'
  config.lrs = (0.001, 0.003, 0.01, 0.03, 0.1)
  config.head_lrs = (0.1, 0.01, 0.03, 0.3)
  return common.update(config, arg)
