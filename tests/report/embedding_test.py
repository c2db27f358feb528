"""Features as points: which panels there are, and what is refused."""

import importlib.util

import numpy as np
import pytest

from daft_jax import results
from daft_jax.report import arrays, collect
from daft_jax.report.figures import embedding
from tests.report.workdirs import write_workdir


def change(workdir, method=None, **new):
  """Writes other arrays over those of the trials of a method."""
  lines = results.read(workdir)
  for line in lines:
    path = workdir / 'trials' / line['trial'] / 'arrays.npz'
    if method in (None, line['method']):
      with np.load(path) as archive:
        whole = dict(archive)
      whole |= {k.replace('__', '/'): x for k, x in new.items()}
      np.savez(path, **{k: x for k, x in whole.items() if x is not None})


def titles(figure):
  shown = [axes for axes in figure.axes if axes.get_visible()]
  return [axes.get_title(loc='left') for axes in shown]


@pytest.mark.parametrize('draw', [embedding.draw_pca, embedding.draw_tsne])
def test_a_panel_for_the_pretrained_features_and_each_method(tmp_path, draw):
  workdir = write_workdir(tmp_path / 'one', ('lp', 'ft', 'daft'))
  figure = draw(collect.collect([workdir]))
  assert titles(figure) == ['pretrained', 'ft', 'daft']
  assert figure.axes[2].get_xlabel() == 'not moved: lp'  # its features are
  points = [len(x.get_offsets()) for x in figure.axes[0].collections]
  assert points == [40, 40]  # ID test, then OOD


def test_pca_is_along_the_axes_of_the_pretrained_features(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('ft',), seeds=(0,))
  before, angle = np.zeros((40, 5)), np.linspace(0, 2 * np.pi, 41)[:-1]
  before[:, 0], before[:, 3] = 9 * np.cos(angle), 3 * np.sin(angle)
  after = before + [2, 0, 0, 0, 0]
  name = 'id_test__sample__'
  change(
    workdir,
    **{f'{name}reference': before, f'{name}features': after},
    **{f'mnist__sample__{x}': None for x in ('reference', 'features', 'label')},
  )
  figure = embedding.draw_pca(collect.collect([workdir]))
  one, two = (x.collections[0].get_offsets() for x in figure.axes[:2])
  # The first axis is that of the largest deviation; its sign is free.
  np.testing.assert_allclose(np.abs((two - one)[:, 0]), 2, rtol=0.01)
  np.testing.assert_allclose((two - one)[:, 1], 0, atol=0.05)
  assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_images_without_finite_features_are_left_out(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('ft',), seeds=(0,))
  features = np.ones((40, 8), np.float16)
  features[3] = np.nan
  change(workdir, id_test__sample__features=features)
  path, *_ = workdir.glob('trials/*/arrays.npz')
  after, before, labels = arrays.sample(path, 'id_test')
  assert after.shape == before.shape == (39, 8)
  assert labels.tolist()[2:4] == [2, 4]
  assert arrays.sample(path, 'nowhere') is None


@pytest.mark.parametrize(
  'new',
  [
    {'id_test__sample__features': np.ones((40, 7))},
    {'id_test__sample__label': np.arange(39)},
    {'id_test__sample__label': np.array(['0'] * 40)},
    {'id_test__sample__features': np.ones((40, 8, 1))},
  ],
)
def test_other_shapes_and_kinds_are_damage(tmp_path, new):
  workdir = write_workdir(tmp_path / 'one', ('ft',), seeds=(0,))
  change(workdir, **new)
  with pytest.raises(results.ResultsError, match=r'arrays\.npz: damaged'):
    embedding.draw_pca(collect.collect([workdir]))


def test_old_runs_and_machines_without_scikit_learn(tmp_path, monkeypatch):
  workdir = write_workdir(tmp_path / 'one', ('ft',), seeds=(0,))
  found = collect.collect([workdir])
  real = importlib.util.find_spec
  with monkeypatch.context() as patch:
    patch.setattr(
      importlib.util,
      'find_spec',
      lambda name: None if name == 'sklearn' else real(name),
    )
    assert embedding.draw_tsne(found) is None
    assert embedding.draw_pca(found) is not None
  for split in ('id_test', 'mnist'):
    for name in ('features', 'reference', 'label'):
      change(workdir, **{f'{split}__sample__{name}': None})
  assert embedding.draw_pca(found) is None
