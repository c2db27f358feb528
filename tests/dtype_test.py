"""A run that computes in bfloat16 learns what one in float32 does."""

import numpy as np
import pytest

from configs import digits
from daft_jax import experiment, results


def run(workdir, dtype):
  config = digits.get_config(
    'methods=daft,seeds=0+1,lrs=0.01,head_lrs=0.1,epochs=3,image_size=16'
  )
  config.dtype, config.mesh.data = dtype, 1
  experiment.run(config, workdir)
  return results.read(workdir)


def test_accuracies_are_those_of_float32(tmp_path):
  found = {x: run(tmp_path / x, x) for x in ('float32', 'bfloat16')}
  for name, most in (('id_test', 0.01), ('ood_mean', 0.03)):
    each = {x: [line[name] for line in lines] for x, lines in found.items()}
    seeds = np.ptp(each['float32'])  # what another seed changes
    moved = np.mean(each['bfloat16']) - np.mean(each['float32'])
    assert abs(moved) < max(most, seeds), (name, each)
  # It is not the same computation.
  losses = [[line['id_val_loss'] for line in x] for x in found.values()]
  assert losses[0] != pytest.approx(losses[1], rel=1e-6)
