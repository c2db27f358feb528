"""The console: a bar on a terminal, plain lines elsewhere."""

import io
import re

from daft_jax import writer


class Terminal(io.StringIO):
  def isatty(self):
    return True


def show(out, **options):
  with writer.Writer(10, out=out, **options) as shown:
    shown.line('daft, seed 0')
    shown.advance(4)
    shown.progress('epoch 1/2')
    shown.advance(6)
    shown.progress('epoch 2/2')
    shown.line('finished')
  return out.getvalue()


def test_plain_lines_have_the_eta_and_no_control_characters():
  lines = show(io.StringIO()).splitlines()
  assert lines[0] == 'daft, seed 0' and lines[-1] == 'finished'
  assert re.fullmatch(r'  epoch 1/2  \(\d+:\d\d left\)', lines[1])
  assert lines[2] == '  epoch 2/2  (0:00 left)'


def test_a_terminal_gets_a_bar_that_ends():
  text = show(Terminal())
  assert '40% |' in text or '100% |' in text
  assert '\r' in text and ' left' in text
  assert 'daft, seed 0' in text and 'finished' in text


def test_the_eta_follows_the_pace(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(writer.time, 'monotonic', lambda: now[0])
  shown = writer.Writer(100, out=io.StringIO())
  assert shown.remaining() is None
  now[0] += 30
  shown.advance(20)
  assert shown.remaining() == '2:00'
  shown.advance(80)
  assert shown.remaining() == '0:00'


def test_other_processes_are_silent():
  assert show(io.StringIO(), active=False) == ''


def test_append_adds_whole_lines(tmp_path):
  writer.append(tmp_path / 'a.jsonl', '{"a": 1}')
  writer.append(tmp_path / 'a.jsonl', '{"a": 2}')
  assert (tmp_path / 'a.jsonl').read_text() == '{"a": 1}\n{"a": 2}\n'
