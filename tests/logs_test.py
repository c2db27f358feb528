"""The logs of a trial, also after a line was cut off."""

import os

import pytest

from daft_jax import logs, results


def line(epoch, stage='finetune'):
  return {'stage': stage, 'epoch': epoch, 'id_val': 0.5}


def test_rewind_drops_the_later_lines_of_a_stage(tmp_path):
  log = logs.TrialLog(tmp_path)
  for what in (line(1, 'probe'), line(1), line(2), line(3)):
    log.metrics(what)
  assert log.rewind('finetune', 1) == [line(1)]
  log.metrics(line(2))
  text = (tmp_path / logs.METRICS).read_text()
  assert text.count('\n') == 3 and text.count('probe') == 1


def test_a_line_that_was_cut_off_does_not_spoil_the_next(tmp_path):
  log = logs.TrialLog(tmp_path)
  log.metrics(line(1))
  log.lap('prepare')
  for name in (logs.METRICS, logs.TIMINGS):
    with open(tmp_path / name, 'a') as file:
      file.write('{"stage": "finetune", "epo')
  log = logs.TrialLog(tmp_path)
  log.metrics(line(2))
  log.lap('finetune')
  assert log.rewind('finetune', 2) == [line(1), line(2)]
  assert log.seconds() >= 0


@pytest.mark.parametrize(
  ('name', 'text'),
  [
    (logs.METRICS, 'no JSON\n'),
    (logs.METRICS, '[1]\n'),
    (logs.METRICS, '{"stage": "finetune"}\n'),
    (logs.METRICS, '{"stage": "finetune", "epoch": "1"}\n'),
    (logs.METRICS, '[' * 100_000 + '\n'),
    (logs.TIMINGS, '{"what": "prepare"}\n'),
    (logs.TIMINGS, '{"seconds": "3"}\n'),
    (logs.TIMINGS, '{"seconds": null}\n'),
  ],
)
def test_lines_of_a_stranger_are_refused(tmp_path, name, text):
  (tmp_path / name).write_text(text)
  log = logs.TrialLog(tmp_path)
  with pytest.raises(
    results.ResultsError, match=f'{name}:1.*delete {tmp_path}'
  ):
    log.seconds() if name == logs.TIMINGS else log.rewind('finetune', 1)


def test_what_has_no_end_is_not_read(tmp_path):
  os.mkfifo(tmp_path / logs.METRICS)
  with pytest.raises(results.ResultsError, match='is no file'):
    logs.TrialLog(tmp_path)
  (tmp_path / logs.METRICS).unlink()
  with open(tmp_path / logs.TIMINGS, 'wb') as file:
    file.truncate(1 << 36)
  with pytest.raises(results.ResultsError, match='more than'):
    logs.TrialLog(tmp_path)
