// Facts as a list of names and values, as deep as they are. Whatever they say stays text.

import { make } from './format.js';

/** So many entries of a list or an object are shown, and so deep; the rest is counted. */
const SHOWN = 100;
const DEPTH = 6;

export function factsElement(facts, depth = 0) {
  const list = make('dl', 'facts');
  const entries = Object.entries(facts);
  for (const [name, value] of entries.slice(0, SHOWN)) {
    list.append(make('dt', '', Array.isArray(facts) ? `${Number(name) + 1}` : name));
    list.append(make('dd', '', valueElement(name, value, depth)));
  }
  if (entries.length > SHOWN) {
    list.append(make('dt', '', '…'), make('dd', '', `and ${entries.length - SHOWN} more`));
  }
  return list;
}

function valueElement(name, value, depth) {
  if (value === null || typeof value !== 'object') return readable(name, value);
  const length = Object.keys(value).length;
  if (length === 0) return 'none';
  if (Array.isArray(value) && value.every((it) => it === null || typeof it !== 'object')) {
    const rest = length > SHOWN ? ` and ${length - SHOWN} more` : '';
    return value.slice(0, SHOWN).join(', ') + rest;
  }
  if (depth === DEPTH) return JSON.stringify(value).slice(0, 200);
  const title = make('summary', '', Array.isArray(value) ? `${length} entries` : `${length} facts`);
  return make('details', '', title, factsElement(value, depth + 1));
}

/** A value, and behind it the same in units that read better. */
function readable(name, value) {
  const text = String(value);
  if (typeof value !== 'number') return text;
  if (name.endsWith('_bytes') && value >= 1024) {
    const power = Math.min(Math.floor(Math.log2(value) / 10), 5);
    return `${text} (${(value / 1024 ** power).toFixed(1)} ${['', 'K', 'M', 'G', 'T', 'P'][power]}iB)`;
  }
  if (name.endsWith('_seconds') && value >= 120) {
    const days = Math.floor(value / 86_400);
    const hours = Math.floor((value % 86_400) / 3600);
    const minutes = Math.floor((value % 3600) / 60);
    return `${text} (${days > 0 ? `${days} d ` : ''}${hours} h ${minutes} min)`;
  }
  return text;
}
