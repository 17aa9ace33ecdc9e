// Asks the service this page came from. Knows its errors, not its answers.

import { setSkew } from './format.js';
import { token } from './token.js';

/** How long an answer that is there already may take. */
const PATIENCE_MS = 15_000;

/** Nobody answers. */
export class Unreachable extends Error {}

/** The service answers, but not what was asked for. */
export class Refusal extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfterMs = retryAfter > 0 ? retryAfter * 1000 : 0;
  }
}

async function send(path, options) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  let response;
  try {
    // Relative, so that it works below any path of a proxy.
    response = await fetch(path, { ...options, headers, cache: 'no-store', redirect: 'error' });
  } catch (error) {
    if (options.signal?.aborted && options.signal.reason?.name !== 'TimeoutError') throw error;
    throw new Unreachable(String(error?.message ?? error));
  }
  setSkew(response.headers.get('Date'));
  if (response.ok || response.status === 304) return response;
  // What a proxy says whose service is away.
  if (response.status === 502 || response.status === 504) {
    throw new Unreachable(`status ${response.status}`);
  }
  const problem = await response.json().catch(() => ({}));
  const detail = problem.detail ?? `the service answers with status ${response.status}`;
  throw new Refusal(response.status, detail, Number(response.headers.get('Retry-After')));
}

/** An answer in JSON; `null` if it still is the one with this tag. */
export async function get(path, tag) {
  const headers = { Accept: 'application/json' };
  if (tag) headers['If-None-Match'] = tag;
  const response = await send(path, { headers, signal: AbortSignal.timeout(PATIENCE_MS) });
  if (response.status === 304) return null;
  try {
    return { json: await response.json(), tag: response.headers.get('ETag') };
  } catch (error) {
    throw new Unreachable(String(error?.message ?? error));
  }
}

/** Has something done; the answer in JSON. */
export async function post(path) {
  const response = await send(path, { method: 'POST', signal: AbortSignal.timeout(PATIENCE_MS) });
  try {
    return await response.json();
  } catch (error) {
    throw new Unreachable(String(error?.message ?? error));
  }
}

/** The lines of an answer that comes while devices answer. */
export async function* lines(path, signal) {
  const headers = { Accept: 'application/x-ndjson' };
  const response = await send(path, { method: 'POST', headers, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (signal.aborted) throw error;
      throw new Unreachable(String(error?.message ?? error));
    });
    if (done) return;
    const pieces = (rest + value).split('\n');
    rest = pieces.pop();
    // Empty ones keep the connection alive.
    for (const piece of pieces) if (piece !== '') yield JSON.parse(piece);
  }
}
