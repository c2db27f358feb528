"""The figures of a report, each a row: drawn once, shown in every format.

  for drawing, figure in figures.drawn(collect.collect(['/tmp/digits'])):
    print(drawing.file, drawing.title)
    results.atomic_write(output / drawing.file, render.png(figure))

A new figure is a function that takes what was collected and returns a
matplotlib `Figure`, or None where there is nothing to draw, and a row here.
"""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from daft_jax.report import collect
from daft_jax.report.figures import (
  curves,
  distortion,
  embedding,
  layers,
  reliability,
  scatter,
)


class Drawing(NamedTuple):
  """A figure of the report.

  Attributes:
    name: of its file, without the ending.
    title: the heading over it, plain text.
    alt: what it shows, in a line, for who cannot see it.
    caption: how to read it, plain text.
    draw: returns a Figure in the look of `look.new`, or None; may raise a
      `results.ResultsError` for a damaged file.
  """

  name: str
  title: str
  alt: str
  caption: str
  draw: Callable[[collect.Collected], Any]

  @property
  def file(self) -> str:
    """The name of its PNG, which lies beside the report."""
    return f'{self.name}.png'


FIGURES = (
  Drawing(
    'ood_against_id',
    'OOD against ID accuracy',
    'OOD against ID test accuracy of every trial',
    'A point is a trial. Filled: the chosen rates; large: their mean, with '
    'bars of its 90 % interval over seeds. A line joins the means of a '
    'method at one head rate, in the order of its learning rate.',
    scatter.draw,
  ),
  Drawing(
    'learning_curves',
    'Learning curves',
    'Training loss and ID validation accuracy of every epoch',
    'Chosen trials, a line a seed. The point is the epoch that was chosen, '
    'whose variables all other numbers are of. The loss is that of the '
    'augmented images, averaged while the epoch trains.',
    curves.draw,
  ),
  Drawing(
    'reliability',
    'Calibration',
    'Accuracy against confidence, and how many images have it',
    'Above: accuracy of the images of a confidence (largest softmax '
    'probability), in 15 bins; on the dashed line a method is right as often '
    'as it is sure, below it is too sure. Bins of fewer than 10 images are '
    'left out. Below: how many images have a confidence. Chosen trials, seeds '
    'together, OOD sets together.',
    reliability.draw,
  ),
  Drawing(
    'feature_distortion',
    'How far the features moved',
    'Histograms of cosine and L2 distortion',
    'Cosine and L2 distance between the features of an image before and after '
    'fine-tuning; chosen trials, seeds together, OOD sets together. Up to '
    '0.2 % of the images at either end may lie outside.',
    distortion.draw,
  ),
  Drawing(
    'layer_distortion',
    'What moved, layer by layer',
    'Relative L2, cosine and CKA of the outputs of every layer',
    'Outputs of every BatchNorm and stage, averaged over space, against those '
    'of the pretrained model on the same images (up to 128 of a set): relative '
    'L2 distance, mean cosine, unbiased linear CKA. Chosen trials, mean over '
    'seeds and over OOD sets.',
    layers.draw_moved,
  ),
  Drawing(
    'bn_shift',
    'BatchNorm before training',
    'How far the training images are from the pretrained statistics',
    'What BatchNorm statistics would jump by at the first training step: mean '
    'over channels of |mean - pretrained mean| / pretrained deviation, and '
    'geometric mean of the ratio of the deviations, for every BatchNorm.',
    layers.draw_shift,
  ),
  Drawing(
    'features_pca',
    'Features, PCA',
    'Features of some images along two axes, a panel for each method',
    'Features of up to 256 images of the ID test set and the first OOD sets, '
    'along the two main axes of the pretrained features, in every panel the '
    'same. Colours are classes. Chosen trials, first seed.',
    embedding.draw_pca,
  ),
  Drawing(
    'features_tsne',
    'Features, t-SNE',
    'Features of some images by t-SNE, a panel for each method',
    'The same features by t-SNE (perplexity 30), each panel for itself: '
    'neighbours are near, distances between groups mean nothing.',
    embedding.draw_tsne,
  ),
)


def drawn(found: collect.Collected) -> Iterator[tuple[Drawing, Any]]:
  """Yields those figures that there is something for, one at a time.

  Nothing where matplotlib is not installed.
  """
  if importlib.util.find_spec('matplotlib') is None:
    return
  for drawing in FIGURES:
    figure = drawing.draw(found)
    if figure is not None:
      yield drawing, figure
