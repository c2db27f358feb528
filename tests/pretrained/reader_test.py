"""Weight files: round trips, heads, and every way a file can be wrong."""

import dataclasses
import functools
import hashlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy

from daft_jax import models, pretrained, trees
from daft_jax.pretrained import reader, registry

TAG = 'resnet14_cifar.glyphs'


@functools.cache
def make(classes=62):
  model = models.create_model('resnet14_cifar', classes)
  spec = jax.ShapeDtypeStruct((1, 24, 24, 3), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), spec)
  rng = np.random.default_rng(0)
  return model, jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes
  )


@pytest.fixture
def path(tmp_path):
  path = tmp_path / 'w.safetensors'
  pretrained.save_weights(make()[1], path, {'seed': '0', 'suite': 'glyphs'})
  return path


def assert_equal(first, second):
  jax.tree.map(np.testing.assert_array_equal, first, second)


def rewrite(path, change):
  leaves, metadata = pretrained.read_weights(path)
  change(leaves)
  path.write_bytes(safetensors.numpy.save(leaves, metadata))


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
  pretrained.save_weights(tree, tmp_path / 'w', {})
  leaves, _ = pretrained.read_weights(tmp_path / 'w')
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
    pretrained.save_weights(tree, tmp_path / 'w', {}, dtype='float16')
  with pytest.raises(ValueError, match="'float32' or 'float16'"):
    pretrained.save_weights(tree, tmp_path / 'w', {}, dtype='bfloat16')
  assert not list(tmp_path.iterdir())


def test_save_replaces_a_file_and_leaves_nothing_beside_it(path):
  tree = {'params': {'a': np.ones(2, np.float32)}}
  pretrained.save_weights(tree, path, {})
  assert list(pretrained.read_weights(path)[0]) == ['params/a']
  assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize('head', ['auto', 'keep'])
def test_head_is_kept(path, head):
  model, variables = make()
  loaded = pretrained.load_pretrained(TAG, model, path, head=head)
  assert_equal(loaded['params']['head'], variables['params']['head'])


@pytest.mark.parametrize('classes', [10, 62])
def test_new_head_is_zero_and_the_rest_is_kept(path, classes):
  loaded = pretrained.load_pretrained(TAG, make(classes)[0], path, head='new')
  head = loaded['params'].pop('head')
  assert head['kernel'].shape == (64, classes)
  assert head['bias'].shape == (classes,)
  assert not any(leaf.any() for leaf in head.values())
  params = {k: v for k, v in make()[1]['params'].items() if k != 'head'}
  assert_equal(loaded['params'], params)


def test_other_class_count_is_refused(path):
  message = "62 classes, the model 10: pass head='new'"
  with pytest.raises(ValueError, match=message):
    pretrained.load_pretrained(TAG, make(10)[0], path)
  with pytest.raises(
    ValueError, match=r"head='new'(.|\n)*\[62\], model \[10\]"
  ):
    pretrained.load_pretrained(TAG, make(10)[0], path, head='keep')
  with pytest.raises(ValueError, match="'auto', 'keep' or 'new'"):
    pretrained.load_pretrained(TAG, make()[0], path, head='zero')


def test_a_file_without_a_head_takes_a_new_one(path):
  def drop(leaves):
    del leaves['params/head/kernel'], leaves['params/head/bias']

  rewrite(path, drop)
  with pytest.raises(ValueError, match="head='new'(.|\n)*params/head/bias"):
    pretrained.load_pretrained(TAG, make()[0], path)
  loaded = pretrained.load_pretrained(TAG, make(10)[0], path, head='new')
  assert loaded['params']['head']['kernel'].shape == (64, 10)


def test_one_error_lists_both_sides(path):
  def spoil(leaves):
    del leaves['batch_stats/bn1/mean']
    leaves['params/fc/kernel'] = np.ones(3, np.float32)
    leaves['params/conv1/kernel'] = np.ones((7, 7, 3, 16), np.float32)

  rewrite(path, spoil)
  with pytest.raises(ValueError) as error:
    pretrained.load_pretrained(TAG, make()[0], path)
  assert str(error.value).splitlines() == [
    f'{path} does not fit the model: {TAG} fits '
    "create_model('resnet14_cifar', ...)",
    '  in the model but not in the file: batch_stats/bn1/mean',
    '  in the file but not in the model: params/fc/kernel',
    '  of other shape: params/conv1/kernel '
    '(file [7, 7, 3, 16], model [3, 3, 3, 16])',
  ]


def test_another_architecture_is_refused(path):
  model = models.create_model('resnet20_cifar', 62)
  with pytest.raises(ValueError, match='resnet14_cifar.*\n.*and 22 more'):
    pretrained.load_pretrained(TAG, model, path)


def test_unknown_tag():
  with pytest.raises(ValueError, match=f'Did you mean {TAG!r}.*Weights: {TAG}'):
    pretrained.load_pretrained('resnet14_cifar.glyph', make()[0])


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
      pretrained.load_pretrained(TAG, make()[0], path)


def test_other_dtypes_are_named(path):
  def widen(leaves):
    leaves['params/conv1/kernel'] = np.ones((3, 3, 3, 16))

  rewrite(path, widen)
  with pytest.raises(ValueError, match=r'params/conv1/kernel \(F64\)'):
    pretrained.read_weights(path)


def test_packaged_file_is_checked(path, monkeypatch):
  model, variables = make()
  row = dataclasses.replace(
    registry.lookup(TAG),
    file=path.name,
    sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
  )
  monkeypatch.setattr(reader, 'WEIGHTS', path.parent)
  monkeypatch.setitem(registry.PRETRAINED, TAG, row)
  assert_equal(pretrained.load_pretrained(TAG, model), variables)
  rewrite(path, lambda leaves: leaves.popitem())
  with pytest.raises(ValueError, match='sha256.*pass path='):
    pretrained.load_pretrained(TAG, model)
  path.unlink()
  with pytest.raises(FileNotFoundError, match=str(path)):
    pretrained.load_pretrained(TAG, model)
  row = dataclasses.replace(row, file='', url='https://example.org/w')
  monkeypatch.setitem(registry.PRETRAINED, TAG, row)
  with pytest.raises(FileNotFoundError, match='https://example.org/w'):
    pretrained.load_pretrained(TAG, model)


def test_rows_are_consistent():
  assert pretrained.list_pretrained() == list(pretrained.PRETRAINED)
  for tag, row in pretrained.PRETRAINED.items():
    assert row.tag == tag
    assert row.architecture in models.list_models()
    assert len(row.mean) == len(row.std) == 3 and min(row.std) > 0
    assert row.licence and row.num_classes > 0 and row.image_size > 0
    assert row.file or row.url


def test_listing_imports_no_jax():
  program = (
    'import sys; from daft_jax import pretrained; '
    'print(*pretrained.list_pretrained(), "jax" in sys.modules)'
  )
  result = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  )
  assert result.stdout.split() == [*pretrained.list_pretrained(), 'False']
