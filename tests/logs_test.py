"""The logs of a trial, also after a line was cut off."""

from daft_jax import logs


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
