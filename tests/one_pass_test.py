"""What several processes find by passes over images is what one finds.

Conversion, features, evaluation, distortion, the probe: 1e-5 of the largest
value. The program itself tests where features are kept, and that all processes
are told of what is wrong with one.
"""

import functools
import pathlib

import numpy as np
import pytest

from tests.fixtures import processes

PROGRAM = pathlib.Path(__file__).parent / 'programs' / 'one_pass.py'


@pytest.fixture(scope='module')
def reports(tmp_path_factory):
  """Number of processes -> the arrays that each found."""

  @functools.cache
  def get(count):
    out = tmp_path_factory.mktemp('out')
    (temporary := out / 'temporary').mkdir()
    with pytest.MonkeyPatch.context() as patch:
      patch.setenv('TMPDIR', str(temporary))
      processes.run(count, PROGRAM, out, timeout=600)
    assert not [*temporary.glob('daft_jax-*')]
    return [dict(np.load(out / f'{count}_{i}.npz')) for i in range(count)]

  return get


@pytest.mark.parametrize('count', [2, 4])
def test_several_find_what_one_finds(reports, count):
  (one,), several = reports(1), reports(count)
  assert one['arrays/id_test/l2_edges'][0] > 0.01  # Features have moved.
  for found in several:
    assert found.keys() == one.keys()
    for name, value in one.items():
      # All processes have the same bits.
      np.testing.assert_array_equal(found[name], several[0][name])
      if value.dtype.kind == 'U' or name.startswith('elastic/'):
        np.testing.assert_array_equal(found[name], value)
      elif name.endswith(('l2_counts', 'cosine_counts')):
        # At the edge of a bin one may be on the other side.
        apart = np.cumsum(found[name]) - np.cumsum(value)
        assert apart[-1] == 0 and np.abs(apart).max() <= 1, name
      else:
        most = 1e-5 * (1 + np.nan_to_num(np.abs(value)).max())
        np.testing.assert_allclose(
          found[name], value, rtol=0, atol=most, err_msg=name
        )
