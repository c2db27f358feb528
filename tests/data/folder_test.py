"""Folders of images: what is found, how it is split, what is refused."""

import concurrent.futures
import threading
import time

import numpy as np
import pytest
from PIL import Image

from daft_jax.data import contents, folder
from daft_jax.data.preprocess import Preprocess

PREPROCESS = Preprocess(8, (0.5,) * 3, (0.5,) * 3)


def save(path, seed=0):
  path.parent.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(seed)
  Image.fromarray(rng.integers(0, 256, (12, 10, 3), np.uint8)).save(path)


def fill(root, classes, count=10, start=0):
  for number, name in enumerate(classes):
    for i in range(count):
      save(root / name / f'{i}.png', start + 1000 * number + i)
  return root


@pytest.fixture
def root(tmp_path):
  return fill(tmp_path / 'mine', ('cat', 'dog', 'owl'))


def sizes(found):
  return {name: len(split.paths) for name, split in found.splits.items()}


def test_classes_are_split_by_a_seed(root):
  found = folder.scan(root, val_share=0.2, test_share=0.3)
  assert found.classes == ('cat', 'dog', 'owl')
  assert sizes(found) == {'train': 15, 'id_val': 6, 'id_test': 9}
  every = [path for split in found.splits.values() for path in split.paths]
  assert len(set(every)) == 30
  for split in found.splits.values():
    assert np.ptp(np.bincount(split.labels)) == 0
    for path, label in zip(*split, strict=True):
      assert path.parent.name == found.classes[label]
  again = folder.scan(root, val_share=0.2, test_share=0.3)
  assert again.splits == found.splits
  other = folder.scan(root, val_share=0.2, test_share=0.3, split_seed=1)
  assert other.splits['train'] != found.splits['train']
  assert 'id_val and id_test split off by seed' in found.notes[0]


@pytest.mark.parametrize('val', ['val', 'valid', 'validation'])
def test_splits_are_folders(tmp_path, val):
  for number, name in enumerate(('train', val, 'test')):
    fill(tmp_path / name, ('a', 'b'), 2 + number, 100 * number)
  found = folder.scan(tmp_path)
  assert sizes(found) == {'train': 4, 'id_val': 6, 'id_test': 8}
  assert 'split off' not in found.notes[0]


def test_what_is_missing_is_split_from_train(tmp_path):
  fill(tmp_path / 'train', ('a', 'b'), 10)
  fill(tmp_path / 'test', ('a', 'b'), 3, 500)
  found = folder.scan(tmp_path, val_share=0.2)
  assert sizes(found) == {'train': 16, 'id_val': 4, 'id_test': 6}


def test_ood_folders_may_lack_classes(root, tmp_path):
  fill(tmp_path / 'night', ('owl',), 4, 9000)
  fill(tmp_path / 'split/train', ('cat',), 2, 9100)
  fill(tmp_path / 'split/test', ('cat', 'dog'), 3, 9200)
  ood = {'night': tmp_path / 'night', 'other': tmp_path / 'split'}
  found = folder.scan(root, ood)
  assert found.ood == ('night', 'other')
  assert set(found.splits['night'].labels) == {2}
  assert len(found.splits['other'].paths) == 6  # its test alone
  assert 'night has no image of 2 classes: cat, dog' in found.notes


def test_other_files_are_left_out_and_said(root):
  (root / 'cat' / 'notes.txt').write_text('x')
  (root / 'cat' / '.hidden.png').write_bytes(b'')
  (root / '.git').mkdir()
  (root / '__MACOSX').mkdir()
  (root / 'readme.md').write_text('x')
  save(root / 'loose.png')
  save(root / 'cat' / 'deeper' / 'UPPER.JPG', 77)
  found = folder.scan(root)
  assert sum(sizes(found).values()) == 31 and len(found.classes) == 3
  assert [path.name for path in found.other] == ['loose.png', 'notes.txt']
  assert any('loose.png' in note for note in found.notes)


@pytest.mark.parametrize(
  ('given', 'says'),
  [
    ('mone', r'does not exist.*Did you mean .*mine\?'),
    ('mine/cat/0.png', 'is a file: give a folder of class'),
    ('mine/cat', r'holds 10 images but no folders.*<class>/'),
    ('.', r'one class folder .mine.: .* Did you mean .*mine\?'),
  ],
)
def test_the_wrong_level_is_told(root, given, says):
  with pytest.raises(ValueError, match=says):
    folder.scan(root.parent / given)


def test_no_image_anywhere(tmp_path):
  (tmp_path / 'a' / 'b').mkdir(parents=True)
  (tmp_path / 'c').mkdir()
  with pytest.raises(ValueError, match=r'no image in any.*Did you mean .*a\?'):
    folder.scan(tmp_path)


def test_empty_classes(root):
  for name in ('elk', 'fox'):
    (root / name).mkdir()
  (root / 'elk' / 'notes.txt').write_text('x')
  with pytest.raises(
    ValueError, match='2 of 5 class folders in .* no image .elk, fox.: add'
  ):
    folder.scan(root)


def test_too_few_to_split(root):
  for path in list((root / 'dog').glob('*.png'))[2:]:
    path.unlink()
  with pytest.raises(ValueError, match=r'too few .* dog \(2\)\. Add images'):
    folder.scan(root)


def test_one_class(tmp_path):
  fill(tmp_path, ('cat',))
  with pytest.raises(ValueError, match='one class folder .cat.: give'):
    folder.scan(tmp_path)


def test_val_without_train(tmp_path):
  fill(tmp_path / 'val', ('a', 'b'))
  with pytest.raises(
    ValueError, match='has val, taken for splits, but no train'
  ):
    folder.scan(tmp_path)


def test_a_class_outside_train(tmp_path, root):
  fill(tmp_path / 'night', ('owls',), 2, 9000)
  with pytest.raises(
    ValueError, match=r"1 classes that train does not have .owls.*'owl'\?"
  ):
    folder.scan(root, {'night': tmp_path / 'night'})
  with pytest.raises(ValueError, match="cannot be called 'train'"):
    folder.scan(root, {'train': root})


def test_images_are_decoded_at_the_size_of_the_model(root):
  found = folder.scan(root)
  sets = contents.read(found, PREPROCESS)
  for name, split in found.splits.items():
    part = sets.images[name]
    assert part.images.shape == (len(split.paths), 8, 8, 3)
    assert part.labels.tolist() == list(split.labels)
    picture = np.asarray(Image.open(split.paths[0]))[None]
    np.testing.assert_array_equal(part.images[0], PREPROCESS.cut(picture)[0])
  assert sets.notes == () and len(sets.sha256) == 64
  assert contents.read(found, PREPROCESS).sha256 == sets.sha256


def test_the_digest_is_of_contents_not_of_places(root, tmp_path):
  before = contents.read(folder.scan(root), PREPROCESS).sha256
  moved = tmp_path / 'elsewhere'
  root.rename(moved)
  assert contents.read(folder.scan(moved), PREPROCESS).sha256 == before
  save(moved / 'cat' / '0.png', 4242)
  assert contents.read(folder.scan(moved), PREPROCESS).sha256 != before


def test_all_bad_files_are_listed_at_once(root):
  (root / 'cat' / '1.png').write_bytes(b'')
  (root / 'dog' / '2.png').write_bytes(b'text')
  data = (root / 'owl' / '3.png').read_bytes()
  (root / 'owl' / '3.png').write_bytes(data[:100])
  found = folder.scan(root)
  with pytest.raises(ValueError) as error:
    contents.read(found, PREPROCESS)
  lines = str(error.value).splitlines()
  assert lines[0].startswith('3 of 30 image files cannot be read.')
  assert "config.data.bad_files to 'skip'" in lines[0]
  assert sum('is empty' in line for line in lines) == 1
  assert {line.split('/')[-1].split()[0] for line in lines[1:]} == {
    *('1.png', '2.png', '3.png')
  }
  skipped = contents.read(found, PREPROCESS, bad_files='skip')
  assert skipped.notes == ('3 unreadable files left out',)
  assert sum(len(part) for part in skipped.images.values()) == 27
  reported = contents.read(found, PREPROCESS, bad_files='report')
  assert len(reported.notes) == 4
  assert any(note.endswith('1.png is empty') for note in reported.notes)


def test_what_is_trained_on_must_not_be_tested_on(root, tmp_path):
  found = folder.scan(root)
  night = tmp_path / 'night' / 'cat'
  night.mkdir(parents=True)
  source = next(p for p in found.splits['train'].paths if 'cat' in str(p))
  (night / 'again.png').write_bytes(source.read_bytes())
  found = folder.scan(root, {'night': tmp_path / 'night'})
  with pytest.raises(
    ValueError, match='1 images are in two splits(.|\n)*again'
  ):
    contents.read(found, PREPROCESS)


def test_a_file_twice_in_one_split_is_said(tmp_path):
  for number, name in enumerate(('train', 'val', 'test')):
    fill(tmp_path / name, ('a', 'b'), 3, 100 * number)
  save(tmp_path / 'train' / 'a' / 'copy.png', 0)
  sets = contents.read(folder.scan(tmp_path), PREPROCESS)
  assert sets.notes == ('1 files occur more than once',)


def test_a_class_that_cannot_be_read(tmp_path):
  for number, name in enumerate(('train', 'val', 'test')):
    fill(tmp_path / name, ('a', 'b'), 2, 100 * number)
  for path in (tmp_path / 'train' / 'b').iterdir():
    path.write_bytes(b'broken')
  found = folder.scan(tmp_path)
  with pytest.raises(ValueError, match='no readable image of b is left'):
    contents.read(found, PREPROCESS, bad_files='skip')


def test_a_split_hardly_changes_when_files_are_added(root):
  before = folder.scan(root).splits['id_test'].paths
  for i in range(2):
    save(root / 'dog' / f'new{i}.png', 7000 + i)
  after = set(folder.scan(root).splits['id_test'].paths)
  assert len(after - set(before)) <= 2 and len(set(before) - after) <= 2


def test_one_level_too_high(tmp_path):
  for part in ('photos', 'art'):
    fill(tmp_path / part, ('cat', 'dog'), 3)
  with pytest.raises(ValueError, match='no image in any.*Did you mean .*art'):
    folder.scan(tmp_path)


@pytest.mark.parametrize(
  ('names', 'says'),
  [
    (('train', 'training'), 'all of which mean train: keep one'),
    (('Train', 'car', 'bus'), 'Train, taken for splits, and also bus, car'),
    (('train', 'dev'), 'and also dev'),
  ],
)
def test_folders_beside_splits(tmp_path, names, says):
  for name in names:
    fill(tmp_path / name, ('a', 'b'), 2)
  with pytest.raises(ValueError, match=says):
    folder.scan(tmp_path)


def test_links(root, tmp_path):
  fill(tmp_path / 'elsewhere', ('more',), 4, 8000)
  (root / 'cat' / 'linked').symlink_to(tmp_path / 'elsewhere' / 'more')
  (root / 'dog' / 'back').symlink_to(root)
  (root / 'owl' / 'broken.png').symlink_to(tmp_path / 'nowhere.png')
  found = folder.scan(root)
  labels = sum((split.labels for split in found.splits.values()), ())
  assert labels.count(0) == 14
  with pytest.raises(ValueError, match='broken.png'):
    contents.read(found, PREPROCESS)


def test_one_picture_in_two_classes(root):
  source = root / 'cat' / '1.png'
  found = folder.scan(root)
  name = next(s for s, x in found.splits.items() if source in x.paths)
  near = next(p for p in found.splits[name].paths if p.parent.name == 'dog')
  near.write_bytes(source.read_bytes())
  with pytest.raises(ValueError, match='1 images are in two classes'):
    contents.read(folder.scan(root), PREPROCESS)


def test_warnings_are_left_as_they_were(root):
  import warnings

  before = list(warnings.filters)
  contents.read(folder.scan(root), PREPROCESS)
  assert list(warnings.filters) == before


def test_a_class_whose_name_cannot_be_printed(root):
  (root / 'x\ny').mkdir()
  with pytest.raises(ValueError, match='cannot be printed'):
    folder.scan(root)


def test_pictures_are_decoded_as_far_as_there_is_room():
  room, at_once, most = contents._Room(100), 0, 0
  lock = threading.Lock()

  def decode(pixels):
    nonlocal at_once, most
    with room.taken(pixels):
      with lock:
        at_once += pixels
        most = max(most, at_once)
      time.sleep(0.01)
      with lock:
        at_once -= pixels

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(decode, [40, 100, 0, 60, 10, 90] * 5))
  assert 60 <= most <= 100 and at_once == 0


def test_names_of_bad_files_are_escaped(root):
  (root / 'cat' / 'a\x1b[2J\n\udcff.png').write_bytes(b'')
  with pytest.raises(ValueError, match=r'a\\x1b\[2J\\n\\udcff.png is empty'):
    contents.read(folder.scan(root), PREPROCESS)
