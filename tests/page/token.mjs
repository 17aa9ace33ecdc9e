import assert from 'node:assert/strict';
import { accessible, ask, cells, open, says, test } from './browser.mjs';

const READ = 'read-0123456789abcdef0123456789abcdef';
const ADMIN = 'admin-0123456789abcdef0123456789abcdef';

await test(async (browser) => {
  const page = await open(browser);
  const show = async (token) => {
    await page.waitForSelector('#token-dialog[open]');
    await page.fill('#token-value', token);
    await page.keyboard.press('Enter');
  };
  await page.waitForSelector('#token-dialog[open]');
  await says(page, '#token-why', 'Paste yours here; if you have none, ask whoever runs this service');
  const why = await page.textContent('#token-why');
  assert.ok(!/Authorization|Bearer|header/.test(why), why);
  await accessible(page, 'the dialog');
  await show('wrong');
  await says(page, '#token-why', 'This service does not know that token. Paste all of it again');
  await show(READ);
  await cells(page, { '1/nodes/1': 'unknown' });

  // Who may only look hears that, and still looks.
  await page.click('#ask');
  await says(page, '#trouble-text', 'this needs `collect`');
  await cells(page, { '1/nodes/1': 'unknown' });
  await page.click('#token');
  await show(ADMIN);
  await page.waitForSelector('#trouble', { state: 'hidden' });
  await ask(page);
  await cells(page, { '1/nodes/1': 'ok' });

  // Kept for this tab, and nowhere else.
  assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0);
  assert.ok(!page.url().includes(ADMIN) && !(await page.content()).includes(ADMIN));
  await page.reload();
  await cells(page, { '1/nodes/1': 'ok' });
  await page.click('#token');
  await page.click('#token-forget');
  await page.waitForSelector('#token-dialog[open]');
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  // A browser says of each refused request that it was; nothing else is wrong.
  assert.deepEqual(page.faults.filter((it) => !/status of 40[13]/.test(it)), []);
});
