r"""A report as LaTeX: every table is a file of its own, for a paper.

  files = render([Heading(1, ['Report']), Heading(2, ['Results']), table])
  files['report.tex']
  files['tex/results.tex']          # a paper says \input{tex/results}

`report.tex` is a document of these and of the figures beside it, as PDF where
there are some, else as PNG; pdflatex makes it. No text is read as a command;
letters that the usual fonts lack are shown by number.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from daft_jax.report import blocks

FOLDER = 'tex'
_MOST_ROWS = 50  # of a table that a page has room for
_BEGIN = r"""\documentclass{article}
\usepackage[a4paper,margin=2cm]{geometry}
\usepackage{booktabs,graphicx}
\setlength{\parindent}{0pt}
\setlength{\parskip}{0.5em}
\setlength{\emergencystretch}{3em}
\newsavebox{\fitted}
\newcommand{\fit}[1]{%
  \begin{center}\footnotesize\sbox{\fitted}{#1}%
  \ifdim\wd\fitted>\linewidth
    \resizebox{\linewidth}{!}{\usebox{\fitted}}%
  \else\usebox{\fitted}\fi\end{center}}
\begin{document}
"""
_END = '\n\\end{document}\n'
_TABLE = r"""%% A paper needs \usepackage{booktabs}, and \input of this.
\begin{tabular}{%s}
\toprule
%s
\midrule
%s
\bottomrule
\end{tabular}%%
"""
_LETTERS = frozenset(
  x for x in map(chr, range(0xC0, 0x100)) if x.isalpha() and x not in 'ÐÞðþ'
)
_SIZE = r'width=\linewidth,height=0.42\textheight,keepaspectratio'
_MARKS = {'best': r'\textbf{%s}', 'second': r'\underline{%s}'}
# By number where fonts differ, and in braces where a command before would take
# it for an option.
_LITERAL = {
  **{letter: f'\\{letter}' for letter in '{}$&#%_'},
  **{letter: f'{{\\char{ord(letter)}}}' for letter in '"`\''},
  **{letter: f'{{{letter}}}' for letter in '[]*'},
  **{'\\': r'\textbackslash{}', '^': r'\textasciicircum{}'},
  **{'~': r'\textasciitilde{}', '|': r'\textbar{}'},
  **{'<': r'\textless{}', '>': r'\textgreater{}'},
  **{'–': r'\textendash{}', '±': r'$\pm$', '…': r'\ldots{}'},
}
_PAIR = re.compile(r'([-,])(?=\1)')  # which fonts have one letter for
_TOGETHER = re.compile(r' (?=\\%|\$\\pm\$)|(?<=\\pm\$) ')


def render(document: Sequence[blocks.Block]) -> dict[str, str]:
  """Returns the text of each file, by its path from that of the report."""
  files = {
    f'{FOLDER}/{name}.tex': table(found)
    for name, found in blocks.tables(document)
  }
  # Tables have their names in the order they come in.
  body = '\n\n'.join(_blocks(document, iter(files)))
  return {'report.tex': _BEGIN + body + _END, **files}


def escape(text: str) -> str:
  r"""Text that LaTeX typesets as it is.

  Example:
    >>> print(escape('50 % of a_b'))
    50 \% of a\_b
  """
  return _PAIR.sub(r'\1{}', ''.join(map(_letter, blocks.printable(text))))


def _letter(letter: str) -> str:
  if letter in _LITERAL:
    return _LITERAL[letter]
  # LaTeX sets accents on letters, in the fonts of every document.
  if letter.isascii() or letter in _LETTERS:
    return letter
  return f'{{[}}U+{ord(letter):04X}{{]}}'


def _blocks(
  document: Sequence[blocks.Block], names: Iterator[str]
) -> Iterator[str]:
  for block in document:
    yield _block(block, names)


def _block(block: blocks.Block, names: Iterator[str]) -> str:
  match block:
    case blocks.Heading(1, text):
      return f'{{\\LARGE\\bfseries {_text(text)}\\par}}'
    case blocks.Heading(_, text):
      return f'\\section*{{{_text(text)}}}'
    case blocks.Paragraph(text):
      return _text(text)
    case blocks.Bullets(items):
      found = '\n'.join(f'\\item {_text(item)}' for item in items)
      return f'\\begin{{itemize}}\n{found}\n\\end{{itemize}}'
    case blocks.Table(_, body):
      name = next(names).removesuffix('.tex')
      if len(body) > _MOST_ROWS:
        return f'{len(body)} rows: \\texttt{{{escape(name)}.tex}}'
      return f'\\fit{{\\input{{{name}}}}}'
    case blocks.Picture(name):
      file = f'\\includegraphics[{_SIZE}]{{{name}}}'
      return f'\\begin{{center}}{file}\\end{{center}}'
    case blocks.Listing(text):
      lines = '\\\\\n'.join(map(_line, blocks.lines(text)))
      inside = f'\\ttfamily\\scriptsize\n{lines}\n'
      return f'\\begin{{flushleft}}{inside}\\end{{flushleft}}'
    case blocks.Folded(title, inside):
      parts = '\n\n'.join(_blocks(inside, names))
      return f'\\subsection*{{{escape(title)}}}\n\n{parts}'


def _line(text: str) -> str:
  """Of a listing: spaces before it stay, and there is something."""
  spaces = len(text) - len(text.lstrip(' '))
  return '~' * spaces + escape(text[spaces:]) or '~'


def _text(text: blocks.Text) -> str:
  found = ''
  for part in text:
    match part:
      case blocks.Code(name):
        found += f'\\texttt{{{escape(name)}}}'
      case blocks.Strong(words):
        found += f'\\textbf{{{escape(words)}}}'
      case _:
        found += escape(part)
  return _TOGETHER.sub('~', found)


def table(found: blocks.Table) -> str:
  """A `tabular` with rules of booktabs: best bold, second underlined."""
  rows = []
  for i, cells in enumerate(found.body):
    marked = (
      _MARKS.get(found.marks.get((i, j)), '%s') for j in range(len(cells))
    )
    rows.append(_row(x % _cell(y) for x, y in zip(marked, cells, strict=True)))
  columns = 'l' * found.left + 'r' * (len(found.header) - found.left)
  return _TABLE % (columns, _row(map(_cell, found.header)), '\n'.join(rows))


def _row(cells: Iterable[str]) -> str:
  return ' & '.join(cells) + r' \\'


def _cell(text: str) -> str:
  """A number below 0 has its sign, not a hyphen."""
  return re.sub(r'(?<![^ (])-(?=\d)', '$-$', escape(text.strip()))
