"""Finds the files that the packages of the extra `demo` bring along.

A package is located, never imported: matplotlib and scikit-learn take longer
to import than their data takes to read.

  demo.package_folder('matplotlib', 'matplotlib', 'glyphs')
"""

import importlib.util
import pathlib


def package_folder(module: str, distribution: str, source: str) -> pathlib.Path:
  """Returns the folder of an installed package without importing it.

  Args:
    module: name by which it is imported, e.g. 'sklearn'.
    distribution: name by which it is installed, e.g. 'scikit-learn'.
    source: the data source that needs it, for the message.

  Raises:
    ModuleNotFoundError: the package is not installed.
  """
  spec = importlib.util.find_spec(module)
  if spec is None or not spec.submodule_search_locations:
    raise ModuleNotFoundError(
      f'the source {source!r} needs {distribution}: '
      "pip install 'daft_jax[demo]'",
      name=module,
    )
  return pathlib.Path(spec.submodule_search_locations[0])
