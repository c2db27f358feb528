"""Reads hostile input as a user's program does, many in one process.

  python -m tests.hostile.driver JOBS.json RESULTS.jsonl

A job is {name, how, path, out, args}. A result says the exit status, what was
printed, the seconds, and the most memory that the process had meanwhile. What
would end in a traceback is `fault`.
"""

import contextlib
import io
import json
import pathlib
import resource
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
_ROOM = 12 << 30  # bytes of addresses: a fault must not take the machine along


def weights(path, out, args):
  """All that reads a weights file; refused by one, refused by all."""
  import daft_jax
  from daft_jax.pretrained import __main__ as cli

  (file,) = path.iterdir()
  status = cli.main(['inspect', str(file)])
  if args:
    return status
  other = cli.main(['convert', str(file), str(out / 'out.safetensors')])
  model = daft_jax.create_model('resnet14_cifar', 10)
  try:
    daft_jax.load_pretrained('resnet14_cifar', model, file)
  except ValueError as error:
    print(error, file=sys.stderr)
    other = min(other, 2)
  else:
    other = 0
  return status if other == 2 else f'loaded, {status} {other}'


def prepare(path, out, args):
  from daft_jax.data import __main__ as cli

  return cli.main(['prepare', *args, f'--data_dir={path}'])


def unpack(path, out, args):
  """An archive for which no checksum is stated."""
  from daft_jax.data.published import dataset, unpacking

  (file,) = path.iterdir()
  row = dataset.Download(file.name, 'https://example.org/x', 'made')
  try:
    unpacking.unpack(file, row, out)
  except ValueError as error:
    print(error, file=sys.stderr)
    return 2
  return 0


def train(path, out, args):
  """The program on a folder of images, with the smallest network."""
  from daft_jax import main

  config = ROOT / 'configs' / 'folder.py'
  fields = ('methods=lp,epochs=1', 'backbone=resnet14_cifar', 'mesh.data=1')
  args = [arg.replace('HERE', str(path)) for arg in args]
  return main.main(
    [
      f'--config={config}:{",".join(fields)}',
      f'--config.data.root={path / "images"}',
      f'--workdir={out / "run"}',
      *args,
    ]
  )


def report(path, out, args):
  from daft_jax.report import __main__ as cli

  return cli.main([str(path / 'run'), f'--output={out}'])


def config(path, out, args):
  from daft_jax import main

  return main.main(
    [f'--config={path / args[0]}', f'--workdir={out / "run"}', *args[1:]]
  )


READ = {
  'weights': weights,
  'prepare': prepare,
  'train': train,
  'unpack': unpack,
  'report': report,
  'config': config,
}


def _peak():
  """Kilobytes, since `_forget` where the system can, else since the start."""
  with contextlib.suppress(OSError):
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
      if line.startswith('VmHWM:'):
        return int(line.split()[1])
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _forget():
  with contextlib.suppress(OSError):
    pathlib.Path('/proc/self/clear_refs').write_text('5')


def read(job):
  """Reads one; returns its result."""
  # As the streams of a process are: what cannot be encoded ends a program.
  out = io.TextIOWrapper(io.BytesIO(), 'utf-8')
  err = io.TextIOWrapper(io.BytesIO(), 'utf-8', errors='backslashreplace')
  status, fault = None, ''
  _forget()
  started = time.process_time()  # Other programs may be running.
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    try:
      path, into = pathlib.Path(job['path']), pathlib.Path(job['out'])
      status = READ[job['how']](path, into, job['args'])
    except BaseException:  # also a SystemExit, which is no status of ours
      fault = traceback.format_exc()
  seconds = time.process_time() - started
  texts = {}
  for name, stream in (('out', out), ('err', err)):
    stream.flush()
    texts[name] = stream.buffer.getvalue().decode('utf-8')
  return {
    **{'name': job['name'], 'status': status, 'fault': fault, **texts},
    **{'seconds': seconds, 'megabytes': _peak() / 1000},
  }


def main():
  resource.setrlimit(resource.RLIMIT_AS, (_ROOM, _ROOM))
  jobs = json.loads(pathlib.Path(sys.argv[1]).read_text())
  with pathlib.Path(sys.argv[2]).open('w') as file:
    for job in jobs:
      # Written first: where it hangs or is killed, it is known which.
      print(json.dumps({'name': job['name'], 'begins': True}), file=file)
      file.flush()
      print(json.dumps(read(job)), file=file)
      file.flush()


if __name__ == '__main__':
  main()
