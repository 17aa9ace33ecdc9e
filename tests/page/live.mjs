import assert from 'node:assert/strict';
import { cells, clean, open, says, test } from './browser.mjs';

await test(async (browser) => {
  const page = await open(browser);
  await cells(page, { 'core/nodes/db1': 'unknown', 'edge/nodes/silent': 'unknown' });
  await says(page, '#summary', '0 of 9 devices ok, 9 never asked');
  assert.equal(await page.isVisible('#workers'), false, 'it shares its fleet with nobody');
  assert.deepEqual(
    await page.$$eval('.cell', (all) => all.map((it) => it.dataset.key)),
    ['core/nodes/db1', 'core/nodes/db2', 'core/nodes/db3', 'core/nodes/late', 'core/switches/1', 'core/switches/2',
      'edge/nodes/silent', 'edge/switches/tor1', 'edge/switches/tor2'],
  );

  // The quick ones are there while one is still silent.
  await page.click('#ask');
  await cells(page, { 'core/nodes/db1': 'ok', 'core/nodes/late': 'ok', 'core/switches/2': 'refused', 'edge/nodes/silent': 'asking' });
  assert.equal(await page.textContent('#ask'), 'Stop');
  const progress = await page.$eval('#progress', (it) => [it.hidden, it.value, it.max]);
  assert.equal(progress[0], false);
  assert.equal(progress[2], 9);
  assert.match(await page.getAttribute('[data-key="core/nodes/late"]', 'aria-label'), /^late: ok, [\d.]+ m?s$/);
  await page.click('#ask');
  await says(page, '#ask', 'Ask now');
  await cells(page, { 'edge/nodes/silent': 'unknown', 'core/nodes/db1': 'ok' });
  await says(page, '#summary', '7 of 9 devices ok, 1 not, 1 never asked');
  await says(page, '#latency', 'Of 8 lookups: half within');
  assert.equal(await page.title(), '1 not ok · fleetcall');
  await says(page, '#changes', 'cluster core switch 2 fails (refused)');

  // One cluster alone.
  await page.click('button[data-cluster="core"]');
  await says(page, '#say', 'Asked 6: 5 ok, 1 not.');

  // The filter: by words, by kind, by outcome.
  const shown = () => page.$$eval('.cell', (all) => all.filter((it) => it.offsetParent).map((it) => it.dataset.key));
  await page.fill('#words', 'CORE db');
  assert.deepEqual(await shown(), ['core/nodes/db1', 'core/nodes/db2', 'core/nodes/db3']);
  await page.fill('#words', '');
  await page.selectOption('#kind', 'switches');
  assert.deepEqual(await shown(), ['core/switches/1', 'core/switches/2', 'edge/switches/tor1', 'edge/switches/tor2']);
  await page.click('.chip:has-text("refused")');
  assert.deepEqual(await shown(), ['core/switches/2']);
  assert.equal(new URL(page.url()).hash, '#kind=switches&outcome=refused');
  await page.reload();
  await cells(page, { 'core/switches/2': 'refused' });
  await page.waitForFunction(() => [...document.querySelectorAll('.cell')].filter((it) => it.offsetParent).length === 1);
  await page.fill('#words', 'nothing like this');
  assert.equal(await page.isVisible('#nobody'), true);
  clean(page);
});
