"""Readers on mutated files: only what they document comes out of them.

In CI each has a few seconds and the same examples every time; at night a
minute, and others. `guided` does the same with coverage, where atheris is
installed.
"""

import contextlib
import functools
import importlib.util
import os
import secrets
import subprocess
import sys
import time

import hypothesis
import pytest
from hypothesis import strategies as st

from daft_jax import settings
from tests.hostile.readers import READERS, Reader, check

SECONDS, NIGHTLY_SECONDS = 3, 90  # of one reader
BATCH = 150  # examples between two looks at the clock
OPTIONS = hypothesis.settings(
  deadline=None,  # `check` has one, of each input
  database=None,
  suppress_health_check=list(hypothesis.HealthCheck),
)


INTERESTING = (
  *(b'\0', b'\xff', b'\x7f', b'\x80', b'.', b'(', b'{', b'\n', b'"'),
  *(b'\xff' * 4, b'\xff' * 8, b'\x7f\xff\xff\xff', b'\0\0\0\x80', b'\0' * 8),
  *(b'../', b'-1', b'9' * 20, b'1e999', b'NaN', b'\x1b[2J', b'\xed\xb0\x80'),
)


@st.composite
def mutated(draw, sound):
  """A sound file, in which a few places are others."""
  data = bytearray(draw(st.sampled_from(sound)))
  for _ in range(draw(st.integers(1, 6))):
    where = draw(st.integers(0, len(data)))
    length = draw(st.integers(0, 16))
    new = draw(
      st.one_of(
        st.sampled_from(INTERESTING),
        st.binary(max_size=12),
        st.integers(0, len(data)).map(lambda i: bytes(data[i : i + 40])),  # noqa: B023
      )
    )
    match draw(st.sampled_from(('over', 'put', 'cut', 'end'))):
      case 'over':
        data[where : where + len(new)] = new
      case 'put':
        data[where:where] = new
      case 'cut':
        del data[where : where + length]
      case 'end':
        del data[max(where, 1) :]
  return bytes(data)


def fuzz(name, seconds, seed):
  """Runs a reader on mutated files, until the time is over; counts them."""
  reader = READERS[name]
  sound = reader.sound()
  for data in sound:
    check(reader, data)
  tried, until = 0, time.monotonic() + seconds

  @hypothesis.settings(OPTIONS, max_examples=BATCH)
  @hypothesis.given(mutated(sound))
  def once(data):
    nonlocal tried
    tried += 1
    check(reader, data)

  while time.monotonic() < until:
    hypothesis.seed(seed)(once)()
    seed += 1
  return tried


@pytest.mark.parametrize('name', READERS)
def test_readers_on_mutated_files(name):
  assert fuzz(name, SECONDS, seed=0) >= BATCH


@pytest.mark.nightly
@pytest.mark.parametrize('name', READERS)
def test_readers_on_mutated_files_for_long(name):
  assert fuzz(name, NIGHTLY_SECONDS, seed=secrets.randbits(32)) >= BATCH


def test_what_is_not_documented_fails():
  """The harness itself: a reader that raises, and one that takes too long."""
  with pytest.raises(KeyError):
    check(Reader(lambda data: {}[data], list), b'')
  with pytest.raises(AssertionError):
    check(Reader(lambda data: time.sleep(0.1), list), b'', slow=0.05)


OPCODES = st.lists(
  st.one_of(
    st.sampled_from([bytes([x]) for x in range(256)]),
    st.sampled_from(
      [
        *(b'ctorch._utils\n_rebuild_tensor_v2\n', b'ctorch\nFloatStorage\n'),
        *(b'ccollections\nOrderedDict\n', b'cnumpy\ndtype\n', b'q\0', b'h\0'),
        *(b"S'storage'\n", b'I2\n', b'K\1', b'}', b']', b')', b'\x85R', b'Q'),
        *(b'cnumpy.core.multiarray\n_reconstruct\n', b'cnumpy\nndarray\n'),
        *(b'cargparse\nNamespace\n)\x81', b'b', b'(', b't', b'X\1\0\0\0a'),
      ]
    ),
  ),
  max_size=40,
)


@hypothesis.settings(
  max_examples=1000, deadline=None, derandomize=True, database=None
)
@hypothesis.given(OPCODES)
def test_programs_of_opcodes(opcodes):
  check(READERS['pickled'], b''.join(opcodes) + b'.')


FIELDS = st.sampled_from([*settings.RULES, 'seedz', 'optimizer', '', '.'])
WORDS = st.one_of(
  st.text(max_size=30),
  st.sampled_from(['1e-3+2', '(1,)', '[', '0x10', '--1', '{}', "'a", 'nan']),
  st.lists(
    st.sampled_from(list('()[]{},+-.eE0123"\'= \\\0x:*')), max_size=20
  ).map(''.join),
)
VALUES = st.recursive(
  st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.binary()),
    st.complex_numbers(),
  ),
  lambda inner: st.one_of(
    *(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    st.tuples(inner, inner),
  ),
  max_leaves=6,
)


@functools.cache
def common():
  from configs import common

  return common.get_config().to_dict()


@hypothesis.settings(
  max_examples=1000, deadline=None, derandomize=True, database=None
)
@hypothesis.given(FIELDS, WORDS)
def test_words_of_the_command_line(field, text):
  with contextlib.suppress(settings.ConfigError):
    value = settings.parse(field, text)
    config = common() | {'optimizer': dict(common()['optimizer'])}
    config['data'] = dict(common()['data'])
    settings.assign(config, field, value)
    settings.check(config)


@hypothesis.settings(
  max_examples=1000, deadline=None, derandomize=True, database=None
)
@hypothesis.given(st.dictionaries(FIELDS, VALUES, max_size=4))
def test_fields_of_a_config(fields):
  with contextlib.suppress(settings.ConfigError):
    settings.check(common() | fields)


@pytest.mark.skipif(
  importlib.util.find_spec('atheris') is None, reason='needs atheris'
)
@pytest.mark.parametrize('name', ['pickled', 'torch'])
def test_guided(name, tmp_path):
  place = tmp_path / 'corpus'
  place.mkdir()
  for number, data in enumerate(READERS[name].sound()):
    (place / str(number)).write_bytes(data)
  options = ('-max_total_time=5', '-timeout=10', '-rss_limit_mb=1500')
  # A process begins with the largest memory that the one it came from had: the
  # shell's, which is small, and not that of these tests.
  shell = ('sh', '-c', '"$@"; exit "$?"', 'sh')
  done = subprocess.run(
    [
      *(*shell, sys.executable, '-m', 'tests.hostile.guided', name),
      *(*options, str(place)),
    ],
    cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': os.pathsep.join([os.getcwd(), *sys.path])},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert not list(tmp_path.glob('crash-*'))
