import assert from 'node:assert/strict';
import { ask, cells, clean, open, says, test } from './browser.mjs';

await test(async (browser) => {
  const page = await open(browser);
  await cells(page, { '1/nodes/facts': 'unknown' });
  await ask(page);
  await cells(page, { '1/nodes/facts': 'ok', '1/nodes/error': 'failed' });
  await says(page, '#changes', '<img src=x onerror=alert(2)><script>alert(3)</script>');
  await page.click('[data-key="1/nodes/error"]');
  await says(page, '#details .error', '<img src=x onerror=alert(2)>');
  await page.click('[data-key="1/nodes/facts"]');
  await says(page, '#details', '<b>name</b>');
  await says(page, '#details', '<img src=x onerror=alert(1)>');
  await says(page, '#details', '2 entries');
  assert.equal(await page.$('img, #details b, body script'), null);
  // Were the page's own scripts to try, the browser would not let them.
  const refused = await page.evaluate(() => {
    try {
      document.getElementById('details-body').innerHTML = '<b>x</b>';
      return null;
    } catch (error) {
      return error.name;
    }
  });
  assert.equal(refused, 'TypeError');
  const faults = page.faults.splice(0);
  assert.ok(faults.every((it) => it.includes('TrustedHTML')), faults.join());
  clean(page);
});
