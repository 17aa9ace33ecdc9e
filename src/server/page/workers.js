// Workers that share the fleet, and who has which cluster. Only where there are any: the page says so.

import { get, Refusal, Unreachable } from './api.js';
import { count, duration, make, mark, timeElement } from './format.js';

/** How often they are asked for: each time all workers answer, and the service waits for them. */
const REFRESH_MS = 5000;

/** Rows of a table. */
const SHOWN = 200;

/** A cell that is a time. */
const time = (text) => (text ? { time: text } : '–');

export class Workers {
  #root = document.getElementById('workers');
  #summary = document.getElementById('workers-summary');
  #tables = document.getElementById('workers-tables');
  #isThere = 'shared' in document.body.dataset;
  #isAsking = false;
  #askedAt = -Infinity;
  /** The clusters that nobody had, the last time. */
  #nobodys = null;
  #say;

  /** `say` tells those who do not see it when somebody is missing. */
  constructor(say) {
    this.#say = say;
  }

  /** Asks again if it is time, for a page that is seen. */
  async refresh() {
    const isDue = performance.now() - this.#askedAt > REFRESH_MS;
    if (!this.#isThere || this.#isAsking || !isDue || document.hidden) return;
    this.#isAsking = true;
    this.#askedAt = performance.now();
    try {
      const { json } = await get('v1/workers');
      this.#draw(json);
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#isAsking = false;
    }
  }

  #failed(error) {
    // Whoever asks for everything else notices these as well.
    if (error instanceof Unreachable) return;
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 404) {
      // The service is another one than that which the page is from.
      this.#isThere = false;
      this.#root.hidden = true;
    } else if (error.status === 503) {
      this.#root.hidden = false;
      this.#tables.hidden = true;
      this.#summarize(`Who has what is not known: ${error.message}`, true);
    }
  }

  #summarize(text, isBad) {
    if (this.#summary.textContent === text) return;
    this.#summary.replaceChildren(...(isBad ? [mark('unreachable')] : []), text);
  }

  #draw({ workers, clusters }) {
    // Those that nobody has first: that is what people look for.
    const nobodys = clusters.filter((it) => it.worker === undefined);
    const owned = clusters.filter((it) => it.worker !== undefined);
    const who = `${count(workers.length, 'worker')}, ${count(clusters.length, 'cluster')}`;
    const missing = `${count(nobodys.length, 'cluster')} that nobody has`;
    this.#summarize(nobodys.length > 0 ? `${who}, ${missing}` : who, nobodys.length > 0);
    fill('workers-table', workers.map((it) => ({
      cells: [it.name, it.release, time(it.started_at), ...[it.clusters, it.taken, it.handed_over, it.lost].map(String)],
    })));
    fill('owners-table', [...nobodys, ...owned].map((it) => ({
      isBad: it.worker === undefined,
      cells: [
        String(it.cluster_id), it.worker ?? 'nobody', time(it.since),
        it.renewed_ms === undefined ? '–' : duration(it.renewed_ms),
      ],
    })));
    this.#root.hidden = this.#tables.hidden = false;
    this.#tell(nobodys.map((it) => String(it.cluster_id)));
  }

  #tell(nobodys) {
    const before = this.#nobodys;
    this.#nobodys = new Set(nobodys);
    const news = before ? nobodys.filter((it) => !before.has(it)) : [];
    if (news.length > 3) this.#say(`Nobody has ${count(news.length, 'cluster')} any more.`);
    else if (news.length > 0) this.#say(`Nobody has cluster ${news.join(', ')} any more.`);
  }
}

/** Makes a table's rows these, and touches only what is another than before. */
function fill(id, rows) {
  const table = document.getElementById(id);
  const [body] = table.tBodies;
  for (const [index, { cells, isBad }] of rows.slice(0, SHOWN).entries()) {
    const row = body.rows[index] ?? body.insertRow();
    row.classList.toggle('bad', isBad ?? false);
    for (const [column, cell] of cells.entries()) {
      const known = cell.time ?? `${isBad && column === 1}${cell}`;
      const element = row.cells[column] ?? row.appendChild(heading(column));
      if (element.dataset.known === known) continue;
      element.dataset.known = known;
      if (cell.time) element.replaceChildren(timeElement(cell.time));
      else element.replaceChildren(...(isBad && column === 1 ? [mark('unreachable')] : []), cell);
    }
  }
  while (body.rows.length > Math.min(rows.length, SHOWN)) body.deleteRow(-1);
  const more = rows.length - SHOWN;
  const text = more > 0 ? `And ${more.toLocaleString('en')} more: “fleetcall workers” shows all.` : '';
  const hint = document.getElementById(`${id}-more`);
  if (hint.textContent !== text) hint.textContent = text;
}

/** The first cell of a row says whose row it is. */
function heading(column) {
  if (column > 0) return make('td', '');
  const element = make('th', '');
  element.scope = 'row';
  return element;
}
