"""Handwritten digits from printed characters: all real data, no download.

  python -m daft_jax.main --config=configs/digits.py --workdir=/tmp/digits

A small ResNet that knows printed characters is fine-tuned on 600 handwritten
digits of UCI (ID) and tested on 5,000 of MNIST (OOD).

The learning rates were chosen by ID validation, in this search:

  --config=configs/digits.py:lrs=0.003+0.01+0.03,head_lrs=0.03+0.1+0.3
"""

from configs import common


def get_config(arg=''):
  config = common.get_config()
  config.suite = 'digits'
  config.methods = ('lp', 'ft', 'lp_ft', 'daft')
  config.seeds = (0, 1)
  config.lrs = (0.01,)
  config.head_lrs = (0.1,)
  return common.update(config, arg)
