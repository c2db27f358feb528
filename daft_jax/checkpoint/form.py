"""A training state as it is saved, and back.

saved = items(state)                    # {'model': ..., 'opt': ...}
state = like(state, jax.tree.leaves(saved))
"""

from typing import Any

import jax

from daft_jax import sharding

PyTree = Any


def items(state: Any) -> dict[str, PyTree]:
  """A state as it is saved."""
  rest = {'step': state.step, 'opt_state': state.opt_state}
  # Orbax cannot save a tree without leaves.
  rest |= {'extra': state.extra} if jax.tree.leaves(state.extra) else {}
  return {'model': state.variables, 'opt': rest}


def like(state: Any, leaves: list[Any]) -> Any:
  """What was read, each array where the one of `state` is."""
  wanted, structure = jax.tree.flatten(items(state))
  placed = [
    sharding.place(new, old.sharding)
    for new, old in zip(leaves, wanted, strict=True)
  ]
  found = jax.tree.unflatten(structure, placed)
  return state._replace(**found['model'], **found['opt'])
