"""Hostile workdirs: result files of strangers, of which a report is made."""

import csv
import json
import os
import re

import numpy as np

from tests.hostile import array_files
from tests.hostile.array_files import BLOCKS
from tests.hostile.corpus import CODES, NAMES, Case, sparse
from tests.report import pages, papers, workdirs

ALLOWED = ('details', 'summary', 'ins')  # of what the report itself writes
HUGE = 10**400


def markup(out):
  """What a browser or LaTeX would take for more than text in a report."""
  text = (out / 'report.md').read_text(encoding='utf-8')
  text = re.sub(
    r'^(`{3,})\w*$.*?^\1$', '', text, flags=re.MULTILINE | re.DOTALL
  )
  text = re.sub(r'(?<![`\\])(`+)(?!`).*?(?<!`)\1(?!`)', '', text)
  tags = re.findall(r'(?<!\\)<[/!?]*([A-Za-z][\w-]*)', text)
  found = [tag for tag in tags if tag not in ALLOWED]
  found += re.findall(r'(?<!\\)\]\((?![a-z_]+\.png\))[^)]*\)', text)
  found += [x for x in text if not x.isprintable() and x != '\n']
  if found:
    raise ValueError(f'report.md has {found[:5]}')
  with (out / 'report.csv').open(encoding='utf-8', newline='') as file:
    cells = [cell for row in csv.reader(file) for cell in row]
  found = [x for x in cells if x.lstrip().startswith(('=', '+', '-', '@'))]
  if found:
    raise ValueError(f'report.csv has the formula {found[0]!r}')
  found = pages.faults((out / 'report.html').read_text(encoding='utf-8'))
  if found:
    raise ValueError(f'report.html has {found[:5]}')
  for path in (out / 'report.tex', *out.glob('tex/*.tex')):
    if found := papers.faults(path.read_text(encoding='utf-8')):
      raise ValueError(f'{path.name} has {found[:5]}')


def workdir(folder, methods=('lp', 'ft')):
  return workdirs.write_workdir(
    folder / 'run', methods, (0,), ood=('mnist', 'noise_1')
  )


def edited(path, change):
  value = json.loads(path.read_text())
  change(value)
  path.write_text(json.dumps(value))


def line(**fields):
  """Fields of every result line; 'a__b' is b in a."""

  def change(value):
    for name, new in fields.items():
      *outer, last = name.split('__')
      target = value
      for key in outer:
        target = target[key]
      target[last] = new

  def write(folder, canary):
    for path in workdir(folder).glob('trials/*/result.json'):
      edited(path, change)

  return write


def experiment(**fields):
  def write(folder, canary):
    path = workdir(folder) / 'experiment.json'
    edited(path, lambda value: value.update(fields))

  return write


def file(name, data):
  """One file is bytes, or is made by `data(path, canary)`."""

  def write(folder, canary):
    run = workdir(folder)
    (path, *_) = [*run.glob(name)] or [run / name]
    if callable(data):
      path.unlink(missing_ok=True)
      data(path, canary)
    else:
      path.write_bytes(data)

  return write


def named(name):
  """A name wherever a workdir has one."""

  def change(value):
    for field in ('suite', 'backbone', 'weights'):
      value[field] = name
    if 'trial' not in value:
      value['config'] |= {name: name, 'note': [name]}
      return
    value['method'] += name
    for field in ('ood', 'summaries', 'metrics'):
      first = next(iter(value[field].values()), 0.5)
      value[field][f'{name} {field}'] = first
    value['versions'] = {'jax': name, name: '1'}

  def write(folder, canary):
    run = workdir(folder)
    edited(run / 'experiment.json', change)
    for path in run.glob('trials/*/result.json'):
      edited(path, change)
    (path, *_) = run.glob('trials/*/result.json')
    value = json.loads(path.read_text())
    fields = {'ood': {f'{name} 1': 0.5}, 'summaries': {f'{name} 2': 0.5}}
    text = json.dumps({k: value[k] for k in ('trial', 'method')} | fields)
    (run / 'eval.jsonl').write_text(text + '\n')

  return write


def arrays(make):
  """Histograms of which those of one file are others."""

  def write(folder, canary):
    for path in workdir(folder).glob('trials/*/arrays.npz'):
      make(path, canary)

  return write


def histogram(counts, edges):
  def make(path, canary):
    values = {}
    for split in ('id_test', 'mnist', 'noise_1'):
      for measure in ('l2', 'cosine'):
        values[f'{split}/{measure}_counts'] = counts
        values[f'{split}/{measure}_edges'] = edges
    np.savez(path, **values)

  return arrays(make)


def by_layer(layers, **columns):
  def make(path, canary):
    values = {'layer': layers} | {
      name: np.zeros(5) for name in ('l2', 'cosine', 'cka', 'mean', 'std_ratio')
    }
    values |= columns
    groups = ('bn_shift', 'id_test/layers', 'mnist/layers')
    np.savez(path, **{f'{g}/{k}': v for g in groups for k, v in values.items()})

  return arrays(make)


SUMS = ('class_count', 'class_correct', 'bin_count', 'bin_correct')
SUMS += ('bin_confidence',)


def sums(**columns):
  """Counts of classes and bins of which some are others."""

  def make(path, canary):
    count = np.full(15, 10)
    values = {
      **{'class_count': count, 'class_correct': count, 'bin_count': count},
      **{'bin_correct': count, 'bin_confidence': count * 1.0},
    } | columns
    splits = ('id_test', 'mnist')
    np.savez(path, **{f'{s}/{k}': v for s in splits for k, v in values.items()})

  return arrays(make)


LAYERS = np.array([f'bn{i}' for i in range(5)])
FAR = np.array([0x7FFFFFFF] * 5, '<u4').view('<U1')  # no letters


def packed(write):
  """Those of one file are an npz, which `write(folder, canary)` writes."""

  def make(folder, canary):
    first, *others = workdir(folder, ('ft',)).glob('trials/*/arrays.npz')
    write(first.parent, canary)
    for path in others:
      path.write_bytes(first.read_bytes())

  return make


def elsewhere(folder, canary):
  """Only results.jsonl was kept, and its trial leads out."""
  run = workdir(folder)
  (path, *_) = sorted(run.glob('trials/*/result.json'))
  value = json.loads(path.read_text()) | {'trial': '../../../../etc'}
  (run / 'results.jsonl').write_text(json.dumps(value) + '\n')
  (run / 'trials').rename(folder / 'gone')


EPOCHS, TIMES = 'metrics.jsonl', 'timings.jsonl'


def logs(name, data):
  """One log of every trial; which are chosen is not known here."""

  def write(folder, canary):
    for path in workdir(folder).glob('trials/*'):
      path = path / name
      path.unlink(missing_ok=True)
      if callable(data):
        data(path, canary)
      else:
        path.write_bytes(data)

  return write


RESULT, EVAL = 'trials/*/result.json', 'eval.jsonl'
DEEP = b'{"a":' * 100_000
REFUSED = {
  **{
    f'{what} in {name}': logs(name, data)
    for name in (EPOCHS, TIMES)
    for what, data in {
      'half a line': b'{"stage": "finet',
      'depth': DEEP,
      'bytes': bytes(range(256)),
      'a hole': lambda path, _: sparse(path, 1 << 36),
      'many lines': b'{"stage":"","epoch":1,"seconds":1}\n' * 200_000,
    }.items()
  },
  'text of a loss': logs(EPOCHS, b'{"stage": "a", "epoch": 1, "loss": "<b>"}'),
  'a stage of codes': logs(
    EPOCHS, json.dumps({'stage': CODES, 'epoch': 1}).encode()
  ),
  'large seconds of a lap': logs(TIMES, b'{"what": "a", "seconds": 1e300}'),
  'a number for a lap': logs(TIMES, b'{"what": 1, "seconds": 1}'),
  'a number of commands': experiment(commands=5),
  'commands of lists': experiment(commands=[[]]),
  'escape codes in a command': experiment(commands=[CODES]),
  'an object for a fingerprint': experiment(data_sha256={'a': 'b'}),
  'a long fingerprint': experiment(data_sha256='x' * 1_000_000),
  'settings of a list': experiment(settings=[1]),
  'a list for a machine': experiment(machine=['cpu']),
  'few bins': sums(bin_correct=np.ones(3)),
  'more right than images': sums(class_correct=np.full(15, 11)),
  'a number of classes': experiment(classes=10),
  'classes of lists': experiment(classes=[[]]),
  'sums below 0': sums(bin_confidence=-np.ones(15)),
  'sums of nan': sums(bin_confidence=np.full(15, np.nan)),
  'large sums': sums(bin_count=np.full(15, 1e300)),
  'texts for sums': sums(bin_count=np.array(['a'] * 15)),
  'few layers': by_layer(LAYERS[:3]),
  'layers twice': by_layer(LAYERS[[0, 0, 1, 2, 3]]),
  'numbers for layers': by_layer(np.zeros(5)),
  'objects for layers': by_layer(np.array([{}] * 5, object)),
  'letters that are none': by_layer(FAR),
  'many layers': by_layer(np.arange(50_000).astype('<U5'), l2=np.zeros(50_000)),
  'large distances': by_layer(
    LAYERS, l2=np.full(5, 1e300), mean=np.full(5, 1e300)
  ),
  'deep result': file(RESULT, DEEP),
  'deep experiment': file('experiment.json', DEEP),
  'deep eval': file(EVAL, DEEP),
  'list': file(RESULT, b'[1]'),
  'NaN': file(RESULT, b'{"seed": NaN}'),
  'bytes': file(RESULT, bytes(range(256))),
  'digits': file(RESULT, b'{"seed": ' + b'9' * 100_000 + b'}'),
  'hole': file(RESULT, lambda path, _: sparse(path, 1 << 36)),
  'hole of an experiment': file(
    'experiment.json', lambda path, _: sparse(path, 1 << 36)
  ),
  'folder': file(RESULT, lambda path, _: path.mkdir()),
  'pipe for a result': file(RESULT, lambda path, _: os.mkfifo(path)),
  **{
    f'link to a device for {name}': file(
      name, lambda path, _: path.symlink_to('/dev/zero')
    )
    for name in (RESULT, 'experiment.json')
  },
  'many lists': file(RESULT, b'{"a": [' + b'[],' * 10_000_000 + b'[]]}'),
  'many dicts': file(RESULT, b'{"a": [' + b'{"a":1},' * 1_000_000 + b'1]}'),
  'wide letters': file(
    RESULT, b'{"a": "' + b'\xf0\x9f\x98\x80' * 12_000_000 + b'"}'
  ),
  'lists in lists': line(extra=json.loads('[' * 50 + ']' * 50)),
  'many sets': line(ood={str(i): 0.5 for i in range(1001)}),
  'long name': line(method='x' * 100_000),
  'trial elsewhere': elsewhere,
  'another trial': line(trial='../../x'),
  'infinity': line(seconds=1e999),
  'beyond infinity': file(RESULT, b'{"id_val": 1e999}'),
  'accuracy': line(ood__mnist=-0.5),
  'text of an accuracy': line(ood__mnist='<b>'),
  'seed': line(seed=[0]),
  'true': line(id_test=True),
  'escape codes': line(id_test=CODES),
  'config': experiment(config=[1, 2]),
  'methods': experiment(config={'methods': [[1], {}]}),
  'methods of a number': experiment(config={'methods': 5}),
  'selection': experiment(config={'selection': CODES}),
  'selection of a list': experiment(config={'selection': [[]]}),
  'metrics': line(metrics={'id_test': {'loss': '<b>'}}),
  'versions': line(versions=['<b>']),
  'eval of a list': file(EVAL, b'{"trial": [], "method": 1, "ood": {}}\n'),
  'large number': line(feature_l2=HUGE),
  'large rate': line(lr=HUGE),
  'large seed': line(seed=10**4000),
  'escape codes in names': named(CODES),
  'large epoch': line(epoch=HUGE),
  'large C': line(C=HUGE),
  'large seconds': line(seconds=HUGE),
  'large float': line(seconds=1e300),
  'large loss': line(metrics={'id_test': {'loss': HUGE}}),
}
CLEAN = {
  'epochs of nothing': logs(
    EPOCHS, b'{"stage": "a", "epoch": 1, "loss": null}\n' * 3
  ),
  'odd epochs': logs(
    EPOCHS,
    b''.join(
      b'{"stage":"a","epoch":%d,"loss":%d,"id_val":0.5}\n' % (x, 1e99)
      for x in (-5, 1 << 62, 3, 3)
    ),
  ),
  'link to a device for epochs': logs(
    EPOCHS, lambda path, _: path.symlink_to('/dev/zero')
  ),
  'odd names of classes': experiment(classes=[CODES, *NAMES.values()][:10]),
  'a lap of nothing': logs(TIMES, b'{"seconds": 0}\n'),
  'odd laps': logs(
    TIMES,
    b'{"what":"epoch -1","seconds":1e100,"images":1e100}\n'
    b'{"what":" epoch 1","seconds":-1e100,"images":null}\n'
    b'{"what":"a epoch 2","seconds":0,"stall":"waited for images 9%s.0 of 0.0'
    b' s"}\n' % (b'9' * 900),
  ),
  'odd records': experiment(
    commands=[*NAMES.values(), '```'],
    data_sha256=NAMES['script'],
    settings={
      **{'epochs': HUGE, 'batch_size': [1], 'data_sha256': CODES},
      'weights_sha256': {'<b>': '<i>'},
    },
    preprocess={CODES: HUGE, '<b>': [[CODES]]},
  ),
  'long records': experiment(
    **dict.fromkeys(('classes', 'notes'), ['x' * 1_000_000] * 10),
    weights_sha256='x' * 1_000_000,
    preprocess={'x' * 1_000_000: 'x' * 1_000_000},
    settings={'epochs': 'x' * 1_000_000},
  ),
  'many records': experiment(
    commands=[f'{i} {"x" * 900}' for i in range(1000)],
    images={str(i): i for i in range(100_000)},
  ),
  'odd epochs and batches': experiment(
    settings={'epochs': -1e99, 'batch_size': True}, num_classes=1_000_000
  ),
  'an odd machine': experiment(machine={'kind': CODES, 'cores': HUGE}),
  'no images': sums(**dict.fromkeys(SUMS, np.zeros(15))),
  'no bins': sums(**dict.fromkeys(SUMS, np.zeros(0))),
  'many classes': sums(
    class_count=np.full(20_000, 1), class_correct=np.full(20_000, 0)
  ),
  'null': line(id_test=None, feature_l2=None, ood__mnist=None, ood_mean=None),
  'extra fields': line(
    extra={'a': [1, None, {CODES: HUGE}]},
    metrics={'id_test': {'class_accuracy': [0.5, None], 'layers': {'a': [1]}}},
  ),
  'as many sets': line(ood={f'set {i}': 0.5 for i in range(100)}),
  'link to a device for eval': file(
    EVAL, lambda path, _: path.symlink_to('/dev/zero')
  ),
  'link to a device for histograms': file(
    'trials/*/arrays.npz', lambda path, _: path.symlink_to('/dev/zero')
  ),
  'pipe': file(EVAL, lambda path, _: os.mkfifo(path)),
}
NUMBERS = np.arange(101.0)
ARRAYS, COUNTS = 'arrays.npz', 'id_test/l2_counts.npy'
HISTOGRAMS = {
  'objects': packed(array_files.npz({COUNTS: array_files.objects}, ARRAYS)),
  'a size': packed(
    array_files.npz({COUNTS: array_files.npy('<f8', (2**45,))}, ARRAYS)
  ),
  'a bomb': packed(
    array_files.large(
      array_files.npy('<f8', (BLOCKS << 21,)), BLOCKS, COUNTS, ARRAYS
    )
  ),
  'texts': histogram(np.array(['a'] * 100), NUMBERS),
  'shape': histogram(np.ones((10, 20)), NUMBERS),
  'few edges': histogram(np.ones(100), np.ones(3)),
  'one count': histogram(np.ones(()), np.ones(())),
  'infinite counts': histogram(np.full(100, np.inf), NUMBERS),
  'complex': histogram(np.ones(100) * 1j, NUMBERS),
  'large edges': histogram(np.ones(100), 3e306 * (NUMBERS - 50)),
  'large counts': histogram(np.full(100, 1e308), NUMBERS),
  'a hole': arrays(lambda path, _: sparse(path, 1 << 36)),
}
SOUND = {  # What is drawn may be odd.
  'negative counts': histogram(-np.ones(100), NUMBERS),
  'backward edges': histogram(np.ones(100), -NUMBERS),
  'equal edges': histogram(np.ones(100), np.zeros(101)),
}


def of(cases, *args, **options):
  return {
    f'report: {k}': Case(v, 'report', *args, **options)
    for k, v in cases.items()
  }


CASES = {
  **of(REFUSED, 2),
  **of(CLEAN, 0, check=markup),
  **of({f'histogram of {k}': v for k, v in HISTOGRAMS.items()}, 2),
  **of({f'histogram of {k}': v for k, v in SOUND.items()}, 0, check=markup),
  **of({f'name {k}': named(v) for k, v in NAMES.items()}, 0, check=markup),
}
