// Texts for numbers, times and outcomes. Knows neither the page nor the service.

/** What each outcome means, in the order in which the legend shows them: bad ones first. */
export const OUTCOMES = new Map([
  ['crashed', 'crashed the code that asks it'],
  ['quarantined', 'crashed that code too often and is left alone for now'],
  ['restarting', 'crashed that code, which is being restarted'],
  ['timed_out', 'did not answer in time'],
  ['unreachable', 'is not on any way, or its name is unknown'],
  ['refused', 'does not take connections'],
  ['auth', 'does not accept our credentials'],
  ['protocol', 'answered something that it should not'],
  ['too_large', 'answered more than the limit'],
  ['failed', 'says itself that it failed'],
  ['breaker_open', 'failed and is left alone for now'],
  ['cancelled', 'was given up before it answered'],
  ['asking', 'is being asked'],
  ['unknown', 'was never asked'],
  ['ok', 'answered'],
]);

export function words(outcome) {
  return outcome.replaceAll('_', ' ');
}

export function isFailure(outcome) {
  return outcome !== 'ok' && outcome !== 'unknown' && outcome !== 'asking';
}

export function count(number, noun) {
  const plural = noun.endsWith('h') ? `${noun}es` : `${noun}s`;
  return `${number.toLocaleString('en')} ${number === 1 ? noun : plural}`;
}

/** A duration in the unit that reads best. */
export function duration(ms) {
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return coarse(ms);
}

/** A duration in one unit. */
export function coarse(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** How far the service's clock is ahead of this one's, as its answers say. */
let skew = 0;

export function setSkew(date) {
  const theirs = Date.parse(date ?? '');
  // The header has whole seconds; less than that is no difference.
  const ahead = theirs - Date.now();
  if (!Number.isNaN(theirs)) skew = Math.abs(ahead) < 2000 ? 0 : ahead;
}

function ago(at) {
  const age = Date.now() + skew - at;
  if (age < -1500) return `in ${coarse(-age)}`;
  return age < 1500 ? 'just now' : `${coarse(age)} ago`;
}

/** An element that says how long ago something was, and the time itself when pointed at. */
export function timeElement(text) {
  const element = document.createElement('time');
  const at = new Date(text);
  element.dateTime = text;
  element.title = `${at.toLocaleString()} (${text})`;
  element.textContent = ago(at.getTime());
  return element;
}

/** Brings all those elements up to date. */
export function tick() {
  for (const element of document.querySelectorAll('time')) {
    const text = ago(Date.parse(element.dateTime));
    if (element.textContent !== text) element.textContent = text;
  }
}

/** An element with this class and these children; texts stay texts. */
export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** The mark of an outcome, for the eye only: its name stands beside it. */
export function mark(outcome) {
  const element = make('span', 'mark');
  element.dataset.o = outcome;
  element.setAttribute('aria-hidden', 'true');
  return element;
}
