"""One of several processes that meet: says so, and goes on or ends.

python join.py --coordinator=HOST:PORT --num_processes=N --process_id=I
"""

import sys

from daft_jax import launch, processes
from daft_jax.settings import ConfigError

try:
  with launch.joined(launch.given(sys.argv[1:])):
    print('all are there', flush=True)
    processes.from_first(input)
except ConfigError as error:
  if not processes.was_told(error):
    print(error)
  sys.exit(2)
