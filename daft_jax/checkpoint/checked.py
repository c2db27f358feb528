"""One checkpoint: a folder of items (pytrees) that Orbax writes, checked.

  write(folder, {'model': variables}, of='0_ft/3', about={'id_val': 0.9})
  found = read(folder, {'model': None}, of='0_ft/3')

It is there when its name is there, with its manifest and on the disk, and
what comes back are the bits that went in, or an error.
"""

import concurrent.futures
import contextlib
import logging
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

from daft_jax import processes, sharding, trees
from daft_jax.checkpoint import folders
from daft_jax.checkpoint import manifest as manifests
from daft_jax.checkpoint.manifest import (
  CheckpointError,
  DamagedCheckpoint,
  Leaf,
  Manifest,
)

PyTree = Any


def snapshot(tree: PyTree) -> PyTree:
  """Arrays on the host that stay as they are, whatever becomes of `tree`.

  On CPU they are views, at no cost: an array that is looked at is not
  overwritten when it is donated, JAX takes a copy instead. What is split over
  devices is put together. Of several processes all have to call it, and the
  first one, which writes, gets something.
  """

  writes = processes.is_first()

  def local(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array):
      return leaf
    # What `leaf` itself gives it keeps, and so could never be donated again.
    found = sharding.whole(leaf).addressable_data(0)
    # At once, as devices that share parameters have no room for all of them.
    at_once = writes and not leaf.is_fully_replicated
    return jax.device_get(found) if at_once else found

  leaves, structure = jax.tree.flatten(tree)
  found = [local(leaf) for leaf in leaves]
  if not writes:
    return None
  whole = [
    np.array(now) if isinstance(leaf, np.ndarray) else np.asarray(now)
    for leaf, now in zip(leaves, jax.device_get(found), strict=True)
  ]
  return jax.tree.unflatten(structure, whole)


def write(
  folder: pathlib.Path,
  items: Mapping[str, PyTree],
  *,
  of: str,
  about: dict[str, Any],
) -> Manifest:
  """Saves items (from `snapshot`), whole or not at all.

  The order is data, manifest, disk, name: what has its name has all of it.
  Hashes are taken while Orbax, and then the disk, is waited for.

  Raises:
    CheckpointError: no space, for example; what was there before still is.
  """
  _check_space(folder, items)
  temporary = None
  try:
    temporary = folders.begin(folder)
    with _quiet(), concurrent.futures.ThreadPoolExecutor(1) as other:
      leaves = other.submit(manifests.hash_leaves, items)
      for name, tree in items.items():
        with _checkpointer(_writer()) as checkpointer:
          checkpointer.save(temporary / name, args=ocp.args.PyTreeSave(tree))
      files = other.submit(manifests.hash_new_files, temporary)
      folders.flush_all(temporary)
    found = Manifest(of, about, leaves.result(), files.result())
    manifests.write(temporary, found)
    folders.finish(temporary, folder)
  except Exception as error:
    if temporary:  # Make room at once: the disk may be full.
      shutil.rmtree(temporary, ignore_errors=True)
    raise CheckpointError(
      f'{folder} cannot be saved ({_short(error)}). What was saved before is '
      'intact: put that right, for example make room on the disk, and run the '
      'same command again'
    ) from error
  return found


def read(
  folder: pathlib.Path, wanted: Mapping[str, PyTree | None], *, of: str
) -> dict[str, PyTree]:
  """Reads items: arrays on the host.

  Args:
    folder: what `write` wrote.
    wanted: item -> a tree of the form it must have; None: nested dicts as
      they were saved.
    of: as in `write`.

  Raises:
    DamagedCheckpoint: it does not hold what was saved.
    CheckpointError: it does, but not what is wanted.
  """
  manifest = manifests.read(folder, of=of)
  strange = manifests.foreign(folder, manifest)
  if strange:  # Not even its leaves are looked at.
    raise DamagedCheckpoint(folder, strange)
  wrong = manifests.check_files(folder, manifest)
  if wrong:
    raise DamagedCheckpoint(folder, wrong, _damaged_leaves(folder, manifest))
  found = {}
  for name, like in wanted.items():
    saved = {
      path.removeprefix(f'{name}/'): leaf
      for path, leaf in manifest.leaves.items()
      if path.startswith(f'{name}/')
    }
    abstract = _abstract(_nested(saved) if like is None else like)
    _check_form(folder, name, saved, abstract)
    try:
      reader = ocp.StandardCheckpointHandler(multiprocessing_options=_alone())
      with _checkpointer(reader) as checkpointer:
        tree = checkpointer.restore(
          folder / name, args=ocp.args.StandardRestore(abstract)
        )
    except Exception as error:
      # Memory, or another Orbax: no reason to set a good step aside.
      raise CheckpointError(
        f'{folder} is as it was saved, but cannot be read: {_short(error)}'
      ) from error
    back = manifests.hash_leaves({name: tree})
    bad = [k for k, leaf in back.items() if leaf != manifest.leaves[k]]
    if bad:
      raise DamagedCheckpoint(folder, {}, bad)
    found[name] = tree
  return found


def _check_space(folder: pathlib.Path, items: Mapping[str, PyTree]) -> None:
  """Refuses to begin what has no room: said in time, and in one line."""
  needed = sum(leaf.nbytes for leaf in jax.tree.leaves(items))
  folder.parent.mkdir(parents=True, exist_ok=True)
  free = shutil.disk_usage(folder.parent).free
  if free < needed:
    raise CheckpointError(
      f'{folder} cannot be saved: it needs {needed / 1e6:,.1f} MB, and the '
      f'disk has no more than {free / 1e6:,.1f} MB of free space. What was '
      'saved before is intact: make room and run the same command again'
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps the pages that Orbax logs of an error off the screen.

  The error itself is raised, too. (Filters do nothing to this logger.)
  """
  logger = logging.getLogger('absl')
  before = logger.level
  logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    logger.setLevel(before)


def _writer() -> ocp.PyTreeCheckpointHandler:
  """Writes what `StandardCheckpointHandler` reads, at half of its CPU time.

  Compressed, parameters are 8 % smaller and take as long again, on the cores
  that prepare the next batches.
  """
  return ocp.PyTreeCheckpointHandler(
    use_compression=False, multiprocessing_options=_alone()
  )


def _checkpointer(handler: Any) -> ocp.Checkpointer:
  return ocp.Checkpointer(handler, multiprocessing_options=_alone())


def _alone() -> ocp.options.MultiprocessingOptions:
  """Of several processes the one that reads or writes waits for no other."""
  if not processes.several():
    return ocp.options.MultiprocessingOptions()
  me = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=me, active_processes={me}, barrier_sync_key_prefix=f'of{me}'
  )


def _short(error: Exception) -> str:
  """An error in a line: those of TensorStore have pages, the cause last."""
  text = str(error).strip().partition('\n')[0].partition(' [')[0]
  text = text if len(text) < 300 else f'{text[:100]} ... {text[-180:]}'
  return text or type(error).__name__


def _abstract(tree: PyTree) -> PyTree:
  """Arrays of the form of those in a tree that take no memory."""
  return jax.tree.map(
    lambda leaf: np.broadcast_to(
      np.zeros((), np.dtype(leaf.dtype)), tuple(leaf.shape)
    ),
    tree,
    is_leaf=lambda node: isinstance(node, Leaf),
  )


def _nested(leaves: Mapping[str, Leaf | None]) -> PyTree:
  """{'a/b': leaf} as {'a': {'b': leaf}}; None is an empty dict."""
  tree: dict[str, Any] = {}
  for path, leaf in leaves.items():
    node, (*parents, last) = tree, path.split('/')
    for key in parents:
      node = node.setdefault(key, {})
    node[last] = {} if leaf is None else leaf
  return tree


def _check_form(
  folder: pathlib.Path,
  name: str,
  saved: Mapping[str, Leaf | None],
  wanted: PyTree,
) -> None:
  """Refuses to read what is intact, but of another shape."""

  def form(leaf: Any) -> str:
    return f'{leaf.dtype}{list(leaf.shape)}'

  there = {path: form(leaf) for path, leaf in saved.items() if leaf}
  here = {path: form(leaf) for path, leaf in trees.flatten(wanted).items()}
  for path in sorted(there.keys() | here.keys()):
    if there.get(path) != here.get(path):
      raise CheckpointError(
        f'{folder} is of another model or optimizer: {name}/{path} is '
        f'{there.get(path, "not there")} in it, '
        f'{here.get(path, "nothing")} is wanted'
      )


def _damaged_leaves(folder: pathlib.Path, manifest: Manifest) -> list[str]:
  """The leaves that damaged files took with them."""
  bad = []
  for path, leaf in manifest.leaves.items():
    name, _, key = path.partition('/')
    if leaf is None:
      continue
    try:
      intact = _peek(folder / name, key, leaf) == leaf
    except Exception:  # whatever TensorStore makes of damage
      intact = False
    bad += [] if intact else [path]
  return bad


def _peek(folder: pathlib.Path, path: str, like: Leaf) -> Leaf | None:
  """Hashes one leaf as it lies on the disk, without Orbax.

  Orbax fails as a whole, and does not always say at which leaf.
  """
  spec = {
    'driver': 'zarr',
    'kvstore': {
      'driver': 'ocdbt',
      'base': f'file://{folder}/',
      'path': path.replace('/', '.') + '/',
    },
  }
  store = tensorstore.open(spec, open=True, read=True).result()
  # Before memory is taken: the shape may be what is damaged.
  if list(store.shape) != like.shape:
    return None
  return manifests.hash_leaf(store.read().result())
