"""The mesh, and what lies where."""

import jax
import numpy as np
import pytest

from daft_jax import settings, sharding


def test_mesh_has_all_devices_or_the_first_ones():
  assert sharding.make_mesh().size == len(jax.devices()) == 8
  mesh = sharding.make_mesh(3)
  assert list(mesh.devices.flat) == jax.devices()[:3]
  assert mesh.axis_names == ('data', 'model')
  assert sharding.make_mesh(4, 2).shape == {'data': 4, 'model': 2}
  assert sharding.make_mesh(model=2).shape == {'data': 4, 'model': 2}


@pytest.mark.parametrize(
  ('sizes', 'says'),
  [
    ((9, 1), 'say data=8 and model=1, or less'),
    ((-1, 1), 'say data=8 and model=1'),
    ((8, 2), 'say data=4 and model=2'),
    ((1, 9), 'say data=1 and model=8'),
    ((0, 3), 'say model=1, or how many data is'),
    ((0, 6), 'say model=2'),
  ],
)
def test_more_devices_than_there_are(sizes, says):
  with pytest.raises(ValueError, match=f'there are 8 devices .*: {says}'):
    sharding.make_mesh(*sizes)


def test_every_row_of_rules_is_a_setting():
  rule = settings.RULES['mesh.params']
  assert all(map(rule.holds, sharding.RULES)) and not rule.holds('zero')
  assert all(name in rule.says for name in sharding.RULES)


@pytest.mark.parametrize(
  ('rules', 'path', 'shape', 'axes'),
  [
    ('fsdp', 'head/kernel', (512, 1000), ('data', 'model')),
    ('fsdp', 'head/kernel', (512, 1001), ('data',)),  # not divisible
    ('fsdp', 'head/kernel', (510, 1002), (None, 'model')),
    ('fsdp', 'head/kernel', (512, 10), ('data',)),  # few classes
    ('fsdp', 'head/bias', (1000,), ('model',)),
    ('fsdp', 'conv/kernel', (3, 3, 64, 128), (None, None, None, 'data')),
    ('fsdp', 'conv/kernel', (3, 3, 64, 126), ()),
    ('fsdp', 'conv/kernel', (3, 3, 3, 64), ()),  # small
    ('fsdp', 'bn/scale', (8192,), ()),  # no rule
    ('replicated', 'conv/kernel', (3, 3, 64, 128), ()),
    ('replicated', 'head/kernel', (512, 10), ()),
    ('replicated', 'head/kernel', (512, 1000), (None, 'model')),
    ('replicated', 'overhead/kernel', (512, 1000), ()),
  ],
)
@pytest.mark.parametrize('place', ['params/', '0/trace/', ''])
def test_rules_decide_what_is_split(rules, path, shape, axes, place):
  """Momenta have the paths of their parameters, and so their places."""
  layout = sharding.Layout(sharding.make_mesh(4, 2), sharding.RULES[rules])
  spec = layout.spec(place + path, shape)
  assert spec == jax.sharding.PartitionSpec(*axes)


def test_the_first_rule_that_matches_counts():
  rules = (('a/kernel', ()), ('kernel', ('data',)))
  layout = sharding.Layout(sharding.make_mesh(8), rules)
  assert layout.spec('a/kernel', (64, 64)) == jax.sharding.PartitionSpec()
  assert layout.spec('b/kernel', (64, 64))[1] == 'data'
  assert layout.spec('b/kernel', ()) == jax.sharding.PartitionSpec()


def test_parts_are_an_eighth_and_make_the_whole():
  layout = sharding.Layout(sharding.make_mesh(8), sharding.RULES['fsdp'])
  source = np.arange(8192.0, dtype=np.float32).reshape(64, 128)
  placed = layout.place({'kernel': source, 'scale': source})
  sizes = [x.data.nbytes for x in placed['kernel'].addressable_shards]
  assert sizes == [source.nbytes // 8] * 8
  assert sharding.is_split(placed['kernel'], 'data')
  gathered = sharding.gather(placed)
  assert gathered['scale'] is placed['scale']  # what is whole is not copied
  for leaf in (gathered['kernel'], sharding.whole(placed['kernel'])):
    assert leaf.is_fully_replicated
    np.testing.assert_array_equal(leaf, source)


def test_what_is_split_over_model_stays_so():
  mesh = sharding.make_mesh(4, 2)
  source = np.ones((64, 1000), np.float32)
  layout = sharding.Layout(mesh, sharding.RULES['fsdp'])
  placed = layout.place({'head': {'kernel': source}})
  kernel = sharding.gather(placed)['head']['kernel']
  assert sharding.is_split(kernel, 'model')
  assert not sharding.is_split(kernel, 'data')
  assert kernel.addressable_shards[0].data.shape == (64, 500)


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
