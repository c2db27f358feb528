"""What all trials of an experiment share: a pretrained model and its data.

task = Task(suite='digits', ..., model=model, variables=variables, ...)
for batch in task.train_batches(seed=0, epoch=0):
  ...
task.evaluate(variables, 'id_val').metrics['accuracy']
task.reference('id_test')         # the pretrained model's features, once
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from daft_jax import evaluate
from daft_jax.data import pipeline
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.sources import ImageSet

PyTree = Any


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
  """A pretrained model, a benchmark, and how its images are fed.

  Attributes:
    suite, backbone, weights: names, for the results.
    num_classes: of the head.
    model: linen module; `apply(variables, images, train=...)` returns logits
      and a dict with 'pre_logits'; its classifier is `params/head`.
    variables: the pretrained {'params', 'batch_stats'}; never changed.
    preprocess: uint8 images -> what the model expects.
    sets: 'train', 'id_val', 'id_test' and every OOD set.
    ood: names of the OOD sets, in order.
    mesh: from `sharding.make_mesh`.
    batch_size: of training.
    eval_batch_size: of everything else; accuracies do not depend on it.
    augment: name of the training augmentation.
    classes: their names, in the order of the labels.
    notes: what the user should know of the images, a line each.
    data_sha256: of images that came from a folder.
  """

  suite: str
  backbone: str
  weights: str
  num_classes: int
  model: Any
  variables: PyTree
  preprocess: Preprocess
  sets: Mapping[str, ImageSet]
  ood: tuple[str, ...]
  mesh: Any
  batch_size: int
  eval_batch_size: int
  augment: str
  classes: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()
  data_sha256: str = ''

  @property
  def tests(self) -> tuple[str, ...]:
    """The sets a trial is tested on."""
    return ('id_test', *self.ood)

  @property
  def steps_per_epoch(self) -> int:
    return pipeline.steps_per_epoch(len(self.sets['train']), self.batch_size)

  def train_batches(
    self, seed: int, epoch: int, *, batch_size: int | None = None
  ) -> Iterator[dict[str, np.ndarray]]:
    """One epoch of augmented training batches, with 'mask'."""
    return pipeline.train_batches(
      self.sets['train'],
      self.preprocess,
      batch_size=batch_size or self.batch_size,
      seed=seed,
      epoch=epoch,
      augment=self.augment,
    )

  def full_batches(
    self, seed: int, epoch: int
  ) -> Iterator[dict[str, np.ndarray]]:
    """`train_batches` for the training step.

    Without 'mask' where no batch is ever padded: BatchNorm is faster so, and
    as all batches of a run have the same keys the step compiles once.
    """
    padded = len(self.sets['train']) % self.batch_size != 0
    for batch in self.train_batches(seed, epoch):
      if not padded:
        del batch['mask']
      yield batch

  def evaluate(self, variables: PyTree, name: str) -> evaluate.Evaluation:
    """Evaluates variables on one of the sets."""
    batches = pipeline.eval_batches(
      self.sets[name], self.preprocess, batch_size=self.eval_batch_size
    )
    return evaluate.evaluate(self.model, variables, batches, self.mesh)

  def reference(self, name: str) -> np.ndarray:
    """Features of the pretrained model on a set, float32 [N, D]; kept."""
    if name not in self._references:
      found = self.evaluate(self.variables, name)
      self._references[name] = found.features
    return self._references[name]

  @functools.cached_property
  def _references(self) -> dict[str, np.ndarray]:
    return {}
