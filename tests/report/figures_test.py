"""The figures: rows of a table, drawn once, shown as PNG and as SVG."""

import re
from xml.etree import ElementTree

import pytest

from daft_jax import results
from daft_jax.report import collect, figures
from daft_jax.report.figures import look, render, scatter
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
