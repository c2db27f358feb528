"""Fuzzing that coverage guides: finds the inputs that reach new lines.

  pip install atheris
  python -m tests.hostile.guided pickled -max_total_time=60

The first word is a key of `readers.READERS`, the rest goes to libFuzzer. What
a reader may not raise ends it, with the input in a file `crash-*`.
"""

import sys

import atheris

with atheris.instrument_imports(
  include=['daft_jax.unpickle', 'daft_jax.pretrained.torch_file']
):
  from tests.hostile import readers


def main():
  name, *options = sys.argv[1:]
  reader = readers.READERS[name]

  def once(data):
    readers.check(reader, data)

  atheris.Setup([sys.argv[0], *options], once)
  atheris.Fuzz()


if __name__ == '__main__':
  main()
