"""Reports say by which images rates and epochs were chosen."""

import pytest

from daft_jax import report, results
from daft_jax.report import __main__, collect, origin
from tests.report.workdirs import section, write_workdir


@pytest.mark.parametrize('selection', [None, 'val', 'paper'])
def test_what_the_rates_were_chosen_by_is_said(tmp_path, selection):
  given = {} if selection is None else {'selection': selection}
  workdir = write_workdir(tmp_path / 'one', ('ft', 'daft'), **given)
  text = report.write_report(workdir).read_text()
  said = '\n'.join(section(text, 'Results'))
  console = report.console_table(results.read(workdir))
  optimistic = (
    'chosen on the ID test set, as in the paper: ID test accuracy is optimistic'
  )
  how = section(text, 'Chosen hyperparameters')[1]
  if selection == 'paper':
    assert f'{optimistic}.' in said and console.endswith(f'\n{optimistic}')
    assert 'chosen by ID validation' not in text
    assert 'highest mean ID test accuracy' in how
    assert 'No OOD or test accuracy' not in text
  else:
    assert 'chosen by ID validation.' in said
    assert 'optimistic' not in text + console
    assert 'highest mean ID validation accuracy' in how
    assert how.endswith('No OOD or test accuracy was used.')


def test_other_selections_do_not_belong_together(tmp_path, capsys):
  one = write_workdir(tmp_path / 'one', ('lp',), seeds=(0,))
  two = write_workdir(tmp_path / 'two', ('ft',), seeds=(0,), selection='paper')
  assert __main__.main([str(one), str(two)]) == 2
  error = capsys.readouterr().err
  assert f"a selection 'val' ({one}) and a selection 'paper' ({two})" in error
  assert error.count('\n') == 1
  same = write_workdir(tmp_path / 'three', ('ft',), seeds=(0,), selection='val')
  # One does not say 'val', which is no difference.
  text = report.write_report([one, same]).read_text()
  assert 'The workdirs differ' not in text


def test_an_unknown_selection_is_refused(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('lp',), selection='ood')
  with pytest.raises(results.ResultsError, match="config.selection .* 'ood'"):
    report.write_report(workdir)
  assert set(collect.SELECTIONS) == set(origin.CHOSEN) == set(origin._USED)
