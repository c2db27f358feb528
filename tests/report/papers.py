r"""What LaTeX of a report may be made of, and pdflatex where there is one.

The commands are those that the report itself writes.
"""

import re
import shutil
import subprocess

COMMANDS = {
  *('documentclass', 'usepackage', 'setlength', 'newsavebox', 'newcommand'),
  *('parindent', 'parskip', 'emergencystretch', 'fit', 'fitted', 'sbox'),
  *('ifdim', 'wd', 'linewidth', 'resizebox', 'usebox', 'else', 'fi'),
  *('begin', 'end', 'input', 'item', 'par', 'section', 'subsection'),
  *('LARGE', 'bfseries', 'ttfamily', 'scriptsize', 'footnotesize'),
  *('includegraphics', 'textheight', 'texttt', 'textbf', 'underline'),
  *('toprule', 'midrule', 'bottomrule', 'pm', 'ldots', 'char'),
  *('textbackslash', 'textasciicircum', 'textasciitilde', 'textbar'),
  *('textless', 'textgreater', 'textendash', *'\\{}$&#%_'),
}
PLACES = {'document', 'center', 'itemize', 'flushleft', 'tabular'}


def faults(text):
  """What in a file is none of what a report writes."""
  found = [
    f'command {x}'
    for x in re.findall(r'\\([A-Za-z]+|.|\n)', text, re.DOTALL)
    if x not in COMMANDS and x != '\n'
  ]
  plain = re.sub(r'\\[\\{}]', '', text)
  depth = 0
  for letter in plain:
    depth += (letter == '{') - (letter == '}')
    if depth < 0:
      found.append('a brace that closes nothing')
      break
  if depth > 0:
    found.append('a brace that is open')
  for kind in ('begin', 'end'):
    places = set(re.findall(rf'\\{kind}\{{(.*?)\}}', text))
    found += [f'{kind} of {x}' for x in sorted(places - PLACES)]
  for kind in ('input', 'includegraphics'):
    names = re.findall(rf'\\{kind}(?:\[.*?\])?\{{(.*?)\}}', text)
    found += [
      f'{kind} of {x}'
      for x in names
      if not re.fullmatch(r'(tex/)?[a-z0-9_]+', x)
    ]
  found += [
    f'{x!r}' for x in sorted(set(re.findall(r'\^\^|(?<!\\)#(?!1\}%)', text)))
  ]
  bad = {x for x in text if not x.isprintable() and x != '\n'}
  return found + [f'character {x!r}' for x in sorted(bad)]


def found():
  """The path of pdflatex, or None."""
  return shutil.which('pdflatex')


def compile(folder, name):
  """Compiles a file; returns the PDF.

  Raises:
    RuntimeError: LaTeX has found a fault.
  """
  done = subprocess.run(
    [found(), '-halt-on-error', '-interaction=nonstopmode', '-no-shell-escape']
    + ['-output-directory=.', name],
    cwd=folder,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    stdin=subprocess.DEVNULL,
    timeout=120,
  )
  if done.returncode:
    raise RuntimeError(done.stdout.decode(errors='replace')[-3000:])
  return (folder / name).with_suffix('.pdf').read_bytes()
