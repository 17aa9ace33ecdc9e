import assert from 'node:assert/strict';
import { accessible, ask, cells, open, order, says, test } from './browser.mjs';

const RACK = 'a-rack-with-a-long-name.in.a-rather-deep.domain.example';

/** The texts of a table's rows. */
const rows = (page, table) => page.$$eval(`#${table} tbody tr`, (all) => all.map((row) => [...row.cells].map((it) => it.textContent)));

await test(async (browser) => {
  const page = await open(browser, { colorScheme: 'light' });
  await cells(page, { '1/nodes/1': 'unknown' });
  await says(page, '#workers-summary', '0 workers, 2 clusters, 2 clusters that nobody has');
  assert.deepEqual(await rows(page, 'owners-table'), [['1', 'nobody', '–', '–'], [RACK, 'nobody', '–', '–']]);
  assert.equal(await page.$$eval('#owners-table .bad .mark', (all) => all.length), 2);
  await accessible(page, 'nobody has anything');

  // One takes all of them.
  await order('worker first');
  await page.waitForFunction(() => document.getElementById('workers-summary').textContent === '1 worker, 2 clusters');
  const [[name, release, started, clusters, taken, handedOver, lost], ...others] = await rows(page, 'workers-table');
  assert.deepEqual([name, clusters, taken, handedOver, lost, others], ['first', '2', '2', '0', '0', []]);
  assert.match(release, /^\d+\.\d+\.\d+/);
  assert.match(started, /^(just now|\d+ s ago)$/);
  for (const [, worker, since, age] of await rows(page, 'owners-table')) {
    assert.equal(worker, 'first');
    assert.match(since, /^(just now|\d+ s ago)$/);
    assert.match(age, /^[\d.]+ m?s$/);
  }
  assert.equal(await page.$('#owners-table .bad'), null);
  assert.equal(await page.getAttribute('#owners-table tbody th', 'scope'), 'row');
  await ask(page);
  await cells(page, { '1/nodes/1': 'ok', [`${RACK}/switches/2`]: 'ok' });
  await accessible(page, 'somebody has everything');

  // Narrow and dark, and without it.
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.setViewportSize({ width: 320, height: 640 });
  await accessible(page, 'narrow and dark');
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
  await page.focus('#workers summary');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => location.hash === '#workers=closed');
  assert.equal(await page.isVisible('#owners-table'), false);
  await page.reload();
  await says(page, '#workers-summary', '1 worker, 2 clusters');
  assert.equal(await page.isVisible('#owners-table'), false);
  await page.click('#workers summary');
  await page.waitForFunction(() => location.hash === '');

  // It goes, and that is told.
  await order('kill-worker first');
  await says(page, '#say', `Nobody has cluster 1, ${RACK} any more.`);
  await says(page, '#workers-summary', '0 workers, 2 clusters, 2 clusters that nobody has');
  assert.deepEqual(await rows(page, 'workers-table'), []);
  assert.deepEqual(page.faults, []);

  await order('kill-nats');
  await says(page, '#workers-summary', 'Who has what is not known: there is no connection to NATS');
  assert.equal(await page.isVisible('#owners-table'), false);
  // A browser says of each refused request that it was; nothing else is wrong.
  assert.deepEqual(page.faults.filter((it) => !it.includes('status of 503')), []);
});
