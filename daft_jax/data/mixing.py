"""mixup and cutmix: each image of a batch takes in a part of another one.

  drawn = draw(Mixing(mixup=0.2, cutmix=1.0), 60, 224, batch_size=64,
               seed=0, epoch=3, step=7)                  # on the host
  image = mix(image, drawn)                              # in the jitted step
  losses = mixed_loss(losses_to(label), losses_to(label[drawn['partner']]),
                      drawn['lam'])

Both are off by default. What is drawn is a dict of small arrays with the same
keys and shapes for either and for neither, so one compiled step serves all.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

Drawn = dict[str, np.ndarray]

_STREAM = 2  # the order of an epoch is 0, augmentations 1, examples 3


@dataclasses.dataclass(frozen=True)
class Mixing:
  """How strong; where both are on, either is used for half of the batches.

  Attributes:
    mixup: a of Beta(a, a), which the share of a batch's own images is drawn
      from (arXiv 1710.09412: 0.1 to 0.4 on ImageNet); 0: no mixup.
    cutmix: likewise for the area of cutmix (arXiv 1905.04899: 1); 0: none.

  Raises:
    ValueError: one of them is negative or not finite.

  Example:
    >>> Mixing().off, Mixing(mixup=0.2).off
    (True, False)
  """

  mixup: float = 0.0
  cutmix: float = 0.0

  def __post_init__(self):
    for name, value in dataclasses.asdict(self).items():
      if not 0 <= value < math.inf:
        raise ValueError(
          f'Mixing: {name} is {value}; say 0 for none, or a of Beta(a, a), '
          'such as 0.2 for mixup and 1 for cutmix'
        )

  @property
  def off(self) -> bool:
    """Whether it changes nothing, whatever is drawn."""
    return not (self.mixup or self.cutmix)


def draw(
  mixing: Mixing,
  count: int,
  size: int,
  *,
  batch_size: int,
  seed: int,
  epoch: int,
  step: int,
) -> Drawn:
  """Draws how a batch is mixed: a pure function of its arguments.

  In a run of several processes each takes its rows of these arrays, as it does
  of the batch; partners are rows of the whole batch.

  Args:
    mixing: what is on.
    count: rows that are examples, the first ones; the others are padding.
    size: height and width of the images, in pixels.
    batch_size: B, all rows.
    seed: integer >= 0.
    epoch: integer >= 0.
    step: of the epoch, integer >= 0.

  Returns:
    'partner': int32 [B], a permutation; a row of padding is its own partner.
    'lam': float32 [B], the share of the own image and the weight of the own
      label, the same for all examples; 1 for padding.
    'box': int32 [B, 4], top, bottom, left and right of the part that is the
      partner's alone, for row and column in [top, bottom) x [left, right).
    'blend': float32 [B], the weight of the own image outside of the box.
    For mixup the box is empty and blend = lam; for cutmix blend is 1 and lam
    the share of pixels outside of the box, after it was cut at the border. A
    `mixing` that is off draws lam = blend = 1, and everyone its own partner.

  Raises:
    ValueError: a count that is not in 0..batch_size, or a size below 1.

  Example:
    >>> drawn = draw(
    ...   Mixing(cutmix=1.0), 3, 8, batch_size=4, seed=0, epoch=0, step=0
    ... )
    >>> drawn['partner'].tolist(), drawn['box'].shape
    ([1, 2, 0, 3], (4, 4))
  """
  if not 0 <= count <= batch_size:
    raise ValueError(
      f'draw: count is {count}, but a batch has 0 to {batch_size} examples'
    )
  if size < 1:
    raise ValueError(f'draw: size must be at least 1, not {size}')
  partner = np.arange(batch_size, dtype=np.int32)
  lam = blend = 1.0
  box = (0, 0, 0, 0)
  if not mixing.off:
    rng = np.random.default_rng([seed, epoch, _STREAM, step])
    # Drawn in any case, so that what follows is the same with one or both on.
    first = rng.random() < 0.5
    use_mixup = mixing.mixup > 0 and (first or mixing.cutmix == 0)
    partner[:count] = rng.permutation(count)
    if use_mixup:
      lam = blend = rng.beta(mixing.mixup, mixing.mixup)
    else:
      box = _box(rng, 1 - rng.beta(mixing.cutmix, mixing.cutmix), size)
      top, bottom, left, right = box
      lam = (size**2 - (bottom - top) * (right - left)) / size**2
  real = np.arange(batch_size) < count
  return {
    'partner': partner,
    'lam': np.where(real, lam, 1).astype(np.float32),
    'box': np.where(real[:, None], box, 0).astype(np.int32),
    'blend': np.where(real, blend, 1).astype(np.float32),
  }


def mix(images: jax.Array, drawn: dict[str, jax.Array]) -> jax.Array:
  """Mixes a batch: blend x + (1 - blend) x[partner]; x[partner] in the box.

  Pure, and the same for rows that are split over devices. Mixing commutes with
  the normalisation of images, so it may come before or after.

  Args:
    images: [B, H, W, C], floating.
    drawn: what `draw` gave, for B rows.

  Returns:
    [B, H, W, C] of the dtype of `images`.

  Raises:
    TypeError: the images are integers.
  """
  if not jnp.issubdtype(images.dtype, jnp.floating):
    raise TypeError(
      f'mix: images must be floating, not {images.dtype}; normalise them first'
    )
  height, width = images.shape[1:3]
  top, bottom, left, right = (
    drawn['box'][:, i, None, None, None] for i in range(4)
  )
  row = jnp.arange(height)[:, None, None]
  column = jnp.arange(width)[:, None]
  inside = (top <= row) & (row < bottom) & (left <= column) & (column < right)
  blend = drawn['blend'][:, None, None, None].astype(images.dtype)
  partner = images[drawn['partner']]
  # Chosen, not multiplied by 0: what is not taken may be infinite.
  blended = jnp.where(
    blend == 1, images, blend * images + (1 - blend) * partner
  )
  return jnp.where(inside, partner, blended)


def mixed_loss(own: jax.Array, partner: jax.Array, lam: jax.Array) -> jax.Array:
  """The loss of mixed images, row by row: lam own + (1 - lam) partner.

  For a loss that is linear in the label, as cross-entropy is, that is the loss
  to the mixed label lam y + (1 - lam) y[partner], also with smoothed labels.

  Args:
    own: [B], losses to the rows' own labels.
    partner: [B], losses to their partners' labels, label[drawn['partner']].
    lam: [B], drawn['lam'].

  Returns:
    [B].

  Example:
    >>> mixed_loss(np.array([1.0]), np.array([3.0]), np.array([0.75])).tolist()
    [1.5]
  """
  return lam * own + (1 - lam) * partner


def _box(
  rng: np.random.Generator, area: float, size: int
) -> tuple[int, int, int, int]:
  """A square of about this share of the area, cut at the border.

  Its middle is uniform over the image, as in equation 2 of arXiv 1905.04899.
  """
  side = int(size * math.sqrt(area))
  middle = rng.integers(size, size=2)
  low = np.clip(middle - side // 2, 0, size)
  high = np.clip(middle - side // 2 + side, 0, size)
  return int(low[0]), int(high[0]), int(low[1]), int(high[1])
