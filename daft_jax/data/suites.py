"""The benchmarks, as data: which source each of their splits is.

A split is named by a source string, `<source>:<part>`, that
`daft_jax.data.sources.load` turns into images. A new benchmark is a new row.

  from daft_jax.data.suites import SUITES
  SUITES['digits'].ood           # {'mnist': 'mnist:test'}
"""

import dataclasses
import string


@dataclasses.dataclass(frozen=True)
class Suite:
  """One benchmark.

  Attributes:
    name: its key in `SUITES`.
    num_classes: how many classes the head has.
    classes: their names, in the order of the labels.
    train: source of the training images (ID).
    id_val: source by which learning rates and epochs are chosen (ID).
    id_test: source of the ID test accuracy.
    ood: name -> source of the shifted test sets that every trial reports.
    image_size: height and width in pixels.
    augment: name of the training augmentation, see `augment.AUGMENTATIONS`.
    more_ood: name -> source of further shifted test sets, which are evaluated
      only on request (`config.eval_only`).
  """

  name: str
  num_classes: int
  classes: tuple[str, ...]
  train: str
  id_val: str
  id_test: str
  ood: dict[str, str]
  image_size: int
  augment: str
  more_ood: dict[str, str] = dataclasses.field(default_factory=dict)


_DIGITS = tuple(string.digits)
_CHARACTERS = _DIGITS + tuple(string.ascii_uppercase + string.ascii_lowercase)

SUITES: dict[str, Suite] = {
  suite.name: suite
  for suite in (
    # Handwritten digits: trained on the scans of UCI, tested also on MNIST.
    Suite(
      name='digits',
      num_classes=10,
      classes=_DIGITS,
      train='digits:train',
      id_val='digits:val',
      id_test='digits:test',
      ood={'mnist': 'mnist:test'},
      image_size=24,
      augment='shift',
      more_ood={
        'mnist_inverted': 'mnist_inverted:test',
        'digits_noise': 'digits_noise:test',
      },
    ),
    # Printed characters, then typefaces that were never trained on. The
    # pretrained model of the embedded default is trained on this one.
    Suite(
      name='glyphs',
      num_classes=62,
      classes=_CHARACTERS,
      train='glyphs:train',
      id_val='glyphs:val',
      id_test='glyphs:test',
      ood={'other_faces': 'other_faces:test'},
      image_size=24,
      augment='shift',
    ),
  )
}
