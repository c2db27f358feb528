"""The figures: rows of a table, drawn once, shown as PNG and as SVG."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from daft_jax import results
from daft_jax.report import arrays, collect, figures
from daft_jax.report.figures import curves, look, reliability, render, scatter
from tests.report.workdirs import write_workdir


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
  workdir = write_workdir(tmp_path_factory.mktemp('runs') / 'digits')
  return dict(figures.drawn(collect.collect([workdir])))


def odd():
  """A figure with markup for a name, and all that has references."""
  figure, (axes,) = look.new(4, 3, 1, 1)
  axes.plot([0, 1], [0, 1], marker='o', label=look.plain('<b>$x$ & "y"'))
  axes.fill_between([0, 1], [0, 1], alpha=0.1, hatch='/')
  look.title(axes, '--><script>')
  axes.legend()
  return figure


def test_rows_have_names_of_their_own_and_say_what_they_show(drawn):
  rows = figures.FIGURES
  assert len({row.name for row in rows}) == len(rows)
  for row in rows:
    assert re.fullmatch(r'[a-z_]+', row.name) and row.file == f'{row.name}.png'
    assert row.title and row.alt and row.caption.endswith('.')
  assert [*drawn] == [*rows]


def test_nothing_is_drawn_of_nothing(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('lp',), seeds=(0,))
  found = collect.collect([workdir])
  nan = [line | {'id_test': float('nan')} for line in found.lines]
  found = found._replace(lines=nan, choices={})
  assert [*figures.drawn(found)] == []


@pytest.mark.parametrize('name', [*(x.name for x in figures.FIGURES), 'odd'])
def test_svg_stands_alone(drawn, name):
  known = {drawing.name: figure for drawing, figure in drawn.items()}
  text = render.svg(known[name] if name in known else odd(), name, 'a "b" <c>')
  root = ElementTree.fromstring(text)
  assert root.tag == 'svg' and root.get('aria-label') == 'a "b" <c>'
  ids = [x.get('id') for x in root.iter() if x.get('id')]
  assert len(ids) == len(set(ids)) and all(x.startswith(name) for x in ids)
  refers = re.findall(r'(?:href="|url\()(.*?)[")]', text)
  assert refers and {x.removeprefix('#') for x in refers} <= set(ids)
  assert not {x.tag for x in root.iter()} & {'style', 'script', 'metadata'}
  for part in ('style=', '://', '<!', '<?', 'data:'):
    assert part not in text
  assert ''.join(root.itertext()).strip()  # Text is text.
  colours = re.findall(r'"(#[^"]*)"', re.sub(r'href="#[^"]*"', '', text))
  assert colours and all(re.fullmatch('#[0-9a-f]{6}', x) for x in colours)


def test_names_in_svg_are_text():
  root = ElementTree.fromstring(render.svg(odd(), 'odd', ''))
  texts = [x.text for x in root.iter('text')]
  assert '<b>$x$ & "y"' in texts and '--><script>' in texts


def test_the_same_figure_is_the_same_svg(tmp_path):
  found = collect.collect([write_workdir(tmp_path / 'one', ('ft',))])
  one, two = (
    [render.svg(figure, x.name, x.alt) for x, figure in figures.drawn(found)]
    for _ in range(2)
  )
  assert one == two and len(one) >= 2
  assert found.choices == results.choose(found.lines)


def test_paths_join_the_means_in_the_order_of_the_rate():
  rates = ((0.1, 0.5), (0.001, 0.1), (0.01, 0.3))
  lines = [
    {'trial': f'{lr} {seed}', 'method': 'ft', 'lr': lr, 'head_lr': None}
    for lr, _ in rates
    for seed in (0, 1)
  ]
  points = {
    f'{lr} {seed}': (x + seed, x - seed) for lr, x in rates for seed in (0, 1)
  }
  ((path, method),) = scatter.paths(lines, points, points)
  assert method == 'ft'
  expected = [[0.6, -0.4], [0.8, -0.2], [1.0, 0.0]]
  assert [[round(float(v), 9) for v in xy] for xy in path] == expected
  assert scatter.paths(lines, points, {'0.1 0', '0.1 1'}) == []


def test_reliability_adds_seeds_and_ood_sets_up(tmp_path):
  ood = ('real', 'clipart')
  workdir = write_workdir(tmp_path / 'one', ('ft', 'daft'), ood=ood)
  found = collect.collect([workdir])
  panels = arrays.added(found.choices, found.folders, arrays.RELIABILITY)
  assert [*panels] == ['ID test', 'OOD'] and [*panels['OOD']] == ['ft', 'daft']
  expected = np.zeros((3, 15))
  for line in found.choices['daft'].lines:
    with np.load(workdir / 'trials' / line['trial'] / 'arrays.npz') as file:
      for name in ood:
        expected += [
          file[f'{name}/bin_{x}'] for x in ('count', 'correct', 'confidence')
        ]
  np.testing.assert_allclose(panels['OOD']['daft'], expected)
  axes = reliability.draw(found).axes[1]
  (line,) = [x for x in axes.lines if x.get_color() == '#009E73']
  expected = expected[:, expected[0] >= 10]
  np.testing.assert_allclose(line.get_xdata(), expected[2] / expected[0])
  np.testing.assert_allclose(line.get_ydata(), expected[1] / expected[0])


def test_bins_of_few_images_are_not_drawn(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('ft',), images=100)
  found = collect.collect([workdir])
  count = arrays.added(found.choices, found.folders, arrays.RELIABILITY)['OOD'][
    'ft'
  ][0]
  few = (count < 10).sum()
  assert few
  axes = reliability.draw(found).axes[1]
  assert len(axes.lines[1].get_xdata()) == 15 - few


def test_curves_have_a_line_a_seed_and_a_point_at_the_choice(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('lp', 'ft', 'daft'))
  found = collect.collect([workdir])
  loss, accuracy = curves.draw(found).axes
  for axes in (loss, accuracy):
    lines = [x for x in axes.lines if len(x.get_xdata()) > 1]
    points = [x for x in axes.lines if len(x.get_xdata()) == 1]
    assert len(lines) == len(points) == 4  # two methods, two seeds; none of lp
    for line, point in zip(lines, points, strict=True):
      (x,), (y,) = point.get_data()
      assert x in (8, 9) and line.get_ydata()[x - 1] == y
  found = found._replace(choices={'lp': found.choices['lp']})
  assert curves.draw(found) is None


def test_of_many_epochs_some_are_drawn():
  figure, (axes,) = look.new(4, 3, 1, 1)
  curves._line(axes, np.arange(10_000.0), 7, look.STYLES['ft'])
  line, point = axes.lines
  assert len(line.get_xdata()) == 200
  assert list(line.get_xdata()[[0, -1]]) == [1, 10_000]
  assert list(point.get_xdata()) == [8]


def test_many_points_of_a_page_are_short():
  figure, (axes,) = look.new(4, 3, 1, 1)
  x, y = np.random.default_rng(0).uniform(size=(2, 500))
  axes.scatter(x, y, c=['#4477aa', '#ee6677'] * 250, linewidths=0)
  text = render.svg(figure, 'odd', '')
  assert text.count('<use ') >= 500
  assert text.count('<g clip-path=') <= 2
  assert not re.search(r'\d\.\d{3}', text)
  assert len(text) < 500 * 100
