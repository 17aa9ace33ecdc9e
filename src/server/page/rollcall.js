// Asks devices now, and fills in their cells while they answer.

import { lines, Refusal } from './api.js';

/** How long lines are taken in before the page may draw. */
const SLICE_MS = 8;

/** Lets the browser draw and listen. */
const breathe = () => new Promise((resolve) => setTimeout(resolve));

export class RollCall {
  #fleet;
  #draw;
  #abort = null;
  #progress = document.getElementById('progress');

  constructor(fleet, draw) {
    this.#fleet = fleet;
    this.#draw = draw;
  }

  get isRunning() {
    return this.#abort !== null;
  }

  stop() {
    this.#abort?.abort();
  }

  /**
   * Asks the devices that `path` means. Gives its last line, or nothing if it was stopped.
   * One at a time: it is the caller's to know.
   */
  async ask(path, devices) {
    this.#abort = new AbortController();
    const asked = [...devices];
    for (const device of asked) {
      device.isAsked = true;
      this.#fleet.dirty.add(device);
    }
    this.#progress.max = Math.max(1, asked.length);
    this.#progress.value = 0;
    this.#progress.hidden = false;
    this.#draw();
    try {
      return await this.#take(path);
    } catch (error) {
      if (this.#abort.signal.aborted) return null;
      throw error;
    } finally {
      this.#abort = null;
      this.#progress.hidden = true;
      this.#fleet.outdate();
      for (const device of asked) {
        if (!device.isAsked) continue;
        device.isAsked = false;
        this.#fleet.dirty.add(device);
      }
      this.#draw();
    }
  }

  async #take(path) {
    let came = 0;
    let slice = performance.now();
    for await (const line of lines(path, this.#abort.signal)) {
      if (line.summary) return line;
      if (line.outcome === undefined) throw new Refusal(line.status, line.detail, 0);
      this.#fleet.came(line);
      came += 1;
      this.#draw();
      if (performance.now() - slice < SLICE_MS) continue;
      this.#progress.value = came;
      await breathe();
      slice = performance.now();
    }
    throw new Refusal(200, 'the roll call broke off before its summary', 0);
  }
}
