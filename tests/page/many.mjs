import assert from 'node:assert/strict';
import { accessible, clean, open, says, test } from './browser.mjs';

const DEVICES = 10_000;

await test(async (browser) => {
  const page = await open(browser);
  await says(page, '#summary', '0 of 10,000 devices ok, 10,000 never asked');
  await page.waitForFunction(() => document.querySelectorAll('.cell').length === 10_000);
  await page.evaluate(() => {
    window.changes = 0;
    window.counts = new Set();
    new MutationObserver((records) => { window.changes += records.length; })
      .observe(document.body, { attributes: true, attributeFilter: ['data-o'], subtree: true });
    const look = () => {
      window.counts.add(document.getElementById('summary').textContent);
      requestAnimationFrame(look);
    };
    look();
  });
  await page.click('#ask');
  await says(page, '#summary', '9,990 of 10,000 devices ok, 10 not');
  await says(page, '#ask', 'Ask now');
  const { changes, counts } = await page.evaluate(() => ({ changes: window.changes, counts: window.counts.size }));
  console.log(`${DEVICES} cells: ${counts} pictures while they filled in, ${changes} changes of cells`);
  assert.ok(counts > 3, `they fill in one after another: ${counts} pictures`);
  // That it is asked and what it answered; not each of them in each picture.
  assert.ok(changes >= 2 * DEVICES && changes <= 3 * DEVICES, `${changes} changes`);

  // Filtering is over when the key's event is.
  const shown = await page.evaluate(() => {
    const words = document.getElementById('words');
    words.value = 'x1';
    words.dispatchEvent(new Event('input'));
    return [...document.querySelectorAll('.cell:not([hidden])')].map((it) => it.dataset.key);
  });
  assert.deepEqual(shown, ['small/nodes/x1', 'small/nodes/x10']);
  await page.click('[data-key="small/nodes/x10"]');
  await says(page, '#details .error', 'refused');
  await accessible(page, 'one of many');
  await page.fill('#words', '');
  assert.equal(await page.getAttribute('#clusters', 'data-density'), 'dense');
  await page.focus('[data-key="big/nodes/n06000"]');
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.evaluate(() => document.activeElement.dataset.key), 'big/switches/1');
  clean(page);
});
