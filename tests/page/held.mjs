import assert from 'node:assert/strict';
import { accessible, cells, clean, open, says, test, url } from './browser.mjs';

const REFUSED = '1/nodes/refused';
const CRASHES = '1/nodes/crashes';
const LOCKED = '1/switches/locked';

/** Waits until cells are marked so, beside their outcomes; `null` is not at all. */
async function held(page, wanted) {
  await page.waitForFunction((wanted) => {
    const of = (key) => document.querySelector(`[data-key="${key}"]`)?.dataset.held ?? null;
    return Object.entries(wanted).every(([key, hold]) => of(key) === hold);
  }, wanted);
}

await test(async (browser) => {
  const page = await open(browser);
  await page.click('#ask');
  // What /v1 says of them, and beside that why they would not be asked now.
  await cells(page, { [REFUSED]: 'refused', [CRASHES]: 'crashed', [LOCKED]: 'auth', '1/nodes/1': 'ok' });
  await held(page, { [REFUSED]: 'breaker_open', [CRASHES]: 'quarantined', [LOCKED]: 'breaker_open', '1/nodes/1': null });
  assert.match(await page.getAttribute(`[data-key="${REFUSED}"]`, 'aria-label'), /^refused: refused, breaker open/);
  await says(page, '#summary', '1 of 4 devices ok, 3 not');

  // Asked again with all, they are not, and what is said of them stands.
  await page.click('#ask');
  await says(page, '#say', 'Asked 4: 1 ok, 3 not.');
  await cells(page, { [REFUSED]: 'refused', [CRASHES]: 'crashed', [LOCKED]: 'auth' });
  await held(page, { [REFUSED]: 'breaker_open', [CRASHES]: 'quarantined' });

  // The filter knows both.
  const inSight = () => page.$$eval('.cell', (all) => all.filter((it) => it.offsetParent).map((it) => it.dataset.key));
  await page.click('.chip:has-text("breaker open")');
  assert.deepEqual(await inSight(), [REFUSED, LOCKED]);
  await page.click('.chip:has-text("breaker open")');
  await page.click('.chip:has-text("refused")');
  assert.deepEqual(await inSight(), [REFUSED]);
  await page.click('.chip:has-text("refused")');

  // The failure behind it, and since when.
  await page.click(`[data-key="${REFUSED}"]`);
  await says(page, '#details .outcome', 'refused – does not take connections');
  await says(page, '#details .hold', 'breaker open');
  await says(page, '#details .error', 'refused: the simulated lookup failed as told: refused');
  await says(page, '#details', 'Failing since');
  await says(page, '#details', 'Breakeropen for');
  await says(page, '#details', ', 1 failure in a row');
  await accessible(page, 'a device that is left alone');
  if (process.env.PICTURE) await page.screenshot({ path: process.env.PICTURE });

  // Reset, it is not asked, but would be.
  await page.click('#reset-device');
  await says(page, '#say', 'cluster 1 node refused: cleared breaker.');
  await held(page, { [REFUSED]: null });
  await cells(page, { [REFUSED]: 'refused' });
  await page.waitForSelector('#reset-device', { state: 'hidden' });
  assert.equal(await page.evaluate(() => document.activeElement.id), 'ask-device');
  await page.click('#ask-device');
  await cells(page, { [REFUSED]: 'ok' });

  // One in quarantine, and one that is asked at once although its breaker is open.
  await page.click(`[data-key="${CRASHES}"]`);
  await says(page, '#details .error', 'crashed: the node actor panicked: simulated panic');
  await says(page, '#details .hold', 'quarantined');
  await page.click('#reset-device');
  await held(page, { [CRASHES]: null });
  await page.click('#ask-device');
  await cells(page, { [CRASHES]: 'ok' });
  await page.click(`[data-key="${LOCKED}"]`);
  await says(page, '#details .hold', 'breaker open');
  await page.click('#ask-device');
  await says(page, '#say', 'Asked 1: 1 ok, 0 not.');
  await cells(page, { [LOCKED]: 'ok' });
  await held(page, { [LOCKED]: null });
  clean(page);

  // A cluster whose own actor is down says why, too. No configuration brings that about.
  const exit = { reason: 'panic', message: 'a bug', at: 'x.rs:1', time: new Date().toISOString(), uptime_ms: 1 };
  const down = { state: 'quarantined', restarts: 3, last_exit: exit };
  const other = await open(browser, {}, url, (page) => page.route(/\/v1\/(clusters(\/1)?|supervision.*)$/, async (route) => {
    const response = await route.fetch();
    if (response.status() !== 200) return route.fulfill({ response });
    const json = await response.json();
    Object.assign(json.clusters?.[0] ?? json, down);
    return route.fulfill({ response, json });
  }));
  await says(other, '.cluster .counts', 'its own actor is quarantined: panic “a bug”');
  clean(other);
  // The page goes on asking while its browser is closed.
  await other.unrouteAll({ behavior: 'ignoreErrors' });
});
