import assert from 'node:assert/strict';
import { accessible, cells, clean, open, order, says, test } from './browser.mjs';

const ALL = 'Demonstration: every device is simulated. Nothing here is about real machines.';
const SIMULATED = '[[clusters]]\nid = 1\nnodes = "1-2"\n';
const REAL = '[[clusters]]\nid = 2\nnodes = "3"\nlookup = { driver = "tcp", address = "127.0.0.1:9" }\n';

await test(async (browser) => {
  const page = await open(browser);
  await cells(page, { '1/nodes/1': 'unknown' });
  await says(page, '#simulated', ALL);
  assert.equal(await page.isVisible('#simulated'), true);
  await accessible(page, 'a demonstration');

  await order(`reload ${JSON.stringify(SIMULATED + REAL)}`);
  await page.waitForSelector('#simulated:not([data-all])', { state: 'visible' });
  await says(page, '#simulated', '2 devices of the fleet are simulated.');
  await accessible(page, 'some are simulated');
  await order(`reload ${JSON.stringify(REAL)}`);
  await page.waitForSelector('#simulated', { state: 'hidden' });
  clean(page);
});
