// One device: its last result, error, facts, actor and history.

import { get, Refusal } from './api.js';
import { factsElement } from './facts.js';
import { count, duration, make, mark, OUTCOMES, timeElement, words } from './format.js';
import { held, name, shown } from './fleet.js';
import { changeEntry } from './panels.js';

/** Changes of the device that are shown. */
const SHOWN = 20;

export class Details {
  #card = document.getElementById('details');
  #title = document.getElementById('details-title');
  #body = document.getElementById('details-body');
  #ask = document.getElementById('ask-device');
  #reset = document.getElementById('reset-device');
  #fleet;
  #key = null;
  #drawn = '';
  #failed;

  /** `closed` is called when it is; `ask` and `reset` with a device; `failed` with an error. */
  constructor(fleet, { closed, ask, reset, failed }) {
    this.#fleet = fleet;
    this.#failed = failed;
    const close = () => {
      this.show(null);
      closed();
    };
    document.getElementById('close').addEventListener('click', close);
    this.#card.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') close();
    });
    this.#ask.addEventListener('click', () => ask(this.#key));
    this.#reset.addEventListener('click', () => {
      // It goes when it has done its work, and the keyboard stays here.
      this.#ask.focus();
      reset(this.#key);
    });
  }

  get key() {
    return this.#key;
  }

  /** Shows this device, and takes the keyboard there. */
  async show(device) {
    this.#key = device?.key ?? null;
    this.#card.hidden = !device;
    if (!device) return;
    this.#title.textContent = name(device);
    this.#title.title = device.key;
    this.#reset.hidden = true;
    this.#drawn = '';
    this.#body.replaceChildren(make('p', 'hint', 'Loading…'));
    this.#title.focus();
    this.#card.scrollTop = 0;
    await this.refresh();
  }

  /** Draws it again if there is something new. */
  async refresh() {
    if (this.#key === null) return;
    const device = this.#fleet.devices.get(this.#key);
    if (!device) {
      this.#drawn = '';
      this.#body.replaceChildren(make('p', '', 'It is not in the fleet any more.'));
      return;
    }
    const changes = this.#fleet.changes.filter((change) => change.key === device.key);
    const known = [shown(device), held(device), device.breaker, device.at, device.exitAt, device.restarts, changes.length].join();
    if (known === this.#drawn) return;
    this.#drawn = known;
    const [cluster, kind, id] = device.key.split('/').map(encodeURIComponent);
    try {
      const { json } = await get(`v1/clusters/${cluster}/${kind}/${id}`);
      if (this.#key === device.key) this.#draw(device, json, changes);
    } catch (error) {
      this.#drawn = '';
      if (error instanceof Refusal && error.status === 404) {
        this.#body.replaceChildren(make('p', '', 'It is not in the fleet any more.'));
      } else {
        this.#failed(error);
      }
    }
  }

  #draw(device, state, changes) {
    const outcome = shown({ ...device, isAsked: false });
    const meaning = OUTCOMES.get(outcome);
    const parts = [
      make('p', 'outcome', mark(outcome), make('strong', '', words(outcome)), meaning ? ` – ${meaning}` : ''),
    ];
    if (state.error) parts.push(make('p', 'error', `${words(state.error.kind)}: ${state.error.message}`));
    const hold = held({ isAsked: false, state: state.state, breaker: state.breaker.state });
    if (hold) {
      parts.push(make('p', 'outcome hold', mark(hold), make('strong', '', words(hold)), ` – ${OUTCOMES.get(hold)}`));
    }
    this.#reset.hidden = !hold && state.breaker.state === 'closed';
    parts.push(make('dl', 'facts', ...this.#state(state)));
    if (state.facts && Object.keys(state.facts).length > 0) {
      parts.push(make('h3', '', 'Facts'), factsElement(state.facts));
    }
    const shownChanges = changes.slice(-SHOWN).reverse();
    const entries = shownChanges.map((change) => changeEntry(change, null));
    parts.push(make('h3', '', 'History'));
    parts.push(entries.length > 0 ? make('ol', 'feed', ...entries) : make('p', 'hint', 'No change since the service started.'));
    // What was opened stays open.
    const open = [...this.#body.querySelectorAll('details')].map((it) => it.open);
    this.#body.replaceChildren(...parts);
    for (const [index, element] of this.#body.querySelectorAll('details').entries()) {
      element.open = open[index] ?? false;
    }
  }

  *#state(state) {
    const row = (title, ...value) => [make('dt', '', title), make('dd', '', ...value)];
    yield* row('Last result', state.observed_at ? timeElement(state.observed_at) : 'never');
    if (state.duration_ms !== undefined) yield* row('Took', duration(state.duration_ms));
    if (state.failing_since) yield* row('Failing since', timeElement(state.failing_since));
    yield* row('Last success', state.last_success_at ? timeElement(state.last_success_at) : 'none');
    const until = state.until ? [', back ', timeElement(state.until)] : [];
    yield* row('Its actor', state.state, ...until);
    yield* row('Restarts', String(state.restarts));
    const exit = state.last_exit;
    if (exit) {
      const at = exit.at ? ` at ${exit.at}` : '';
      yield* row('Last exit', timeElement(exit.time), `: ${exit.reason}${exit.message && ` “${exit.message}”`}${at}, after ${duration(exit.uptime_ms)}`);
    }
    const { state: breaker, failures, again_in_ms: again } = state.breaker;
    const wait = again === undefined ? '' : ` for ${duration(again)} more`;
    const inRow = failures > 0 ? `, ${count(failures, 'failure')} in a row` : '';
    yield* row('Breaker', `${words(breaker)}${wait}${inRow}`);
  }
}
