"""Eight CPU devices for every test, and a benchmark small enough for tests."""

import pathlib

import jax
import pytest

jax.config.update('jax_num_cpu_devices', 8)  # before JAX starts its backend


def _few(split, size, seed):
  """Real images: a few UCI scans of each part, a few of MNIST for OOD."""
  from daft_jax.data import digits

  if split == 'mnist':
    images, labels = digits.mnist(image_size=size)
    return images[::50], labels[::50]
  images, labels = digits.scans(split, image_size=size)
  count = {'train': 100, 'val': 60, 'test': 70}[split]
  return images[:count], labels[:count]


@pytest.fixture(scope='session')
def tiny_suite():
  """The suite 'tiny': 100 training images, so that a trial takes seconds."""
  from daft_jax.data import sources, suites

  suite = suites.Suite(
    name='tiny',
    num_classes=10,
    classes=tuple('0123456789'),
    train='tiny:train',
    id_val='tiny:val',
    id_test='tiny:test',
    ood={'mnist': 'tiny:mnist'},
    image_size=24,
    augment='shift',
    more_ood={'mnist_inverted': 'mnist_inverted:test'},
  )
  source = sources.Source(_few, ('train', 'val', 'test', 'mnist'))
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(suites.SUITES, 'tiny', suite)
    patch.setitem(sources.SOURCES, 'tiny', source)
    yield suite


@pytest.fixture(scope='session')
def tiny_config(tiny_suite):
  """Makes a config on it: one device, two epochs; `a__b` is the field a.b."""
  common = pathlib.Path(__file__).parent.parent / 'configs' / 'common.py'

  def make(**fields):
    from daft_jax import main, settings

    config = main.load_config(str(common))
    fields = {'suite': 'tiny', 'mesh__data': 1, 'epochs': 2} | fields
    for name, value in fields.items():
      settings.assign(config, name.replace('__', '.'), value)
    return config

  return make
