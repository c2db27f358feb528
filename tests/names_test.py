"""Names: known, near and far."""

import pytest

from daft_jax import names


def test_a_known_name_is_returned():
  assert names.check('b', iter('abc'), 'letter') == 'b'


def test_an_unknown_name_says_what_is_near_and_known():
  with pytest.raises(ValueError) as error:
    names.check('dfat', ('ft', 'daft'), 'method')
  assert str(error.value) == (
    "no method named 'dfat'. Did you mean 'daft'? Known: ft, daft"
  )
  with pytest.raises(ValueError, match="named 'x'. Known: ft"):
    names.check('x', ('ft',), 'method')


def test_lists_are_cut():
  assert names.listed(range(3)) == '0, 1, 2'
  assert names.listed(range(10)) == '0, 1, 2, 3, 4, 5, 6, 7 and 2 more'
  assert names.listed([]) == ''
