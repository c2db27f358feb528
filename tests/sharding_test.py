"""The mesh, and what lies where."""

import jax
import numpy as np
import pytest

from daft_jax import sharding


def test_mesh_has_all_devices_or_the_first_ones():
  assert sharding.make_mesh().size == len(jax.devices()) == 8
  mesh = sharding.make_mesh(3)
  assert list(mesh.devices.flat) == jax.devices()[:3]
  assert mesh.axis_names == ('data',)


@pytest.mark.parametrize('count', [9, -1])
def test_more_devices_than_there_are(count):
  with pytest.raises(ValueError, match='say 0 for all of them, or 1 to 8'):
    sharding.make_mesh(count)


def test_batch_sizes_that_cannot_be_shared():
  mesh = sharding.make_mesh(8)
  sharding.check_batch_size(64, mesh, 'batch_size')
  with pytest.raises(ValueError, match='batch_size is 60.*say 64'):
    sharding.check_batch_size(60, mesh, 'batch_size')
  with pytest.raises(ValueError, match='say 8'):
    sharding.check_batch_size(1, mesh, 'batch_size')


def test_replicate_copies_to_every_device():
  source = {'a': np.arange(6.0, dtype=np.float32).reshape(2, 3)}
  found = sharding.replicate(source, sharding.make_mesh(8))['a']
  assert found.sharding.is_fully_replicated
  assert len(found.sharding.device_set) == 8
  np.testing.assert_array_equal(found, source['a'])


def test_donating_a_replica_leaves_the_source():
  mesh = sharding.make_mesh(1)
  source = jax.numpy.ones(4)
  copy = sharding.replicate(source, mesh)
  jax.block_until_ready(jax.jit(lambda x: x * 2, donate_argnums=0)(copy))
  assert copy.is_deleted()
  np.testing.assert_array_equal(source, np.ones(4))


def test_rows_are_split():
  mesh = sharding.make_mesh(8)
  batch = {'image': np.arange(32.0).reshape(16, 2), 'mask': np.ones(16, bool)}
  found = sharding.shard_batch(batch, mesh)
  shards = found['image'].addressable_shards
  assert [shard.data.shape for shard in shards] == [(2, 2)] * 8
  np.testing.assert_array_equal(found['image'], batch['image'])
