import assert from 'node:assert/strict';
import { ask, cells, clean, open, says, test, url } from './browser.mjs';

const KEY = '1/nodes/3';

await test(async (browser) => {
  const page = await open(browser);
  await cells(page, { [KEY]: 'unknown' });
  await ask(page);
  await cells(page, { [KEY]: 'ok', '1/nodes/1': 'ok' });
  await says(page, '#restarts', 'Nothing has crashed');

  // Somebody else asks, and it crashes; the page hears of it.
  await fetch(`${url}test`);
  await cells(page, { [KEY]: 'crashed', '1/nodes/1': 'ok' });
  await says(page, '#restarts', 'cluster 1 node 3: panic');
  await says(page, '#restarts', 'simulated panic in lookup 1');
  await says(page, '#changes', 'cluster 1 node 3 fails (crashed)');
  await says(page, '#say', 'cluster 1 node 3 fails.');
  await says(page, '#summary', '3 of 4 devices ok, 1 not');

  await page.click(`[data-key="${KEY}"]`);
  await says(page, '#details', 'crashed the code that asks it');
  await says(page, '#details .error', 'simulated panic in lookup 1');
  await says(page, '#details', 'src/drivers/simulated.rs');
  await says(page, '#details', 'Restarts1');
  await says(page, '#details .feed', 'fails (crashed)');

  // A page that is opened now sees it too, and the same device by its address.
  const other = await open(browser, {}, page.url());
  await cells(other, { [KEY]: 'crashed' });
  await says(other, '#details .error', 'simulated panic in lookup 1');

  // Asked alone, it is well again.
  await page.click('#ask-device');
  await cells(page, { [KEY]: 'ok' });
  await says(page, '#details .feed', 'answers again');
  await says(page, '#details .outcome', 'ok – answered');
  assert.equal(await page.$('#details .error'), null);
  await cells(other, { [KEY]: 'ok' });
  await says(other, '#say', 'cluster 1 node 3 answers again.');
  clean(page);
  clean(other);
});
