"""What all trials of an experiment share: a pretrained model and its data.

task = Task(suite='digits', ..., model=model, variables=variables, ...)
for batch in task.train_batches(seed=0, epoch=0):
  ...
task.evaluate(variables, 'id_val').metrics['accuracy']
task.reference('id_test')         # the pretrained model's features, once
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from daft_jax import bn, evaluate, sharding, shards, signals, trees
from daft_jax.bn import estimators, outputs
from daft_jax.data import pipeline
from daft_jax.data.feed import Feed
from daft_jax.data.mixing import Mixing
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.recipe import Examples, Recipe
from daft_jax.data.records import DataError
from daft_jax.data.suites import Summary
from daft_jax.sharding import Rules
from daft_jax.train.parts import WHOLE, Parts

PyTree = Any

SAMPLE = 128  # images whose layers are compared, and whose features are kept


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
    rules: how parameters in training are split over it.
    batch_size: of training.
    parts: in which a training step computes a batch.
    eval_batch_size: of everything else; accuracies do not depend on it.
    recipe: how training images are varied.
    classes: their names, in the order of the labels.
    mix: mixup and cutmix.
    subsets: sets of fewer classes, where only those compete.
    summaries: name -> one number of several OOD sets.
    residency: where the images stay, see `data.residency`.
    workers, timeout: of the processes that read images, see `data.workers`.
    notes: what the user should know of the images, a line each.
    data_sha256: of images that are not the package's.
  """

  suite: str
  backbone: str
  weights: str
  num_classes: int
  model: Any
  variables: PyTree
  preprocess: Preprocess
  sets: Mapping[str, Examples]
  ood: tuple[str, ...]
  mesh: Any
  batch_size: int
  eval_batch_size: int
  recipe: Recipe
  classes: tuple[str, ...] = ()
  rules: Rules = ()
  parts: Parts = WHOLE
  mix: Mixing = Mixing()
  subsets: tuple[str, ...] = ()
  summaries: Mapping[str, Summary] = dataclasses.field(default_factory=dict)
  residency: str = 'host'
  workers: int | None = None
  timeout: float = 120.0
  notes: tuple[str, ...] = ()
  data_sha256: str = ''

  @property
  def tests(self) -> tuple[str, ...]:
    """The sets a trial is tested on."""
    return ('id_test', *self.ood)

  @property
  def steps_per_epoch(self) -> int:
    return pipeline.steps_per_epoch(len(self.sets['train']), self.batch_size)

  @functools.cached_property
  def feed(self) -> Feed:
    """The sets as batches on the devices."""
    return Feed(
      self.sets,
      self.preprocess,
      self.recipe,
      self.mesh,
      residency=self.residency,
      mix=self.mix,
      workers=self.workers,
      timeout=self.timeout,
    )

  def train_batches(
    self, seed: int, epoch: int, *, batch_size: int | None = None
  ) -> Iterator[dict[str, Any]]:
    """One epoch of augmented training images, with 'mask'."""
    size = batch_size or self.batch_size
    return self.feed.train(seed=seed, epoch=epoch, batch_size=size)

  def step_batches(
    self, seed: int, epoch: int, first: int = 0
  ) -> Iterator[dict[str, Any]]:
    """The same as training steps take them, see `Feed.steps`."""
    return self.feed.steps(
      seed=seed, epoch=epoch, batch_size=self.batch_size, first=first
    )

  def evaluate_batches(
    self, variables: PyTree, batches: Iterable[dict[str, Any]], **options: Any
  ) -> evaluate.Evaluation:
    """`evaluate.evaluate` on any batches; options are its keywords."""
    return evaluate.evaluate(
      self.model,
      variables,
      batches,
      self.mesh,
      elastic=self.parts.elastic,
      **options,
    )

  def evaluate(
    self, variables: PyTree, name: str, **options: Any
  ) -> evaluate.Evaluation:
    """Evaluates variables on one of the sets; see `evaluate_batches`."""
    among = None
    if name in self.subsets:
      there = np.unique(self.sets[name].labels)
      among = np.isin(np.arange(self.num_classes), there)
    batches = self.feed.test(name, batch_size=self.eval_batch_size)
    return self.evaluate_batches(variables, batches, among=among, **options)

  def bn_moments(
    self, variables: PyTree, *, seed: int, estimator: str = 'pooled'
  ) -> dict[str, bn.BNMoments]:
    """`bn.bn_moments` on the training images as a seed's first epoch has them.

    Those of the pretrained model are kept, whatever its head: other trials of
    the seed begin with the same.

    Raises:
      ValueError: there is no BatchNorm, or moments cannot be told.
    """
    key = seed, estimator
    pretrained = _have_one_backbone(variables, self.variables)
    if pretrained and key in self._moments:
      return self._moments[key]
    size = self.eval_batch_size if estimator == 'pooled' else self.batch_size
    batches = self.train_batches(seed, 0, batch_size=size)
    found = estimators.estimate(
      self.model,
      evaluate.on_mesh(variables, self.mesh),
      (sharding.shard_batch(batch, self.mesh) for batch in _checked(batches)),
      estimator,
      {},
      shards.Each(self.mesh) if self.parts.elastic else None,
    )
    if pretrained:
      self._moments[key] = found
    return found

  def reference(self, name: str) -> np.ndarray:
    """Features of the pretrained model on a set, float32 [n, D]; kept.

    Of several processes each has those of its own rows, see `evaluate`.
    """
    if name not in self._references:
      found = self.evaluate(self.variables, name)
      self._references[name] = found.features
    return self._references[name]

  def forget(self, name: str) -> None:
    """Lets go of what `reference` and `reference_layers` kept."""
    self._references.pop(name, None)
    self._layers.pop(name, None)

  def sample_rows(self, name: str) -> np.ndarray:
    """At most `SAMPLE` images of a set, ascending, the same in every trial.

    They are drawn by a fixed seed: sets may be sorted by class.
    """
    count = len(self.sets[name])
    rng = np.random.default_rng(0)
    return np.sort(rng.choice(count, min(count, SAMPLE), replace=False))

  def layers(self, variables: PyTree, name: str) -> dict[str, np.ndarray]:
    """Outputs of every BatchNorm and stage on a sample of a set.

    Returns:
      name -> float32 [n, C], averaged over space, in the order of the forward
      pass.
    """
    images = self.feed.sample(name, self.sample_rows(name))
    step = outputs.get_step(self.model)
    variables = evaluate.on_mesh(variables, self.mesh)
    return outputs.unpack(step(variables, images))

  def reference_layers(self, name: str) -> dict[str, np.ndarray]:
    """The same of the pretrained model; kept."""
    if name not in self._layers:
      self._layers[name] = self.layers(self.variables, name)
    return self._layers[name]

  @functools.cached_property
  def moments(self) -> dict[str, bn.BNMoments]:
    """Of every BatchNorm of the pretrained model, on the training images.

    Empty for a model that has none, or one whose moments cannot be told: to
    convert it is refused, to measure it otherwise is not.
    """
    try:
      return self.bn_moments(self.variables, seed=0)
    except DataError:  # It is a ValueError, but says that images are gone.
      raise
    except ValueError:
      return {}

  @functools.cached_property
  def _layers(self) -> dict[str, dict[str, np.ndarray]]:
    return {}

  @functools.cached_property
  def _references(self) -> dict[str, np.ndarray]:
    return {}

  @functools.cached_property
  def _moments(self) -> dict[tuple[int, str], dict[str, bn.BNMoments]]:
    return {}


def _have_one_backbone(variables: PyTree, others: PyTree) -> bool:
  """Whether all but the heads are the very same arrays."""
  first, second = (
    trees.flatten(trees.split(each, '^params/head/')[1])
    for each in (variables, others)
  )
  return first.keys() == second.keys() and all(
    first[path] is second[path] for path in first
  )


def _checked(
  batches: Iterable[dict[str, Any]],
) -> Iterator[dict[str, Any]]:
  for batch in batches:
    signals.check()
    yield batch
