"""report.html: one page, and what a real browser makes of it."""

import json

import pytest

from daft_jax import report, results
from daft_jax.report import blocks, figures, summary
from daft_jax.report.formats import webpage
from tests.hostile.corpus import NAMES
from tests.hostile.workdirs import named
from tests.report import browser, pages, workdirs
from tests.report.blocks_test import DOCUMENT

needs_browser = pytest.mark.skipif(
  browser.found() is None,
  reason=f'no browser on PATH (one of {", ".join(browser.NAMES)})',
)
ODD = '<img src=x onerror=alert(1)>"\'--><script>alert(2)</script>'


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  folder = tmp_path_factory.mktemp('runs')
  workdir = workdirs.write_workdir(folder / 'digits', seeds=range(3))
  return report.write_report(workdir).with_suffix('.html')


@pytest.fixture(scope='module')
def odd_path(tmp_path_factory):
  folder = tmp_path_factory.mktemp('odd')
  named(ODD)(folder, None)
  return report.write_report(folder / 'run').with_suffix('.html')


def test_every_block_is_rendered():
  text = webpage.render(DOCUMENT)
  assert pages.faults(text) == []
  for part in (
    '<h1>On <code>a`b</code></h1>',
    '<title>On a`b</title>',
    '<p>Of <strong>*all*</strong> &lt;b&gt;.</p>',
    '<li><code>two</code></li>',
    '<th scope="col" class="name">a_b</th><th scope="col">c</th>',
    '<th scope="row" class="name">x</th><td><strong>1</strong></td>',
    '<td><u>|</u></td>',
    '<summary>More</summary>',
    '<svg/>',
    '<pre>```\n{}</pre>',
  ):
    assert part in text


@pytest.mark.parametrize('name', [*NAMES.values(), ODD, '</style>', 'a&b'])
def test_names_are_text(name):
  table = blocks.Table([name], [[name]], {}, 1)
  text = webpage.render(
    [
      blocks.Heading(1, [name]),
      blocks.Heading(2, [blocks.Code(name)]),
      blocks.Paragraph([name, blocks.Strong(name)]),
      blocks.Folded(name, [table, blocks.Listing(f'{name}\n{name}')]),
    ]
  )
  assert pages.faults(text) == []
  assert ''.join(pages.read(text).words).count(name) >= 9


def test_the_page_of_a_run(path):
  text = path.read_text(encoding='utf-8')
  assert pages.faults(text) == []
  assert text.count('<svg ') == len(figures.FIGURES)
  for row in summary.summarize(results.read(path.parent)):
    assert f'{100 * row.id_test.mean:.1f} ±' in text


def test_many_sets_fit_into_a_page(tmp_path):
  workdir = workdirs.write_workdir(
    tmp_path / 'many',
    ood=workdirs.CORRUPTED,
    summaries=workdirs.MEANS,
    images=100,
  )
  text = report.write_report(workdir).with_suffix('.html').read_text()
  assert pages.faults(text) == []  # also not too large


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [360, 1280])
@needs_browser
def test_a_browser_shows_it(path, odd_path, width, scheme):
  for file in (path, odd_path):
    with browser.opened(file, width=width, scheme=scheme) as page:
      boxes = page.run(
        '[...document.querySelectorAll("svg")].map((x) => x.getBBox())'
        '.map((x) => [x.width, x.height])'
      )
      assert boxes and all(min(box) > 100 for box in boxes)
      assert page.run('document.documentElement.scrollWidth') == width
      # What is wider scrolls in itself.
      wide = page.run(
        '[...document.querySelectorAll("main > *")]'
        f'.filter((x) => x.getBoundingClientRect().right > {width})'
        '.map((x) => x.outerHTML.slice(0, 200))'
      )
      assert wide == []
      assert page.run(CONTRAST) >= 4.5
      assert page.run('document.scripts.length') == 1
      assert page.faults == []
      assert page.requests == [file.resolve().as_uri()]


CONTRAST = """(() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
      .map((x) => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const page = light(getComputedStyle(document.body).backgroundColor);
  return Math.min(...['p', 'a', 'th', 'td', 'summary'].map((name) => {
    const ink = light(getComputedStyle(document.querySelector(name)).color);
    return (Math.max(ink, page) + .05) / (Math.min(ink, page) + .05);
  }));
})()"""


@needs_browser
def test_tables_are_sorted_by_click_and_by_key(path):
  rows = summary.summarize(results.read(path.parent))
  ood = {row.method: row.ood['mnist'].mean for row in rows}
  with browser.opened(path) as page:

    def order():
      return page.run(
        '[...document.querySelectorAll("table")[0].tBodies[0].rows]'
        '.map((x) => x.cells[0].textContent)'
      )

    def press(title, key=None):
      button = (
        '[...document.querySelectorAll("table")[0].querySelectorAll("button")]'
        f'.find((x) => x.textContent === {json.dumps(title)})'
      )
      page.run(f'{button}.{"focus" if key else "click"}()')
      for kind in ('keyDown', 'keyUp') if key else ():
        page.call(
          'Input.dispatchKeyEvent',
          **{'type': kind, 'key': key, 'code': key, 'text': '\r'},
          windowsVirtualKeyCode=13,
        )
      return page.run(f'{button}.closest("th").getAttribute("aria-sort")')

    assert order() == list(ood)
    best = sorted(ood, key=lambda name: -round(ood[name], 3))
    assert press('OOD mnist') == 'descending' and order() == best
    assert press('OOD mnist', 'Enter') == 'ascending'
    assert order() == best[::-1]
    # Where there is no number, it comes last either way.
    assert press('lr') == 'descending'
    assert set(order()[-2:]) == {'lp', 'lp_sgd'}
    assert press('lr') == 'ascending'
    assert set(order()[-2:]) == {'lp', 'lp_sgd'}
    assert press('method') == 'ascending' and order() == sorted(ood)
    heads = page.run('document.querySelectorAll("[aria-sort]").length')
    assert heads == 1 and page.faults == []


@needs_browser
def test_the_browser_tells_of_faults(tmp_path):
  """What the tests above rely on: errors, and what is forbidden, are seen."""
  path = tmp_path / 'bad.html'
  text = webpage.render([blocks.Heading(1, ['x'])])
  bad = '<p onclick="x()" style="color:red">x</p><img src="x.png"></main>'
  path.write_text(text.replace('</main>', bad))
  with browser.opened(path) as page:
    assert len(page.faults) >= 2
  path.write_text('<script>nothing.there</script>')
  with browser.opened(path) as page:
    assert len(page.faults) == 1
