import assert from 'node:assert/strict';
import { open, test } from './browser.mjs';

// A browser comes back by itself when a stream of events has ended. No second roll call is made.
await test(async (browser) => {
  const page = await open(browser);
  const told = await page.evaluate(() => new Promise((resolve) => {
    const told = [];
    const source = new EventSource('v1/report');
    for (const name of ['device', 'summary']) {
      source.addEventListener(name, (event) => told.push(`${name} ${event.lastEventId}`));
    }
    source.onmessage = () => told.push('an event without a name');
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) resolve(told);
      else told.push('reconnects');
    };
  }));
  assert.deepEqual(told, ['device 1', 'device 1', 'device 1', 'summary 1', 'reconnects']);
  const next = await page.evaluate(async () => (await fetch('v1/report')).json());
  assert.equal(next.collect, 2);
});
