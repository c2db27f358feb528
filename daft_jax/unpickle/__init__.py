"""Reads pickles as data: nothing that a file asks for is imported or called.

  import io
  from daft_jax.unpickle import pickled

  stream = pickled.Stream(io.BytesIO(b'\\x80\\x02K\\x01.'), 5)
  pickled.load(stream)                                          # 1

pickled  an interpreter of opcodes
allowed  the names of Python and NumPy that it knows, and what they stand for
npy      the headers of files of NumPy, which may lie
"""
