"""The program on a folder of images: real scans, written as PNG by class."""

import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

import daft_jax
from daft_jax import main
from daft_jax.data import digits

ROOT = pathlib.Path(main.__file__).parent.parent
NAMES = 'zero one two three four five six seven eight nine'.split()


def write(folder, images, labels, invert=False):
  for i, (image, label) in enumerate(zip(images, labels, strict=True)):
    path = folder / NAMES[label] / f'{i}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(255 - image if invert else image).save(path)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  root = tmp_path_factory.mktemp('images')
  images, labels = digits.scans('train', image_size=28)
  write(root / 'digits', images[:200], labels[:200])
  images, labels = digits.mnist(image_size=28)
  write(root / 'mnist', images[::50], labels[::50])
  write(root / 'inverted', images[25::50], labels[25::50], invert=True)
  return root


def run(folders, workdir, *more):
  given = [
    f'--config={ROOT / "configs" / "folder.py"}:methods=lp+daft,epochs=1',
    f'--workdir={workdir}',
    f'--config.data.root={folders / "digits"}',
    f'--config.data.ood=mnist={folders / "mnist"}',
    '--config.backbone=resnet14_cifar',
    '--config.mesh.data=1',
    *more,
  ]
  # A flag that is given twice is an error: here the last one counts.
  last = {flag.partition('=')[0]: flag for flag in given}
  return main.main(list(last.values()))


@pytest.fixture(scope='module')
def workdir(folders, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  assert run(folders, workdir) == 0
  return workdir


def test_a_run_ends_in_its_report(workdir, folders):
  report = (workdir / 'report.md').read_text()
  assert 'suite `folder`' in report and 'OOD mnist' in report
  about = json.loads((workdir / 'experiment.json').read_text())
  assert about['classes'] == sorted(NAMES)
  # Names, not where they lie.
  assert about['config']['data']['root'] == 'digits'
  assert about['config']['data']['ood'] == ['mnist']
  assert len(about['settings']['data_sha256']) == 64
  assert about['notes'][0].startswith('digits: 10 classes')
  assert str(folders) not in report


def test_the_model_says_the_classes_of_the_folders(workdir, folders):
  model, variables, preprocess = daft_jax.load_run(workdir, 'lp')
  about = json.loads((workdir / 'experiment.json').read_text())
  paths = sorted((folders / 'digits').rglob('*.png'))[::7]
  images = np.stack([np.asarray(Image.open(path)) for path in paths])
  logits, _ = model.apply(variables, preprocess(images), train=False)
  said = [about['classes'][i] for i in np.argmax(logits, axis=1)]
  right = [
    name == path.parent.name for name, path in zip(said, paths, strict=True)
  ]
  assert np.mean(right) > 0.6  # chance: 0.1


def test_counts_are_said_before_anything_is_trained(folders, tmp_path, capsys):
  assert run(folders, tmp_path / 'x', '--config.methods=lp') == 0
  out = capsys.readouterr().out
  assert out.index('10 classes') < out.index('lp, seed')
  found = re.search(r'train (\d+), id_val (\d+), id_test (\d+), mnist 100', out)
  counts = [int(number) for number in found.groups()]
  assert sum(counts) == 200 and 25 <= counts[1] == counts[2] <= 35


def test_further_ood_folders(workdir, folders, capsys):
  further = f'--config.data.ood=inverted={folders / "inverted"}'
  assert run(folders, workdir, '--config.eval_only', further) == 0
  (first, _) = (workdir / 'eval.jsonl').read_text().splitlines()
  assert set(json.loads(first)['ood']) == {'inverted'}


def test_other_images_are_another_experiment(workdir, folders, capsys):
  other = f'--config.data.ood=mnist={folders / "inverted"}'
  assert run(folders, workdir, other) == 2
  assert 'data_sha256' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('more', 'says'),
  [
    ('--config.data.root=None', 'config.data.root: suite is folder: say which'),
    ('--config.data.root=/no/such', '/no/such does not exist'),
    ('--config.data.ood=mnist', "config.data.ood is ('mnist',)"),
    ('--config.data.bad_files=ignore', 'config.data.bad_files'),
    ('--config.data.val_share=0.7', 'above 0 and below 0.5'),
    ('--config.eval_ood=mnist', 'config.data.ood says what to evaluate'),
    (
      '--config.suite=digits',
      "config.data: root and ood are for suite 'folder'",
    ),
    ('--config.data.rot=x', 'Did you mean config.data.root?'),
  ],
)
def test_mistakes_are_said_before_anything(
  folders, tmp_path, more, says, capsys
):
  assert run(folders, tmp_path / 'x', more) == 2
  out, err = capsys.readouterr()
  assert says in err and 'Traceback' not in err and out == ''
  assert not (tmp_path / 'x').exists()


def test_other_classes_are_another_experiment(
  workdir, folders, tmp_path, capsys
):
  for name in NAMES[:3]:
    target = tmp_path / 'few' / name
    target.parent.mkdir(exist_ok=True)
    target.symlink_to(folders / 'digits' / name)
  more = (f'--config.data.root={tmp_path / "few"}', '--config.eval_only')
  (tmp_path / 'ood').mkdir()
  (tmp_path / 'ood' / 'zero').symlink_to(folders / 'mnist' / 'zero')
  further = f'--config.data.ood=few={tmp_path / "ood"}'
  assert run(folders, workdir, *more, further) == 2
  assert 'classes' in capsys.readouterr().err


def test_a_workdir_among_the_images(folders, capsys):
  assert run(folders, folders / 'digits' / 'run') == 2
  assert 'among the images' in capsys.readouterr().err
  assert not (folders / 'digits' / 'run').exists()


def test_what_was_trained_on_is_not_tested_on_later(workdir, folders, capsys):
  same = f'--config.data.ood=same={folders / "digits"}'
  assert run(folders, workdir, '--config.eval_only', same) == 2
  assert 'in two splits' in capsys.readouterr().err
