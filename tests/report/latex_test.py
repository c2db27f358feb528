"""report.tex: nothing in a name is a command, and pdflatex compiles it."""

import re

import pytest

from daft_jax import report
from daft_jax.report import blocks, figures
from daft_jax.report.formats import latex
from tests.hostile.corpus import CODES, NAMES
from tests.hostile.workdirs import named
from tests.report import papers, workdirs
from tests.report.blocks_test import DOCUMENT

needs_latex = pytest.mark.skipif(
  papers.found() is None,
  reason='no pdflatex on PATH: only what is written is tested',
)
ODD = (
  *('\\end{document}', '\\input{/etc/passwd}', '^^5cinput{x}', '{', '}', '}{'),
  *('[x]', '*', '50 %', '#1', '$x$', 'a & b', 'a_b^c~d', '<<|>>', '?`!`'),
  *('--', '---', ',,', "''", '``', '"a"', 'é Å ß', '中文 Ω', '…±–', CODES),
  *('\\\\[3cm]', '\\', 'x' * 1000, '-1.2', '@', '\\verb|x|'),
)


def document(names):
  """Every name in every place where one may be."""
  return [
    blocks.Heading(1, names),
    blocks.Heading(2, [*map(blocks.Code, names)]),
    blocks.Paragraph([*names, *map(blocks.Code, names)]),
    blocks.Bullets([[x, ' ', blocks.Strong(x)] for x in names]),
    blocks.Folded(names[0], [blocks.Listing('\n'.join(['', *names, ' ]']))]),
    blocks.Table(
      ['name', 'number'],
      [[x, x] for x in names],
      {(i, 1): 'best' for i, _ in enumerate(names)},
      1,
    ),
  ]


def write(files, folder):
  for name, text in files.items():
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding='utf-8')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('runs') / 'digits'
  report.write_report(workdirs.write_workdir(folder, seeds=range(3)), pdf=True)
  return folder


def test_every_block_is_rendered():
  files = latex.render([x for x in DOCUMENT if x != DOCUMENT[-1]])
  assert [*files] == ['report.tex', 'tex/on_a_b.tex', 'tex/more.tex']
  assert [x for text in files.values() for x in papers.faults(text)] == []
  for part in (
    r'{\LARGE\bfseries On \texttt{a{\char96}b}\par}',
    r'Of \textbf{{*}all{*}} \textless{}b\textgreater{}.',
    '\\item one\n\\item \\texttt{two}\n',
    r'\fit{\input{tex/on_a_b}}',
    r'\subsection*{More}',
    r'{name}\end{center}',
  ):
    assert part in files['report.tex']
  rows = files['tex/more.tex'].split('\n')
  assert rows[1:-1] == [
    *(r'\begin{tabular}{lr}', r'\toprule', r'a\_b & c \\', r'\midrule'),
    *(r'x & \textbf{1} \\', r'y & \underline{\textbar{}} \\'),
    *(r'\bottomrule', r'\end{tabular}%'),
  ]


@pytest.mark.parametrize('name', [*NAMES.values(), *ODD])
def test_names_are_text(name):
  files = latex.render(document([name]))
  assert [x for text in files.values() for x in papers.faults(text)] == []


@pytest.mark.parametrize(
  ('text', 'cell'),
  [
    ('-1.2 (-3.0 to 4.0)', r'$-$1.2 ($-$3.0 to 4.0)'),
    ('1e-05', '1e-05'),
    ('-rf', '-rf'),
    ('a--1', 'a-{}-1'),
    ('97.2 ± 0.3', r'97.2 $\pm$ 0.3'),
    ('–', r'\textendash{}'),
    ('中', r'{[}U+4E2D{]}'),
  ],
)
def test_cells(text, cell):
  assert latex._cell(text) == cell


def test_faults_are_found():
  for text in ('\\write18{x}', '{', '}', '\\input{/etc/passwd}', '^^5c', '#1'):
    assert papers.faults(text), text
  assert papers.faults('\\begin{verbatim}') and papers.faults('a\x1b')


def test_long_tables_are_files_alone():
  many = blocks.Table(['a'], [['1']] * 51, {}, 0)
  files = latex.render([blocks.Heading(2, ['Each set']), many])
  assert r'51 rows: \texttt{tex/each\_set.tex}' in files['report.tex']
  assert files['tex/each_set.tex'].count(r'1 \\') == 51


def test_a_run_has_its_figures_and_tables_beside_it(folder):
  text = (folder / 'report.tex').read_text(encoding='utf-8')
  assert papers.faults(text) == []
  for row in figures.FIGURES:
    assert f'{{{row.name}}}' in text
    data = (folder / f'{row.name}.pdf').read_bytes()
    assert data.startswith(b'%PDF') and b'/Type3' not in data
  tables = re.findall(r'\\input\{(.*?)\}', text)
  assert {'tex/results', 'tex/every_rate'} <= set(tables)
  for name in tables:
    table = (folder / f'{name}.tex').read_text(encoding='utf-8')
    assert papers.faults(table) == []
  table = (folder / 'tex' / 'results.tex').read_text(encoding='utf-8')
  assert table.count(r'\textbf{') >= 3 and r'\underline{' in table


@needs_latex
def test_a_run_compiles(folder):
  assert len(papers.compile(folder, 'report.tex')) > 30_000


@needs_latex
def test_odd_names_compile(tmp_path):
  write(latex.render(document([*NAMES.values(), *ODD])), tmp_path)
  assert papers.compile(tmp_path, 'report.tex')


@needs_latex
def test_a_run_of_odd_names_compiles(tmp_path):
  named('\\end{document}[x] & 中 <b>"^^5c')(tmp_path, None)
  report.write_report(tmp_path / 'run')  # with PNGs
  assert papers.compile(tmp_path / 'run', 'report.tex')


@needs_latex
def test_a_paper_has_a_table(folder):
  (folder / 'paper.tex').write_text(
    '\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n'
    '\\begin{table}\\caption{One}\\input{tex/results}\\end{table}\n'
    '\\end{document}\n'
  )
  assert papers.compile(folder, 'paper.tex')
