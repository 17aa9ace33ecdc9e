// What stands beside the board: the summary and its legend, latencies, restarts, changes.

import { count, duration, isFailure, make, mark, OUTCOMES, timeElement, words } from './format.js';
import { name } from './fleet.js';

/** Entries of a feed. */
const SHOWN = 30;

/** Upper ends of the bars, in milliseconds; 1, 2 and 5 of each power of ten. */
const BARS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, Infinity];

/** The outcomes with their numbers, each a switch that shows only those. */
export class Legend {
  #root = document.getElementById('legend');
  #chips = new Map();

  constructor(toggled) {
    for (const [outcome, meaning] of OUTCOMES) {
      const number = make('span', 'number');
      const chip = make('button', 'chip', mark(outcome), words(outcome), ' ', number);
      chip.type = 'button';
      chip.title = `the device ${meaning}`;
      chip.hidden = true;
      chip.setAttribute('aria-pressed', 'false');
      chip.addEventListener('click', () => {
        const isOn = chip.getAttribute('aria-pressed') !== 'true';
        chip.setAttribute('aria-pressed', String(isOn));
        toggled();
      });
      this.#chips.set(outcome, { chip, number });
      this.#root.append(chip);
    }
  }

  get pressed() {
    const pressed = [...this.#chips].filter(([, { chip }]) => chip.getAttribute('aria-pressed') === 'true');
    return new Set(pressed.map(([outcome]) => outcome));
  }

  press(outcomes) {
    for (const [outcome, { chip }] of this.#chips) {
      chip.setAttribute('aria-pressed', String(outcomes.has(outcome)));
    }
  }

  draw(tally) {
    const pressed = this.pressed;
    for (const [outcome, { chip, number }] of this.#chips) {
      const text = (tally.get(outcome) ?? 0).toLocaleString('en');
      chip.hidden = text === '0' && !pressed.has(outcome);
      if (number.textContent !== text) number.textContent = text;
    }
  }
}

/** How the fleet is, in a line and in the tab's title. */
export function drawSummary({ all, ok, failed, tally }) {
  const never = tally.get('unknown') ?? 0;
  const parts = [`${ok.toLocaleString('en')} of ${count(all, 'device')} ok`];
  if (failed > 0) parts.push(`${failed.toLocaleString('en')} not`);
  if (never > 0) parts.push(`${never.toLocaleString('en')} never asked`);
  const text = all === 0 ? 'No devices' : parts.join(', ');
  const summary = document.getElementById('summary');
  if (summary.textContent !== text) summary.textContent = text;
  const title = failed > 0 ? `${failed} not ok · fleetcall` : 'fleetcall';
  if (document.title !== title) document.title = title;
  return text;
}

/** How many devices are made up: what they say looks like what real ones say. */
export function drawSimulated({ demonstration, simulated }) {
  const all = 'Demonstration: every device is simulated. Nothing here is about real machines.';
  const some = `${count(simulated, 'device')} of the fleet ${simulated === 1 ? 'is' : 'are'} simulated.`;
  const element = document.getElementById('simulated');
  element.hidden = simulated === 0;
  element.toggleAttribute('data-all', demonstration);
  const text = demonstration ? all : some;
  if (element.textContent !== text) element.textContent = text;
}

/** How long the last lookups took. */
export function drawLatency(devices) {
  const root = document.getElementById('latency');
  const bars = BARS.map(() => ({ ok: 0, failed: 0 }));
  const all = [];
  for (const device of devices) {
    if (device.took === null) continue;
    all.push(device.took);
    const bar = bars[BARS.findIndex((end) => device.took <= end)];
    if (isFailure(device.outcome)) bar.failed += 1;
    else bar.ok += 1;
  }
  if (all.length === 0) {
    root.replaceChildren(make('p', 'hint', 'No lookup has ended yet.'));
    return;
  }
  const times = Float64Array.from(all).sort();
  const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))];
  const quantiles = `half within ${duration(at(0.5))}, 90 % within ${duration(at(0.9))}, 99 % within ${duration(at(0.99))}, the slowest in ${duration(at(1))}`;
  const label = `${count(times.length, 'lookup')}: ${quantiles}`;
  if (root.dataset.label === label) return;
  root.dataset.label = label;
  const most = Math.max(...bars.map((bar) => bar.ok + bar.failed));
  const chart = make('div', 'chart');
  chart.setAttribute('role', 'img');
  chart.setAttribute('aria-label', `Distribution of ${label}`);
  for (const [index, bar] of bars.entries()) {
    const column = make('div', 'bar');
    for (const [part, number] of [['failed', bar.failed], ['ok', bar.ok]]) {
      const element = make('div', part);
      element.style.height = `${(100 * number) / most}%`;
      // So that one among thousands is seen.
      if (number > 0) element.style.minHeight = '2px';
      column.append(element);
    }
    const to = BARS[index] === Infinity ? 'more' : `to ${short(BARS[index])}`;
    column.title = `${to}: ${bar.ok + bar.failed}`;
    chart.append(column);
  }
  const axis = make('div', 'axis', ...BARS.map((end) => make('span', '', tenfold(end) ? short(end) : '')));
  axis.setAttribute('aria-hidden', 'true');
  root.replaceChildren(chart, axis, make('p', 'hint', `Of ${label}.`));
}

function tenfold(end) {
  return Number.isInteger(Math.log10(end));
}

function short(ms) {
  return ms < 1000 ? `${ms} ms` : `${ms / 1000} s`;
}

/** A device to go to, as long as it is there. */
function link(text, key) {
  if (!key) return text;
  const button = make('button', 'link', text);
  button.type = 'button';
  button.dataset.device = key;
  return button;
}

const CHANGED = {
  appeared: ['unknown', 'is new'],
  gone: ['unknown', 'is gone'],
  recovered: ['ok', 'answers again'],
  facts_changed: ['ok', 'has other facts'],
};

/** What changed, with the device unless it is plain. */
export function changeEntry(change, device) {
  const kind = change.error?.kind ?? 'failed';
  const [outcome, text] = CHANGED[change.change] ?? [kind, `fails (${words(kind)})`];
  const more = change.error?.message ?? change.facts?.join(', ') ?? '';
  const who = device ? [link(name(device), device.key), ' '] : change.name && device === undefined ? [`${change.name} `] : [];
  const line = make('div', '', ...who, text, ' ', timeElement(change.time));
  const body = make('div', '', line);
  if (more) body.append(make('div', 'more', more));
  return make('li', '', mark(outcome), body);
}

/** The newest changes, and restarts. */
export class Feeds {
  #changes = document.getElementById('changes');
  #restarts = document.getElementById('restarts');
  #drawn = { changes: '', restarts: '' };

  draw(fleet) {
    this.#list(fleet, 'changes', this.#changes, fleet.changes, 'Nothing has changed since the service started.', (change) =>
      changeEntry(change, fleet.devices.get(change.key)),
    );
    this.#list(fleet, 'restarts', this.#restarts, fleet.restarts, 'Nothing has crashed since the service started.', (it) => {
      const { reason, message, at } = it.exit;
      const line = make('div', '', link(it.path, it.key), `: ${reason} `, timeElement(it.exit.time));
      const more = [message, at && `at ${at}`, count(it.restarts, 'restart')].filter(Boolean).join(', ');
      return make('li', '', mark('restarting'), make('div', '', line, make('div', 'more', more)));
    });
  }

  #list(fleet, name, root, all, nothing, entry) {
    const newest = all.slice(-SHOWN).reverse();
    // Devices come with their clusters, which may be after what changed of them.
    const there = newest.filter((it) => fleet.devices.has(it.key)).length;
    const known = `${all.length} ${there} ${JSON.stringify(newest[0] ?? null)}`;
    if (known === this.#drawn[name]) return;
    this.#drawn[name] = known;
    // Who stands on an entry stays there, if it does.
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.device : null;
    root.replaceChildren(...(newest.length > 0 ? newest.map(entry) : [make('li', 'hint', nothing)]));
    if (focused) root.querySelector(`[data-device="${CSS.escape(focused)}"]`)?.focus();
  }
}
