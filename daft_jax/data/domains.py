"""Benchmarks of folders, one a domain: any can be trained on.

from daft_jax.data.domains import DOMAINS
DOMAINS['pacs'].domains        # {'photo': 'photo', ...}: name -> folder
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Domains:
  """A benchmark of folders of class folders, one a domain.

  Attributes:
    name: its key in `DOMAINS`.
    folders: names that its folder has been given, the usual one first.
    domains: name -> folder.
    id: the domain that is trained on unless config.data.domain says another.
  """

  name: str
  folders: tuple[str, ...]
  domains: Mapping[str, str]
  id: str


DOMAINS: dict[str, Domains] = {
  row.name: row
  for row in (
    Domains(
      'pacs',
      ('PACS', 'pacs', 'kfold'),
      {x: x for x in ('photo', 'art_painting', 'cartoon', 'sketch')},
      'photo',
    ),
    Domains(
      'office_home',
      ('OfficeHomeDataset_10072016', 'office_home', 'OfficeHome'),
      {
        'art': 'Art',
        'clipart': 'Clipart',
        'product': 'Product',
        'real_world': 'Real World',
      },
      'real_world',
    ),
    Domains(
      'vlcs',
      ('VLCS', 'vlcs'),
      {
        'caltech101': 'Caltech101',
        'labelme': 'LabelMe',
        'sun09': 'SUN09',
        'voc2007': 'VOC2007',
      },
      'voc2007',
    ),
  )
}
