"""Records the moments of every BatchNorm input inside a model's own pass.

Behind `daft_jax.bn`, which has the public names:

  layers = tuple(find_layers(variables['batch_stats']))
  step = get_step(model, layers, {'train': False})
  floats, counts, facts, whole = step(variables, images, mask, {})

How it works. `nn.intercept_methods` sees each call of `nn.BatchNorm` without a
change to the model. What it records lives inside the `batch_stats` collection,
beside the layer's own `mean` and in its shape. A model that works at all lifts
that collection through its `nn.remat`, `nn.scan`, `nn.vmap` and `nn.jit`, so
the record comes through them too, where a Python dict leaks tracers and `sow`
is dropped. Even epsilon travels there, as the bits of its float64, because
Python code does not run where JAX takes a trace from its cache.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from daft_jax.bn import reductions

COUNT, MEAN, M2 = 'daft_count', 'daft_mean', 'daft_m2'
EPSILON = 'daft_epsilon_low', 'daft_epsilon_high'
# What is known of a layer's rows: not called, each belongs to one example, or
# it cannot be told which example a value belongs to.
ROWS = 'daft_rows'
UNSEEN, BY_EXAMPLE, MIXED = 0, 1, 2
# (function of args and rows, args, rows) -> what it gives of parts of the rows,
# each result with an axis of parts in front; its `compiler_options` are used.
Over = Callable[[Callable[[Any, Any], Any], Any, Any], Any]
_passes = itertools.count()

# XLA's CPU compiler (jaxlib 0.10) hands chains of convolutions to a library
# that never stores what is between them. Recording breaks the chains up, and
# the pieces then run slower than XLA's own kernels (1.3 x for a small ResNet).
# Only reductions, which the library does faster, are left to it.
_CPU_OPTIONS = {
  'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_REDUCE'
}
_NORM_CALL = inspect.unwrap(nn.BatchNorm.__call__)


def layer_name(path: str) -> str:
  """How messages call a layer; the model may be a BatchNorm itself."""
  return f"BatchNorm '{path}'" if path else 'the model (a BatchNorm itself)'


def _is_norm(stats: Mapping[str, Any]) -> bool:
  return set(stats) == {'mean', 'var'} and not any(
    isinstance(leaf, Mapping) for leaf in stats.values()
  )


def find_layers(stats: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Returns `{path: {'mean', 'var'}}` of the BatchNorms in `batch_stats`.

  A BatchNorm is a dict that holds exactly `mean` and `var`; other modules,
  such as `nn.SpectralNorm`, keep different leaves there.
  """
  if _is_norm(stats):
    return {prefix: stats}
  found = {}
  for name, child in stats.items():
    if isinstance(child, Mapping):
      path = f'{prefix}/{name}' if prefix else name
      if '/' in name:
        raise ValueError(
          f"the module name {name!r} in batch_stats has a '/', which joins "
          'the names of a path here. Give the module another name.'
        )
      found.update(find_layers(child, path))
  return found


def is_norm_call(context: nn.module.InterceptorContext) -> bool:
  """Whether this is the call of `nn.BatchNorm` itself.

  A subclass that calls `super().__call__` is intercepted twice; only the inner
  call, which gets the true input, counts.
  """
  return getattr(context.orig_method, 'func', None) is _NORM_CALL


def norm_call(
  module: nn.BatchNorm,
  x: jax.Array,
  use_running_average: bool | None = None,
  *,
  mask: jax.Array | None = None,
) -> tuple[jax.Array, bool | None, jax.Array | None]:
  """Binds the arguments of a BatchNorm call: `(x, uses running, mask)`."""
  if use_running_average is None:
    use_running_average = module.use_running_average
  return jnp.asarray(x), use_running_average, mask


def feature_axes(module: nn.BatchNorm, ndim: int) -> set[int]:
  """The axes of the input that are not reduced, as positive numbers."""
  return {axis % ndim for axis in np.ravel(module.axis).tolist()}


def _check_call(module: nn.BatchNorm, running: bool | None) -> None:
  name = layer_name('/'.join(module.path))
  if running is not None and not running:
    raise ValueError(
      f'{name} runs on batch statistics in this pass, which has to be in eval '
      "mode. Pass the model's own switch, for example "
      'bn_moments(..., train=False).'
    )
  if not module.has_variable('batch_stats', COUNT):
    raise ValueError(
      f"{name} is called but has no statistics in variables['batch_stats']. "
      'Pass the variables of this model, as model.init returns them.'
    )
  if not module.is_mutable_collection('batch_stats'):
    raise ValueError(
      f'{name} cannot be recorded: a lifted transform makes batch_stats '
      "read-only there. Lift it with variable_axes={'batch_stats': 0} or "
      "variable_carry='batch_stats'."
    )


def recorder(rows: jax.Array) -> Callable[..., Any]:
  """An interceptor that adds each BatchNorm input to the record.

  Args:
    rows: bool [B], the examples that count.
  """

  def record(next_fun, args, kwargs, context):
    module = context.module
    if not is_norm_call(context):
      return next_fun(*args, **kwargs)
    x, running, mask = norm_call(module, *args, **kwargs)
    _check_call(module, running)
    kept = feature_axes(module, x.ndim)
    by_example = 0 not in kept and x.shape[:1] == rows.shape
    new = reductions.input_moments(x, kept, rows if by_example else None, mask)
    get = functools.partial(module.get_variable, 'batch_stats')
    old = get(COUNT), get(MEAN), get(M2)
    merged = reductions.chan(old, new)
    for name, value in zip((COUNT, MEAN, M2), merged, strict=True):
      value = value.astype(get(name).dtype)
      module.put_variable('batch_stats', name, value)
    known = BY_EXAMPLE if by_example else MIXED
    module.put_variable('batch_stats', ROWS, jnp.maximum(get(ROWS), known))
    bits = np.array([module.epsilon], np.float64).view(np.int32)
    for name, half in zip(EPSILON, bits, strict=True):
      module.put_variable('batch_stats', name, jnp.full_like(get(name), half))
    return next_fun(*args, **kwargs)

  return record


def augment(
  stats: Mapping[str, Any], record: Callable[[tuple[int, ...]], dict[str, Any]]
) -> dict[str, Any]:
  """Adds `record(shape of mean)` to each BatchNorm of `batch_stats`."""
  if _is_norm(stats):
    return {**stats, **record(stats['mean'].shape)}
  return {
    name: augment(child, record) if isinstance(child, Mapping) else child
    for name, child in stats.items()
  }


def trace_name() -> str:
  """A name for one tracing alone, to be added to each BatchNorm.

  It changes the structure, so that an `nn.jit` inside the model is traced
  again: what JAX keeps of an earlier tracing refers to that one's rows.
  """
  return f'daft_trace_{next(_passes)}'


def _empty(shape: tuple[int, ...], trace: str) -> dict[str, Any]:
  integers = (COUNT, ROWS, *EPSILON, trace)
  record = {name: jnp.zeros(shape, jnp.int32) for name in integers}
  # The widest float there is: float64 under jax_enable_x64.
  return record | {name: jnp.zeros(shape, float) for name in (MEAN, M2)}


def at(tree: Mapping[str, Any], path: str) -> Any:
  for name in filter(None, path.split('/')):
    tree = tree[name]
  return tree


@functools.cache
def compiler_options(platform: str) -> dict[str, str] | None:
  """The options for this platform, if the installed XLA knows them."""
  if platform != 'cpu':
    return None
  try:
    jax.jit(lambda: jnp.zeros(()), compiler_options=_CPU_OPTIONS)()
  except (jax.errors.JaxRuntimeError, ValueError):
    return None
  return _CPU_OPTIONS


def _without_masked(image: jax.Array, rows: jax.Array) -> jax.Array:
  """Images with NaN in masked rows: where rows mix, the moments show it."""
  if not jnp.issubdtype(image.dtype, jnp.floating):
    return image
  counts = rows.reshape((-1,) + (1,) * (image.ndim - 1))
  return jnp.where(counts, image, jnp.nan)


def _make_step(
  model: nn.Module,
  layers: tuple[str, ...],
  static: dict[str, Any],
  over: Over | None,
) -> Callable[..., Any]:
  def step(variables, image, rows, dynamic):
    kwargs = {**static, **dynamic}
    extra = kwargs.pop('mutable', None) or ()
    extra = (extra,) if isinstance(extra, str) else tuple(extra)
    empty = functools.partial(_empty, trace=trace_name())
    stats = augment(variables['batch_stats'], empty)
    with nn.intercept_methods(recorder(rows)):
      _, updated = model.apply(
        {**variables, 'batch_stats': stats},
        _without_masked(image, rows),
        mutable=('batch_stats', *extra),
        **kwargs,
      )
    records = [at(updated['batch_stats'], path) for path in layers]

    def flat(*names):
      return jnp.stack(
        [jnp.concatenate([r[name].ravel() for r in records]) for name in names]
      )

    return flat(MEAN, M2), flat(COUNT)[0], flat(ROWS, *EPSILON), rows.all()

  def in_parts(variables, image, rows, dynamic):
    def part(given, rows):
      return step(given[0], *rows, given[1])

    return over(part, (variables, dynamic), (image, rows))

  options = compiler_options(jax.default_backend())
  if over is None:
    return jax.jit(step, compiler_options=options)
  options = {**(options or {}), **over.compiler_options}
  return jax.jit(in_parts, compiler_options=options)


_cached_step = functools.lru_cache(maxsize=32)(
  lambda model, layers, static, over: _make_step(
    model, layers, dict(static), over
  )
)


def get_step(
  model: nn.Module,
  layers: tuple[str, ...],
  static: dict[str, Any],
  over: Over | None = None,
) -> Callable[..., Any]:
  """The jitted pass over one batch; the same one for equal arguments.

  Args:
    model, layers: whose path is each of `layers`.
    static: keyword arguments of `model.apply`.
    over: cuts the rows of a batch into parts, each of which is recorded.

  Returns:
    A function of (variables, image, rows, dynamic keyword arguments) that
    returns, with the layers' channels laid end to end, mean and m2 (float
    [2, N]), count (int32 [N]), rows and epsilon's low and high half (int32
    [3, N]), and whether no row is masked (bool []).
  """
  try:
    return _cached_step(model, layers, tuple(sorted(static.items())), over)
  except TypeError:  # A field of the model or an argument is not hashable.
    return _make_step(model, layers, static, over)
