"""Folders of images: of a wrong level, with wrong classes, with wrong files."""

import pathlib
import shutil
import zlib

import numpy as np
from PIL import Image

from tests.mistakes.case import Case

CLASSES = ('cat', 'dog')


def picture(path: pathlib.Path) -> None:
  """Writes an image that no other path has."""
  path.parent.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(zlib.crc32(path.name.encode()))
  Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(path)


def classes(folder, names=CLASSES, count=4, suffix='.png'):
  """A folder of class folders, with images."""
  prefix = '_'.join(folder.parts[-2:])
  for name in names:
    for i in range(count):
      picture(folder / name / f'{prefix}_{name}_{i}{suffix}')


def _split(tmp, train=CLASSES, val=CLASSES, test=CLASSES):
  for part, names in (('train', train), ('val', val), ('test', test)):
    classes(tmp / 'images' / part, names)


def _plain(tmp, more=lambda tmp: None):
  classes(tmp / 'images')
  more(tmp)


def after(more):
  return lambda tmp: _plain(tmp, more)


def _copy(source, target):
  def copy(tmp):
    _split(tmp)
    shutil.copy(*(_numbered(tmp, x) for x in (source, target)))

  return copy


def _numbered(tmp, name):
  """'train/cat' is its first image; what is no class there is a new file."""
  part, label, *new = name.split('/')
  folder = tmp / 'images' / part / label
  return folder / new[0] if new else sorted(folder.iterdir())[0]


def _empty_class(tmp):
  (tmp / 'images' / 'bird').mkdir()
  (tmp / 'images' / 'bird' / 'notes.txt').write_text('none yet')


def _other_suffix(tmp):
  for label in CLASSES:
    (tmp / 'images' / label).mkdir(parents=True)
    (tmp / 'images' / label / '0.gif').write_bytes(b'GIF89a')


def _spoil(tmp):
  for path in sorted((tmp / 'images').rglob('*.png'))[::3]:
    path.write_bytes(path.read_bytes()[:40])


def _text(tmp):
  (tmp / 'images' / 'cat' / 'page.jpg').write_bytes(b'<html>404</html>')


def case(name, prepare, where, fix, *more, root='{tmp}/images'):
  args = ('--config.backbone=resnet14_cifar', '--config.mesh.data=1')
  if root:
    args += (f'--config.data.root={root}',)
  return Case(
    name, (*args, *more), where, fix, config='folder.py', prepare=prepare
  )


ROOTS = [
  case('no root', _plain, 'config.data.root', '--config.data.root', root=''),
  case(
    'a misspelt root',
    _plain,
    'config.data.root: {tmp}/imags does not exist',
    'Did you mean {tmp}/images?',
    root='{tmp}/imags',
  ),
  case(
    'a file for a root',
    lambda tmp: (tmp / 'images').write_text(''),
    'config.data.root: {tmp}/images is a file',
    'give a folder of class folders',
  ),
  case(
    'data.dir for a root',
    _plain,
    'config.data.dir: ',
    '--config.data.root=FOLDER',
    '--config.data.dir={tmp}/images',
    root='',
  ),
  case(
    'a level too low',
    _plain,
    '{tmp}/images/cat holds 4 images but no folders',
    'put the images of each class in a folder',
    root='{tmp}/images/cat',
  ),
  case(
    'a level too high',
    lambda tmp: [classes(tmp / x / 'images') for x in ('a', 'b')],
    '{tmp} has 2 folders and no image in any of them',
    'Did you mean {tmp}/a?',
    root='{tmp}',
  ),
  case(
    'a level too high, of one folder',
    _plain,
    '{tmp} has one class folder (images)',
    'Did you mean {tmp}/images?',
    root='{tmp}',
  ),
  case(
    'the folder of one split',
    lambda tmp: classes(tmp / 'images' / 'test'),
    '{tmp}/images has test, taken for splits, but no train',
    'Keep train, val and test alone in it',
  ),
  case(
    'an empty root',
    lambda tmp: (tmp / 'images').mkdir(),
    '{tmp}/images holds nothing but no folders',
    'put the images of each class',
  ),
  case(
    'an empty class',
    after(_empty_class),
    '1 of 3 class folders in {tmp}/images have no image (bird)',
    'add images',
  ),
  case(
    'images of another format',
    _other_suffix,
    '{tmp}/images has 2 folders and no image in any of them',
    'They have .gif, and what is read is .jpg',
  ),
  case(
    'a single class',
    lambda tmp: classes(tmp / 'images', ('cat',)),
    '{tmp}/images has one class folder (cat)',
    'give the folder that holds the folders of all classes',
  ),
  case(
    'too few images to split',
    lambda tmp: classes(tmp / 'images', count=2),
    'too few images to part into train, id_val and id_test: cat (2), dog (2)',
    'Add images',
  ),
  case(
    'classes beside splits',
    lambda tmp: (_split(tmp), classes(tmp / 'images', ('bird',))),
    '{tmp}/images has train, val, test, taken for splits, and also bird',
    'rename a class',
  ),
  case(
    'two folders for one split',
    lambda tmp: (_split(tmp), classes(tmp / 'images' / 'valid')),
    '{tmp}/images has val, valid, all of which mean id_val',
    'keep one',
  ),
  case(
    'a class in val but not in train',
    lambda tmp: _split(tmp, val=(*CLASSES, 'bird')),
    '{tmp}/images/val has 1 classes that train does not have (bird)',
    'Classes of train: cat, dog',
  ),
  case(
    'a class in test, written otherwise',
    lambda tmp: _split(tmp, test=('Cat', 'dog')),
    '{tmp}/images/test has 1 classes that train does not have (Cat)',
    "Did you mean 'cat'?",
  ),
  case(
    'one image in train and test',
    _copy('train/cat', 'test/cat/same.png'),
    '1 images are in two splits',
    'Remove one of each',
  ),
  case(
    'one image in train and val',
    _copy('train/dog', 'val/dog/same.png'),
    '{tmp}/images/val/dog/same.png (id_val)',
    'Remove one of each',
  ),
  case(
    'one image in two classes',
    _copy('train/cat', 'train/dog/same.png'),
    '1 images are in two classes',
    'Remove one of each',
  ),
  case(
    'damaged images',
    after(_spoil),
    '3 of 8 image files cannot be read',
    "set config.data.bad_files to 'skip'",
  ),
  case(
    'a page with the name of an image',
    after(_text),
    '{tmp}/images/cat/page.jpg',
    'Mend or remove them',
  ),
  case(
    'selection of the paper',
    _plain,
    'config.selection: ',
    "say 'val'",
    '--config.selection=paper',
  ),
  case(
    'a workdir among the images',
    _plain,
    '--workdir {tmp}/images/run is inside {tmp}/images',
    'give a folder elsewhere',
    '--workdir={tmp}/images/run',
  ),
]
