"""Headers of NumPy's files: sound ones as NumPy reads them, others refused."""

import io
import struct
import tracemalloc

import numpy as np
import pytest

from daft_jax.unpickle import npy


def saved(array, version=None):
  out = io.BytesIO()
  np.lib.format.write_array(out, array, version=version)
  return out.getvalue()


@pytest.mark.parametrize('version', [(1, 0), (2, 0)])
@pytest.mark.parametrize(
  'array', [np.ones((2, 3), 'f4'), np.zeros((), 'u1'), np.array([True])]
)
def test_headers_as_numpy_reads_them(array, version):
  file = io.BytesIO(saved(array, version))
  assert npy.read_header(file) == (array.shape, array.dtype)
  assert file.read() == array.tobytes()


def test_a_long_header_takes_no_memory():
  size = 1 << 28
  data = b'\x93NUMPY\2\0' + struct.pack('<I', size) + b' ' * size
  tracemalloc.start()
  try:
    with pytest.raises(ValueError, match='its header has 268,435,456 bytes'):
      npy.read_header(io.BytesIO(data))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize(
  'text',
  ['', '{}', '[]', '(' * 9000, '__import__("os").system("x")', '\0', "{'a': 1}"]
  + [
    f"{{'descr': {d!r}, 'fortran_order': False, 'shape': {s}}}"
    for d, s in (('f4', '(-1,)'), ('f4', '3'), ('nothing', '()'))
  ],
)
def test_what_is_no_header_is_a_value_error(text):
  data = b'\x93NUMPY\1\0' + struct.pack('<H', len(text)) + text.encode()
  with pytest.raises(ValueError):
    npy.read_header(io.BytesIO(data))


@pytest.mark.parametrize('data', [b'', b'\x93NUM', b'\x93NUMPY\x09\x09\0\0'])
def test_what_is_not_of_numpy(data):
  with pytest.raises(ValueError):
    npy.read_header(io.BytesIO(data))
