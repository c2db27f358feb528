"""Shifted test sets that do not belong to the classes, or are none."""

import shutil

from tests.mistakes.folders import CLASSES, after, case, classes


def _ood(name, prepare, where, fix, given='night={tmp}/night'):
  ood = f'--config.data.ood={given}'
  return case(name, after(prepare), where, fix, ood)


OOD = [
  _ood(
    'an OOD folder that is not there',
    lambda tmp: classes(tmp / 'nights'),
    'config.data.ood: {tmp}/night does not exist',
    'Did you mean {tmp}/nights?',
  ),
  _ood(
    'an OOD folder without a name',
    lambda tmp: classes(tmp / 'night'),
    "config.data.ood is ('{tmp}/night',)",
    'name=FOLDER',
    given='{tmp}/night',
  ),
  _ood(
    'two OOD folders of one name',
    lambda tmp: classes(tmp / 'night'),
    'config.data.ood: two sets have one name',
    'name=FOLDER,other=FOLDER2',
    given='night={tmp}/night,night={tmp}/images',
  ),
  _ood(
    'an OOD folder called like a split',
    lambda tmp: classes(tmp / 'night'),
    "an OOD set cannot be called 'id_test'",
    'give another name',
    given='id_test={tmp}/night',
  ),
  _ood(
    'an OOD file',
    lambda tmp: (tmp / 'night').write_text(''),
    'config.data.ood: {tmp}/night is a file',
    'give a folder of class folders',
  ),
  _ood(
    'an OOD folder a level too low',
    lambda tmp: classes(tmp / 'night'),
    '{tmp}/night/cat holds 4 images but no folders',
    'put the images of each class in a folder',
    given='night={tmp}/night/cat',
  ),
  _ood(
    'OOD classes renamed',
    lambda tmp: classes(tmp / 'night', ('cats', 'dogs')),
    '{tmp}/night has 2 classes that train does not have (cats, dogs)',
    "Did you mean 'cat'?",
  ),
  _ood(
    'OOD classes as numbers',
    lambda tmp: classes(tmp / 'night', ('0', '1')),
    '{tmp}/night has 2 classes that train does not have (0, 1)',
    'Classes of train: cat, dog',
  ),
  _ood(
    'OOD classes exchanged',
    lambda tmp: [
      shutil.copytree(tmp / 'images' / a, tmp / 'night' / b)
      for a, b in (CLASSES, CLASSES[::-1])
    ],
    'images are in two splits',
    'Remove one of each',
  ),
  _ood(
    'OOD images that were trained on',
    lambda tmp: shutil.copytree(tmp / 'images', tmp / 'night'),
    'images are in two splits',
    'Remove one of each',
  ),
]
