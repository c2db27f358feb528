"""Pytrees seen as flat dictionaries of paths.

A path joins the keys of a leaf with '/': `params/layer1_0/bn1/scale`. Regular
expressions over such paths say which parameters train, decay or load.

  trained, frozen = trees.split(params, '^head/')
  params = trees.merge(trained, frozen)
"""

import re
from collections.abc import Callable
from typing import Any

import jax

PyTree = Any


def path_str(key_path: tuple[Any, ...]) -> str:
  """Joins a JAX key path: `(DictKey('a'), DictKey('b'))` gives `'a/b'`."""
  return jax.tree_util.keystr(key_path, simple=True, separator='/')


def flatten(tree: PyTree) -> dict[str, Any]:
  """Returns `{path: leaf}` in the order of `jax.tree.leaves`."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {path_str(path): leaf for path, leaf in leaves}


def map_with_path(fn: Callable[[str, Any], Any], tree: PyTree) -> PyTree:
  """Maps `fn(path, leaf)` over a tree; the structure is kept."""
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: fn(path_str(path), leaf), tree
  )


def unflatten(leaves: dict[str, Any], like: PyTree) -> PyTree:
  """Puts `{path: leaf}` into the structure of `like`.

  Raises:
    KeyError: a path of `like` is not in `leaves`.
  """
  return map_with_path(lambda path, _: leaves[path], like)


def split(tree: PyTree, pattern: str) -> tuple[PyTree, PyTree]:
  """Parts a tree in two by `re.search(pattern, path)`.

  Both parts keep the structure of `tree`, with `None` (an empty subtree for
  JAX) where the leaf is in the other one, so either can be differentiated.

  Example:
    >>> split({'head': 1, 'stem': 2}, '^head')
    ({'head': 1, 'stem': None}, {'head': None, 'stem': 2})
  """
  found = re.compile(pattern).search
  yes = map_with_path(lambda p, leaf: leaf if found(p) else None, tree)
  no = map_with_path(lambda p, leaf: None if found(p) else leaf, tree)
  return yes, no


def merge(first: PyTree, second: PyTree) -> PyTree:
  """Undoes `split`: takes each leaf from the part that has it."""
  return jax.tree.map(
    lambda a, b: b if a is None else a,
    first,
    second,
    is_leaf=lambda x: x is None,
  )
