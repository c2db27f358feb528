"""What a prepared data set says that its features are, before it is believed.

  features.check(pathlib.Path('/data/cifar10/3.0.2'))

`tensorflow_datasets` imports the module of each feature that `features.json`
names.
"""

import json
import pathlib
import re

from daft_jax.data.published import layout

_FEATURES = 'features.json'
# TensorFlow Datasets imports the module of a feature, whichever is named.
_FEATURE = re.compile(r'tensorflow_datasets\.core\.features\.[A-Za-z_.]+')
# The JSON of older versions in that of today, in which are names once more.
_NESTED = ('json_feature', 'jsonFeature')


def check(folder: pathlib.Path) -> None:
  """Refuses features that are not those of TensorFlow Datasets itself.

  Their modules would be imported: also one that lies in the folder in which the
  program was started.

  Raises:
    ValueError: there is another, or the files are damaged.
  """
  for path in folder.glob('*.txt'):
    layout.read_text(path)  # lists of classes, which are read whole
  path = folder / _FEATURES
  try:
    waiting = [json.loads(layout.read_text(path))]
    if not isinstance(waiting[0], dict) or 'type' in waiting[0]:
      raise ValueError('it is not of TensorFlow Datasets 4')
    while waiting:
      value = waiting.pop()
      waiting += value if isinstance(value, list) else ()
      for key, inner in value.items() if isinstance(value, dict) else ():
        named = key in ('pythonClassName', 'python_class_name')
        known = not isinstance(inner, str) or _FEATURE.fullmatch(inner)
        if key in _NESTED or (named and not known):
          raise ValueError(f'{str(inner)[:100]!r} is no feature of images')
        waiting.append(inner)
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(
      f'{path} is damaged ({error}): prepare the data set again'
    ) from error
