// The board: a list of cells for each cluster's nodes and switches; who is shown, and the keyboard.

import { count, duration, make, mark, timeElement, words } from './format.js';
import { held, name, shown } from './fleet.js';

/** So many cells are laid out, or left out while they are not in sight, together. */
const BLOCK_LEN = 500;

/** Up to so many devices in sight, cells have room for their names. */
const ROOMY = 300;

const KINDS = { nodes: 'Nodes', switches: 'Switches' };

export class Board {
  #root = document.getElementById('clusters');
  #nobody = document.getElementById('nobody');
  #tip = document.getElementById('tip');
  #fleet;
  #cells = new Map();
  #sections = new Map();
  #open;
  /** The only cell that Tab comes to. */
  #current = null;
  #selected = null;
  #filter = { words: [], kind: '', outcomes: new Set() };
  #inSight = 0;

  /** `open` is called with the device that was chosen, `ask` with a cluster. */
  constructor(fleet, { open, ask, seek }) {
    this.#fleet = fleet;
    this.#open = open;
    this.#root.addEventListener('click', (event) => {
      const cell = event.target.closest('.cell');
      if (cell) this.#choose(cell);
      const button = event.target.closest('button[data-cluster]');
      if (button) ask(button.dataset.cluster);
    });
    this.#root.addEventListener('keydown', (event) => this.#key(event, seek));
    this.#root.addEventListener('pointerover', (event) => this.#point(event.target));
    this.#root.addEventListener('pointerleave', () => (this.#tip.hidden = true));
    this.#root.addEventListener('focusin', (event) => {
      if (event.target.matches('.cell')) this.#stop(event.target);
      this.#point(event.target);
    });
    this.#root.addEventListener('focusout', () => (this.#tip.hidden = true));
  }

  /** Draws what has changed since the last time. */
  draw() {
    const fleet = this.#fleet;
    if (fleet.isReshaped) {
      fleet.isReshaped = false;
      this.#reshape();
      for (const device of fleet.devices.values()) fleet.dirty.add(device);
    }
    const clusters = new Set();
    let isFilterTouched = false;
    for (const device of fleet.dirty) {
      const cell = this.#cells.get(device.key);
      if (!cell) continue;
      this.#paint(cell, device);
      const isHidden = !this.#fits(device);
      if (cell.hidden !== isHidden) {
        cell.hidden = isHidden;
        isFilterTouched = true;
      }
      clusters.add(device.cluster);
    }
    fleet.dirty.clear();
    for (const key of clusters) this.#head(key);
    if (isFilterTouched || this.#inSight === 0) this.#settle();
  }

  /** Shows only what fits. */
  filter(filter) {
    this.#filter = filter;
    for (const device of this.#fleet.devices.values()) {
      const cell = this.#cells.get(device.key);
      if (cell) cell.hidden = !this.#fits(device);
    }
    this.#settle();
    return this.#inSight;
  }

  /** Marks the chosen device. */
  select(key) {
    this.#selected?.setAttribute('aria-selected', 'false');
    this.#selected = this.#cells.get(key) ?? null;
    this.#selected?.setAttribute('aria-selected', 'true');
    if (this.#selected) this.#stop(this.#selected);
  }

  /** Gives the keyboard back to the board. */
  focus() {
    (this.#current ?? document.getElementById('board')).focus();
  }

  #fits(device) {
    const { words, kind, outcomes } = this.#filter;
    if (kind && device.kind !== kind) return false;
    if (outcomes.size > 0 && !outcomes.has(shown(device)) && !outcomes.has(held(device))) return false;
    if (words.length === 0) return true;
    const text = `${device.cluster} ${device.id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  }

  #reshape() {
    const hadFocus = this.#root.contains(document.activeElement) && document.activeElement.dataset.key;
    const sections = new Map();
    const cells = new Map();
    for (const [index, cluster] of this.#fleet.clusters.entries()) {
      const section = this.#sections.get(cluster.key) ?? this.#section(cluster);
      // By its place, as ids of elements have no spaces and ids of clusters are any text.
      const lists = cluster.lists.map(({ kind, devices }) => {
        const list = make('div', 'cells');
        list.setAttribute('role', 'listbox');
        list.setAttribute('aria-label', `${KINDS[kind]} of cluster ${cluster.key}`);
        for (let start = 0; start < devices.length; start += BLOCK_LEN) {
          const block = make('div', 'block');
          block.setAttribute('role', 'presentation');
          for (const device of devices.slice(start, start + BLOCK_LEN)) {
            const cell = this.#cells.get(device.key) ?? this.#cell(device);
            cells.set(device.key, cell);
            block.append(cell);
          }
          list.append(block);
        }
        return make('div', 'list', make('h3', '', KINDS[kind]), list);
      });
      section.lists.replaceChildren(...lists);
      sections.set(cluster.key, section);
      if (this.#root.children[index] !== section.element) {
        this.#root.insertBefore(section.element, this.#root.children[index] ?? null);
      }
    }
    for (const [key, section] of this.#sections) if (!sections.has(key)) section.element.remove();
    this.#sections = sections;
    this.#cells = cells;
    for (const cluster of this.#fleet.clusters) this.#head(cluster.key);
    if (this.#current && !cells.has(this.#current.dataset.key)) this.#current = null;
    if (hadFocus) (cells.get(hadFocus) ?? document.getElementById('board')).focus();
    this.#inSight = 0;
  }

  #section(cluster) {
    const title = make('h2', '', `Cluster ${cluster.key}`);
    const counts = make('p', 'counts');
    const button = make('button', '', 'Ask');
    button.type = 'button';
    button.dataset.cluster = cluster.key;
    button.setAttribute('aria-label', `Ask cluster ${cluster.key}`);
    const lists = make('div', 'lists');
    const element = make('section', 'cluster', make('div', 'card-head', title, counts, button), lists);
    element.setAttribute('aria-label', `Cluster ${cluster.key}`);
    return { element, counts, lists };
  }

  #cell(device) {
    const cell = make('div', 'cell');
    cell.setAttribute('role', 'option');
    cell.setAttribute('aria-selected', 'false');
    cell.tabIndex = -1;
    cell.dataset.key = device.key;
    cell.dataset.id = device.id;
    return cell;
  }

  #paint(cell, device) {
    const outcome = shown(device);
    const isMeasured = device.took !== null && outcome === device.outcome && outcome !== 'crashed';
    const took = isMeasured ? duration(device.took) : '';
    if (cell.dataset.o !== outcome) cell.dataset.o = outcome;
    if (cell.dataset.took !== took) cell.dataset.took = took;
    const hold = held(device);
    if (hold && cell.dataset.held !== hold) cell.dataset.held = hold;
    if (!hold && cell.dataset.held) delete cell.dataset.held;
    cell.setAttribute('aria-label', `${device.id}: ${words(outcome)}${hold ? `, ${words(hold)}` : ''}${took && `, ${took}`}`);
  }

  /** A cluster's counts. */
  #head(key) {
    const cluster = this.#fleet.clusters.find((it) => it.key === key);
    const section = this.#sections.get(key);
    if (!cluster || !section) return;
    const { all, ok, failed } = this.#fleet.tally(cluster.lists.flatMap((list) => list.devices));
    const parts = [`${count(all, 'device')}, ${ok.toLocaleString('en')} ok`];
    if (failed > 0) parts.push(`${failed.toLocaleString('en')} not`);
    const exit = cluster.state === 'running' ? null : cluster.exit;
    if (cluster.state !== 'running') parts.push(`its own actor is ${cluster.state}`);
    const text = `${parts.join(', ')}${exit ? `: ${exit.reason}${exit.message && ` “${exit.message}”`} ` : ''}`;
    const drawn = `${text}${exit?.time ?? ''}`;
    if (section.counts.dataset.drawn === drawn) return;
    section.counts.dataset.drawn = drawn;
    section.counts.replaceChildren(text, ...(exit ? [timeElement(exit.time)] : []));
  }

  /** After cells were shown or hidden: hides what is empty, gives names room. */
  #settle() {
    this.#inSight = 0;
    for (const { element, lists } of this.#sections.values()) {
      let inSection = 0;
      for (const list of lists.children) {
        const inList = list.querySelectorAll('.cell:not([hidden])').length;
        list.hidden = inList === 0;
        inSection += inList;
      }
      element.hidden = inSection === 0;
      this.#inSight += inSection;
    }
    this.#nobody.hidden = this.#inSight > 0;
    this.#root.dataset.density = this.#inSight <= ROOMY ? 'roomy' : 'dense';
    if (!this.#current || this.#current.hidden) {
      const first = this.#root.querySelector('.cluster:not([hidden]) .list:not([hidden]) .cell:not([hidden])');
      this.#stop(first);
    }
  }

  #stop(cell) {
    if (cell === this.#current) return;
    if (this.#current) this.#current.tabIndex = -1;
    this.#current = cell;
    if (cell) cell.tabIndex = 0;
  }

  #choose(cell) {
    cell.focus();
    this.#open(this.#fleet.devices.get(cell.dataset.key));
  }

  #key(event, seek) {
    const cell = event.target.closest('.cell');
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = {
      ArrowRight: () => this.#step(cell, 1),
      ArrowLeft: () => this.#step(cell, -1),
      ArrowDown: () => this.#row(cell, 1),
      ArrowUp: () => this.#row(cell, -1),
      Home: () => this.#edge(cell, 0),
      End: () => this.#edge(cell, -1),
      PageDown: () => this.#list(cell, 1),
      PageUp: () => this.#list(cell, -1),
      Enter: () => this.#choose(cell),
      ' ': () => this.#choose(cell),
      '/': () => seek(),
    }[event.key];
    if (!next) return;
    event.preventDefault();
    const found = next();
    found?.focus();
    found?.scrollIntoView({ block: 'nearest' });
  }

  /** The next cell in sight, also of the next list or cluster. */
  #step(cell, by) {
    const sibling = by > 0 ? 'nextElementSibling' : 'previousElementSibling';
    const child = by > 0 ? 'firstElementChild' : 'lastElementChild';
    let at = cell;
    for (;;) {
      let up = at;
      while (!up[sibling]) {
        up = up.parentElement;
        if (up === this.#root) return null;
      }
      at = up[sibling];
      while (at[child] && !at.hidden && !at.matches('.cell')) at = at[child];
      if (at.matches('.cell') && !at.hidden) return at;
    }
  }

  /** The cell above or below. */
  #row(cell, by) {
    const from = cell.getBoundingClientRect();
    let best = null;
    let row = null;
    for (let at = this.#step(cell, by); at; at = this.#step(at, by)) {
      const place = at.getBoundingClientRect();
      if (Math.abs(place.top - from.top) < 2) continue;
      if (row !== null && Math.abs(place.top - row) > 2) break;
      row ??= place.top;
      const off = Math.abs(place.left - from.left);
      if (best && off >= best.off) continue;
      best = { at, off };
    }
    return best?.at;
  }

  #edge(cell, index) {
    return [...cell.closest('.cells').querySelectorAll('.cell:not([hidden])')].at(index);
  }

  #list(cell, by) {
    const lists = [...this.#root.querySelectorAll('.cluster:not([hidden]) .list:not([hidden])')];
    const list = lists[lists.indexOf(cell.closest('.list')) + by];
    return list?.querySelector('.cell:not([hidden])');
  }

  /** Says beside a cell what it is; those who do not see it hear its label. */
  #point(target) {
    const cell = target.closest('.cell');
    const device = cell && this.#fleet.devices.get(cell.dataset.key);
    this.#tip.hidden = !device;
    if (!device) return;
    const outcome = shown(device);
    const hold = held(device);
    const parts = [mark(outcome), `${name(device)}: ${words(outcome)} ${cell.dataset.took} `];
    if (hold) parts.push(mark(hold), words(hold));
    this.#tip.replaceChildren(...parts);
    const place = cell.getBoundingClientRect();
    const room = document.documentElement.clientWidth - this.#tip.offsetWidth - 8;
    this.#tip.style.left = `${Math.max(8, Math.min(place.left, room))}px`;
    this.#tip.style.top = `${place.bottom + 6}px`;
  }
}
