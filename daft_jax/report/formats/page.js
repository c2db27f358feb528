
'use strict';
{
  const NUMBER = /-?\d+(\.\d+)?(e[-+]?\d+)?/i;
  const BY_TEXT = new Intl.Collator('en', {numeric: true}).compare;

  // What a cell is sorted by; null: nothing is there, which comes last.
  const key = (cell, byName) => {
    const text = cell.textContent.trim();
    if (byName) return text || null;
    const found = text.match(NUMBER);
    return found && Number(found[0]);
  };

  const sort = (table, head, column) => {
    const byName = head.classList.contains('name');
    const before = head.getAttribute('aria-sort');
    // Numbers first from the highest, names from the first.
    const down = before ? before === 'ascending' : !byName;
    for (const other of table.querySelectorAll('thead th')) {
      other.removeAttribute('aria-sort');
    }
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const body = table.tBodies[0];
    const rows = [...body.rows].map(
      (row) => [key(row.cells[column], byName), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return (down ? -1 : 1) * (byName ? BY_TEXT(a, b) : a - b);
    });
    body.append(...rows.map(([, row]) => row));
  };

  for (const table of document.querySelectorAll('table')) {
    table.querySelectorAll('thead th').forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const button = document.createElement('button');
      button.type = 'button';
      button.title = 'Sort';
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener('click', () => sort(table, head, column));
    });
  }
}
