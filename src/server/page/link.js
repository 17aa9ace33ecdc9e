// Whether the service is there: the banner while it is not, and when to try again.

import { coarse } from './format.js';

const FIRST_MS = 1000;
const LONGEST_MS = 15_000;

export class Link {
  #banner = document.getElementById('lost');
  #text = document.getElementById('lost-text');
  #since = null;
  #retryAt = 0;
  #wait = FIRST_MS;
  #timer = 0;
  #again;
  #say;

  /** `again` tries; `say` tells those who cannot see the banner. */
  constructor(again, say) {
    this.#again = again;
    this.#say = say;
    document.getElementById('retry').addEventListener('click', () => this.#try());
    // The browser knows first when the network is back.
    addEventListener('online', () => this.isLost && this.#try());
  }

  get isLost() {
    return this.#since !== null;
  }

  /** Nobody answered: tries again, later each time. */
  lost() {
    if (!this.isLost) {
      this.#since = Date.now();
      this.#wait = FIRST_MS;
      this.#banner.hidden = false;
      document.body.dataset.lost = '';
      this.#say('The connection to fleetcall is lost. What is shown is as it was then.');
    }
    // Not all pages at the same time.
    const wait = this.#wait * (0.75 + Math.random() / 2);
    this.#wait = Math.min(this.#wait * 2, LONGEST_MS);
    this.#retryAt = Date.now() + wait;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#try(), wait);
    this.tick();
  }

  /** Somebody answered; whether that is news. */
  found() {
    if (!this.isLost) return false;
    this.#since = null;
    clearTimeout(this.#timer);
    this.#banner.hidden = true;
    delete document.body.dataset.lost;
    this.#say('The connection to fleetcall is back.');
    return true;
  }

  tick() {
    if (!this.isLost) return;
    const at = new Date(this.#since).toLocaleTimeString();
    const age = coarse(Date.now() - this.#since);
    const wait = coarse(this.#retryAt - Date.now());
    this.#text.textContent =
      `No connection to fleetcall since ${at} (${age}). What is shown is as it was then. ` +
      `Trying again in ${wait}.`;
  }

  #try() {
    clearTimeout(this.#timer);
    this.#again();
  }
}
