"""Workdirs that look like those of a run, for tests of what reads them."""

import json
import math

import numpy as np

from daft_jax import results

CORRUPTIONS = (
  *('gaussian_noise', 'shot_noise', 'impulse_noise'),
  *('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
  *('snow', 'frost', 'fog', 'brightness'),
  *('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
)
# The 75 sets of CIFAR-10-C, and their means as the suite has them.
CORRUPTED = tuple(f'{name}_{i}' for name in CORRUPTIONS for i in range(1, 6))
MEANS = {
  **{x: tuple(f'{x}_{i}' for i in range(1, 6)) for x in CORRUPTIONS},
  'corruptions': CORRUPTED,
}

# method: rates, mean of ID and OOD accuracy, L2, its cosine, seconds
METHODS = {
  'lp': ((None, None), 0.902, 0.312, 0.0, 1.0, 3.1),
  'lp_sgd': ((None, 0.1), 0.896, 0.305, 0.0, 1.0, 5.2),
  'ft': ((0.01, None), 0.975, 0.301, 11.4, 0.71, 31.0),
  'lp_ft': ((0.01, None), 0.979, 0.324, 6.1, 0.88, 33.5),
  'daft': ((0.01, 0.1), 0.977, 0.347, 3.9, 0.965, 32.2),
}
VERSIONS = {'daft_jax': '0.1.0', 'jax': '0.10.2', 'flax': '0.12.8'}


def write_trial(
  workdir,
  method,
  seed,
  rates,
  quality,
  *,
  ood=('mnist',),
  summaries=None,
  config=None,
  images=5000,
):
  """Writes one trial in the format of a run; returns its line.

  Summaries are {name: sets, of which it is the mean}.
  """
  _, id_, shift, l2, cosine, seconds = METHODS[method]
  text = f'{method}{seed}{rates}'.encode()
  rng = np.random.default_rng(list(text))
  trial = rng.bytes(6).hex()
  id_val = float(id_ * quality + rng.normal(0, 0.003))
  id_test = float(id_ * quality + rng.normal(0, 0.004))
  accuracies = {
    name: float(shift * quality + rng.normal(0, 0.012)) for name in ood
  }
  folder = workdir / 'trials' / trial
  folder.mkdir(parents=True)
  arrays, metrics = {}, {}
  for name in ('id_test', *ood):
    size, far = (800, 1.0) if name == 'id_test' else (images, 1.15)
    if l2:
      distances = rng.gamma(20, l2 * far / 20, size)
      cosines = 1 - rng.beta(3, 3 * (1 / ((1 - cosine) * far) - 1), size)
    else:
      distances, cosines = np.zeros(size), np.ones(size)
    for measure, values in (('l2', distances), ('cosine', cosines)):
      counts, edges = np.histogram(values, 100)
      arrays[f'{name}/{measure}_counts'] = counts
      arrays[f'{name}/{measure}_edges'] = edges
    metrics[name] = {
      'accuracy': accuracies.get(name, id_test),
      'loss': -math.log(accuracies.get(name, id_test)),
      'ece': 0.05,
      'feature_l2': float(distances.mean()),
      'feature_l2_std': float(distances.std()),
      'feature_cosine': float(cosines.mean()),
      'feature_cosine_std': float(cosines.std()),
    }
    arrays |= counted(name, rng, metrics[name]['accuracy'], size)
    arrays |= by_layer(f'{name}/layers', ('l2', 'cosine', 'cka'), l2 / 20)
    before = np.random.default_rng(0).normal(size=(40, 8))
    before += np.arange(40)[:, None] % 10
    arrays[f'{name}/sample/reference'] = before.astype(np.float16)
    arrays[f'{name}/sample/features'] = (before + l2 / 4).astype(np.float16)
    arrays[f'{name}/sample/label'] = np.arange(40) % 10
  arrays |= by_layer('bn_shift', ('mean', 'std_ratio'), 0.5)
  np.savez(folder / 'arrays.npz', **arrays)
  line = {
    'trial': trial,
    'suite': 'digits',
    'backbone': 'resnet14_cifar',
    'weights': 'resnet14_cifar.glyphs',
    'method': method,
    'seed': seed,
    'lr': rates[0],
    'head_lr': rates[1],
    'C': 0.0023 if method in ('lp', 'lp_ft') else None,
    'epoch': None if method == 'lp' else 8 + seed,
    'id_val': id_val,
    'id_test': id_test,
    'ood': accuracies,
    'ood_mean': sum(accuracies.values()) / len(accuracies),
    'summaries': mean_of(accuracies, summaries or {}),
    'feature_l2': metrics['id_test']['feature_l2'],
    'feature_cosine': metrics['id_test']['feature_cosine'],
    'seconds': seconds + seed,
    'metrics': metrics,
    'config': {'lr': rates[0], 'epochs': 10} | (config or {}),
    'versions': VERSIONS,
  }
  (folder / 'result.json').write_text(json.dumps(line, indent=2))
  write_logs(folder, line)
  return line


def write_logs(folder, line):
  """Writes what a trial logs, epoch by epoch; of `lp`, no epochs."""
  laps, text = [{'what': 'prepare', 'seconds': 0.2}], ''
  for epoch in range(1, 11) if line['epoch'] else ():
    last = epoch >= line['epoch']
    row = {
      **{'stage': 'finetune', 'epoch': epoch, 'loss': 1 / epoch},
      **{'accuracy': 1 - 0.5 / epoch, 'id_val_loss': 1.1 / epoch},
      'id_val': line['id_val'] if last else line['id_val'] - 0.3 / epoch,
    }
    text += json.dumps(row) + '\n'
    lap = {'seconds': 3.0 if epoch == 1 else 2.0, 'images': 1000}
    laps.append({'what': f'finetune epoch {epoch}'} | lap)
  if text:
    stall = {'stall': 'waited for images 2.0 of 20.0 s (10 %)'}
    laps.append({'what': 'finetune', 'seconds': 0.1} | stall)
  laps.append({'what': 'evaluate', 'seconds': 1.5})
  (folder / 'metrics.jsonl').write_text(text)
  timings = ''.join(json.dumps(lap) + '\n' for lap in laps)
  (folder / 'timings.jsonl').write_text(timings)


def counted(name, rng, accuracy, size):
  """Images and right ones of ten classes, and of 15 bins of confidence."""
  share = np.clip(accuracy + np.linspace(-0.05, 0.05, 10), 0, 1)
  count = rng.multinomial(size, [0.1] * 10)
  bins = rng.multinomial(size, np.linspace(0, 1, 15) / 7.5)
  middle = (np.arange(15) + 0.5) / 15
  return {
    f'{name}/class_count': count,
    f'{name}/class_correct': rng.binomial(count, share),
    f'{name}/bin_count': bins,
    f'{name}/bin_correct': rng.binomial(bins, 0.9 * middle),
    f'{name}/bin_confidence': bins * middle,
  }


def by_layer(group, fields, size):
  """Numbers of five layers."""
  found = {f'{group}/layer': np.array([f'layer{i}/bn' for i in range(5)])}
  steps = np.linspace(0.2, 1, 5) * size
  return found | {
    f'{group}/{field}': 1 - steps if field in ('cosine', 'cka') else steps
    for field in fields
  }


def mean_of(accuracies, summaries):
  """One number of several sets."""
  return {
    name: float(np.mean([accuracies[x] for x in sets]))
    for name, sets in summaries.items()
  }


def write_eval(workdir, sets, summaries, *, without=()):
  """Writes eval.jsonl, of all chosen trials; returns its lines."""
  lines = []
  for method, choice in results.choose(results.read(workdir)).items():
    for x in choice.lines:
      rng = np.random.default_rng(list(x['trial'].encode()))
      centre = METHODS[method][2] * x['id_test']
      ood = {n: float(centre + rng.normal(0, 0.02)) for n in sets}
      line = {name: x[name] for name in ('trial', 'method', 'seed', 'suite')}
      line |= {'ood': ood, 'metrics': {}, 'summaries': mean_of(ood, summaries)}
      lines.append({k: v for k, v in line.items() if k not in without})
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (workdir / 'eval.jsonl').write_text(text)
  return lines


def write_workdir(workdir, methods=tuple(METHODS), seeds=(0, 1), **options):
  """Writes an experiment: every method x seeds x two rates (`lp`: none)."""
  workdir.mkdir(parents=True)
  config = {
    'methods': list(methods),
    'seeds': list(seeds),
    'lrs': [0.003, 0.01],
    'epochs': options.pop('epochs', 10),
  }
  if 'selection' in options:
    options['config'] = {'selection': options.pop('selection')}
    config |= options['config']
  experiment = {
    'suite': 'digits',
    'backbone': 'resnet14_cifar',
    'weights': 'resnet14_cifar.glyphs',
    'classes': list('0123456789'),
    'config': config,
  }
  (workdir / 'experiment.json').write_text(json.dumps(experiment))
  for method in methods:
    lr, head_lr = METHODS[method][0]
    for seed in seeds:
      for factor, quality in ((1, 1.0), (0.3, 0.985)):
        rates = (
          None if lr is None else lr * factor,
          None if head_lr is None else head_lr * (1 if lr else factor),
        )
        if factor == 1 or rates != (lr, head_lr):
          write_trial(workdir, method, seed, rates, quality, **options)
  return workdir


def section(text, title):
  """The lines of a section of a report."""
  return text.split(f'\n## {title}\n')[1].split('\n## ')[0].split('\n')
