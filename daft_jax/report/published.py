"""What others published of the same suites, beside the numbers of a report.

parts = published.section(lines, rows)

The numbers of LP-FT (Kumar et al., ICLR 2022, arXiv 2202.10054): tables 1 and 2
of the version that was submitted, in per cent. Of the DAFT paper no number is
known here, and none is given.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from daft_jax import results
from daft_jax.report import blocks, summary, tables

_METHODS = ('ft', 'lp', 'lp_ft')
_UNKNOWN = 'OOD, averaged'


class Suite(NamedTuple):
  """One suite of the paper.

  Attributes:
    network: in words.
    weights: its tag here.
    sets: set -> (accuracy, half of its interval) of `_METHODS`.
  """

  network: str
  weights: str
  sets: Mapping[str, tuple[tuple[float, float], ...]]


_MOCO = ('a ResNet-50 of MoCo v2', 'resnet50.mocov2_800ep')
# How the OOD sets of DomainNet and of FMoW are averaged is not known.
LP_FT = {
  'cifar': Suite(
    *_MOCO,
    {
      'ID test': ((97.3, 0.2), (91.8, 0.0), (97.5, 0.1)),
      'stl10': ((82.4, 0.4), (85.1, 0.2), (90.7, 0.3)),
      'cifar10_1': ((92.3, 0.4), (82.7, 0.2), (93.5, 0.1)),
    },
  ),
  'entity30': Suite(
    *_MOCO,
    {
      'ID test': ((93.6, 0.2), (90.6, 0.2), (93.7, 0.1)),
      'target': ((60.7, 0.2), (63.2, 1.3), (62.3, 0.9)),
    },
  ),
  'living17': Suite(
    *_MOCO,
    {
      'ID test': ((97.1, 0.2), (96.5, 0.2), (97.8, 0.2)),
      'target': ((77.8, 0.7), (82.2, 0.2), (82.6, 0.3)),
    },
  ),
  'domainnet': Suite(
    *('the ResNet-50 of CLIP', 'clip_resnet50.openai'),
    {
      'ID test': ((84.5, 0.6), (89.4, 0.1), (91.6, 0.0)),
      _UNKNOWN: ((55.5, 2.2), (79.7, 0.6), (80.7, 0.9)),
    },
  ),
  'fmow': Suite(
    *('a ResNet-50 of MoCo-TP', 'resnet50.mocotp_fmow'),
    {
      'ID test': ((56.5, 0.3), (49.1, 0.0), (51.8, 0.2)),
      _UNKNOWN: ((32.0, 3.5), (36.6, 0.0), (36.8, 1.3)),
    },
  ),
}
_ABOUT = """\
Accuracies of LP-FT (Kumar et al., ICLR 2022, arXiv 2202.10054; tables 1 and 2
of the submission), with their 90 % interval over 3 runs by the normal
distribution, beside those of the chosen trials here. Theirs start from
{network}; batches, augmentation and choice of rates may differ, too."""
_AVERAGED = """\
 How its OOD sets were averaged into one number is not known, so that there is
none to put beside it."""


def section(
  lines: Sequence[results.Line], rows: Sequence[summary.Row]
) -> list[blocks.Block]:
  """The section of a report; [] where none of it was published."""
  suite, ours = LP_FT.get(lines[0]['suite']), {row.method: row for row in rows}
  if suite is None or not set(_METHODS) & set(ours):
    return []
  about = [_ABOUT.format(network=suite.network).replace('\n', ' ')]
  if _UNKNOWN in suite.sets:
    about.append(_AVERAGED.replace('\n', ' '))
  if lines[0]['weights'] != suite.weights:
    about += [' These trials start from ', blocks.Code(lines[0]['weights'])]
    about.append(', so that the numbers are not of the same thing.')
  body = []
  for name, published in suite.sets.items():
    for method, (mean, half) in zip(_METHODS, published, strict=True):
      here = _here(ours[method], name) if method in ours else summary.stat([])
      cells = [name, method, f'{mean:.1f} ± {half:.1f}']
      body.append([*cells, tables.spread(here, 100, 1)])
  header = ['set', 'method', 'published', 'here']
  return [
    blocks.Heading(2, ['Published numbers']),
    blocks.Paragraph(about),
    blocks.Table(header, body, {}, left=2),
  ]


def _here(row: summary.Row, name: str) -> summary.Stat:
  found = row.id_test if name == 'ID test' else row.ood.get(name)
  return found or summary.stat([])
