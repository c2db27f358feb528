"""A real browser without a window, driven over a pipe.

  with browser.opened(path, width=360) as page:
    page.run('document.title')
    page.faults                             # what the console was told

It is a Chromium that the machine has: nothing is downloaded.
"""

import contextlib
import json
import os
import shutil
import subprocess

NAMES = ('chromium', 'google-chrome', 'chromium-browser', 'chrome')
_FLAGS = (
  *('--headless', '--remote-debugging-pipe', '--no-sandbox'),
  *('--disable-gpu', '--disable-dev-shm-usage', '--no-first-run'),
  *('--hide-scrollbars', '--disable-extensions', '--mute-audio'),
)
FAULTS = ('Runtime.exceptionThrown', 'Runtime.consoleAPICalled')
FAULTS += ('Log.entryAdded',)


def found():
  """The path of a browser, or None."""
  return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
  """One tab: https://chromedevtools.github.io/devtools-protocol."""

  def __init__(self, reads, writes):
    self._reads, self._writes = reads, writes
    self._number, self._session, self._rest = 0, None, b''
    self.events = []

  @property
  def faults(self):
    return [x['params'] for x in self.events if x['method'] in FAULTS]

  @property
  def requests(self):
    """Addresses of all that was loaded, or would have been."""
    return [
      x['params']['request']['url']
      for x in self.events
      if x['method'] == 'Network.requestWillBeSent'
    ]

  def call(self, method, **params):
    self._number += 1
    message = {'id': self._number, 'method': method, 'params': params}
    if self._session:
      message['sessionId'] = self._session
    os.write(self._writes, json.dumps(message).encode() + b'\0')
    while (answer := self._next()).get('id') != self._number:
      self.events.append(answer)
    if 'error' in answer:
      raise RuntimeError(f'{method}: {answer["error"]}')
    return answer['result']

  def _next(self):
    while b'\0' not in self._rest:
      data = os.read(self._reads, 1 << 16)
      if not data:
        raise RuntimeError('the browser has ended')
      self._rest += data
    message, _, self._rest = self._rest.partition(b'\0')
    return json.loads(message)

  def open(self, address, width, height, scheme):
    target = self.call('Target.createTarget', url='about:blank')['targetId']
    self._session = self.call(
      'Target.attachToTarget', targetId=target, flatten=True
    )['sessionId']
    for domain in ('Page', 'Runtime', 'Log', 'Network'):
      self.call(f'{domain}.enable')
    features = [{'name': 'prefers-color-scheme', 'value': scheme}]
    self.call('Emulation.setEmulatedMedia', features=features)
    self.call(
      'Emulation.setDeviceMetricsOverride',
      **{'width': width, 'height': height},
      **{'deviceScaleFactor': 1, 'mobile': width < 600},
    )
    self.call('Page.navigate', url=address)
    while 'Page.loadEventFired' not in [x['method'] for x in self.events]:
      self.events.append(self._next())

  def run(self, script):
    """What an expression of JavaScript is, as JSON."""
    found = self.call('Runtime.evaluate', expression=script, returnByValue=True)
    if 'exceptionDetails' in found:
      raise RuntimeError(str(found['exceptionDetails']))
    return found['result'].get('value')


@contextlib.contextmanager
def opened(path, *, width=1280, height=900, scheme='light'):
  """Opens a file in a browser of its own."""
  there, writes = os.pipe()
  reads, back = os.pipe()
  # It reads from 3 and writes to 4.
  command = f'exec "$0" "$@" 3<&{there} 4>&{back}'
  process = subprocess.Popen(
    ['/bin/bash', '-c', command, found(), *_FLAGS],
    pass_fds=(there, back),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  os.close(there)
  os.close(back)
  try:
    page = Page(reads, writes)
    page.open(path.resolve().as_uri(), width, height, scheme)
    yield page
  finally:
    os.close(writes)
    process.terminate()
    process.wait(20)
    os.close(reads)
