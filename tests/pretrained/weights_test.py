"""Weight files: round trips, heads, and every way a file can be wrong."""

import functools
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from daft_jax import models, pretrained, trees

TAG = 'resnet14_cifar.glyphs'


@functools.cache
def make(classes=62):
  model = models.create_model('resnet14_cifar', classes)
  spec = jax.ShapeDtypeStruct((1, 24, 24, 3), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), spec)
  rng = np.random.default_rng(0)
  return model, jax.tree.map(
    lambda leaf: rng.uniform(size=leaf.shape).astype(np.float32), shapes
  )


@pytest.fixture
def path(tmp_path):
  path = tmp_path / 'w.safetensors'
  pretrained.save_weights(make()[1], path, {'seed': '0', 'suite': 'glyphs'})
  return path


def assert_equal(first, second):
  jax.tree.map(np.testing.assert_array_equal, first, second)


def test_round_trip_is_bit_identical(path):
  model, variables = make()
  loaded = pretrained.load_pretrained(TAG, model, path)
  assert jax.tree.structure(loaded) == jax.tree.structure(variables)
  assert_equal(loaded, variables)
  leaves = jax.tree.leaves(loaded)
  assert all(type(leaf) is np.ndarray for leaf in leaves)
  assert {leaf.dtype for leaf in leaves} == {np.dtype('float32')}
  spec = jax.ShapeDtypeStruct((2, 24, 24, 3), np.float32)
  logits, _ = jax.eval_shape(model.apply, loaded, spec)
  assert logits.shape == (2, 62)


def test_file_holds_flat_paths_and_metadata(path):
  leaves, metadata = pretrained.read_weights(path)
  assert metadata == {'seed': '0', 'suite': 'glyphs'}
  assert set(leaves) == set(trees.flatten(make()[1]))
  assert leaves['params/conv1/kernel'].shape == (3, 3, 3, 16)


def test_transposed_and_jax_arrays_are_written_as_they_read(tmp_path):
  array = np.arange(12, dtype=np.float32).reshape(3, 4)
  tree = {'params': {'a': array.T, 'b': jax.numpy.asarray(array)}}
  pretrained.save_weights(tree, tmp_path / 'w.safetensors', {})
  leaves, _ = pretrained.read_weights(tmp_path / 'w.safetensors')
  np.testing.assert_array_equal(leaves['params/a'], array.T)
  np.testing.assert_array_equal(leaves['params/b'], array)


def test_float16_rounds_kernels_and_keeps_vectors(path, tmp_path):
  model, variables = make()
  half = tmp_path / 'half.safetensors'
  pretrained.save_weights(variables, half, {}, dtype='float16')
  assert half.stat().st_size < 0.55 * path.stat().st_size
  loaded = pretrained.load_pretrained(TAG, model, half)
  assert_equal(loaded['batch_stats'], variables['batch_stats'])
  assert_equal(
    loaded,
    jax.tree.map(
      lambda a: a.astype(np.float16).astype(a.dtype) if a.ndim > 1 else a,
      variables,
    ),
  )
  assert {a.dtype for a in jax.tree.leaves(loaded)} == {np.dtype('float32')}


def test_save_refuses_what_it_cannot_hold(tmp_path):
  tree = {'params': {'a': np.full((2, 2), 1e5, np.float32)}}
  with pytest.raises(ValueError, match='params/a.*100000'):
    pretrained.save_weights(
      tree, tmp_path / 'w.safetensors', {}, dtype='float16'
    )
  with pytest.raises(ValueError, match="'float32' or 'float16'"):
    pretrained.save_weights(
      tree, tmp_path / 'w.safetensors', {}, dtype='bfloat16'
    )
  assert not list(tmp_path.iterdir())


def test_save_replaces_a_file_and_leaves_nothing_beside_it(path):
  tree = {'params': {'a': np.ones(2, np.float32)}}
  pretrained.save_weights(tree, path, {})
  assert list(pretrained.read_weights(path)[0]) == ['params/a']
  assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
  'spoil',
  [
    lambda data: data[:-100],
    lambda data: data[:1000],
    lambda data: data[:4],
    lambda data: b'',
    lambda data: b'PK\x03\x04' + data,  # a zip, as torch.save writes
    lambda data: (2**62).to_bytes(8, 'little') + data[8:],
    lambda data: data + b'\0',
  ],
)
def test_files_that_are_not_safetensors(path, spoil):
  path.write_bytes(spoil(path.read_bytes()))
  with pytest.raises(ValueError, match='not a complete safetensors') as error:
    pretrained.load_pretrained(TAG, make()[0], path)
  assert str(path) in str(error.value)


def test_missing_file_and_directory(tmp_path):
  for path in (tmp_path / 'none.safetensors', tmp_path):
    with pytest.raises(FileNotFoundError, match=str(path)):
      pretrained.read_weights(path)


def test_bfloat16_is_read(path):
  ones = np.ones((2, 3), jax.numpy.bfloat16)
  path.write_bytes(safetensors.numpy.save({'a': ones}))
  (leaf,) = pretrained.read_weights(path)[0].values()
  assert leaf.dtype == ones.dtype and leaf.shape == (2, 3)


def test_other_dtypes_are_named(path):
  header = b'{"a":{"dtype":"F8_E5M2","shape":[4],"data_offsets":[0,4]}}'
  path.write_bytes(len(header).to_bytes(8, 'little') + header + b'0000')
  with pytest.raises(ValueError, match=r'a \(F8_E5M2\): save weights as'):
    pretrained.read_weights(path)


STATED = {'image_size': 24, 'mean': [0.5] * 3, 'std': [0.5] * 3}


@pytest.mark.parametrize(
  'text',
  [
    *('nothing', '[1]', 'null', '[' * 100_000, '{}'),
    json.dumps(STATED | {'image_size': 10**9}),
    json.dumps(STATED | {'image_size': 24.5}),
    json.dumps(STATED | {'resize': -1}),
    json.dumps(STATED | {'mean': [0.5]}),
    json.dumps(STATED | {'mean': ['a', 'b', 'c']}),
    json.dumps(STATED | {'interpolation': []}),
    json.dumps(STATED | {'other': 1}),
  ],
)
def test_a_preprocessing_that_is_none_is_not_believed(path, text):
  leaf = {'a': np.ones(2, np.float32)}
  path.write_bytes(safetensors.numpy.save(leaf, {'preprocess': text}))
  assert pretrained.read_preprocess(path) is None
  sound = {'preprocess': json.dumps(STATED)}
  path.write_bytes(safetensors.numpy.save(leaf, sound))
  assert pretrained.read_preprocess(path) == STATED
