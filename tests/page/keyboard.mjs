import assert from 'node:assert/strict';
import { cells, clean, open, says, test } from './browser.mjs';

await test(async (browser) => {
  const page = await open(browser);
  await cells(page, { 'core/nodes/ok1': 'unknown' });
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const at = () => page.evaluate(() => document.activeElement.dataset.key ?? document.activeElement.id);

  // "Ask now" is a few stops away; the first is a way around them all.
  await press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  await press('Tab', 'Tab');
  assert.equal(await at(), 'ask');
  await press('Enter');
  await says(page, '#say', 'Asked 31');

  // By the way around, then on: one stop for all cells.
  await page.focus('.skip');
  await press('Enter', 'Tab');
  while ((await at()) === '' || (await page.evaluate(() => document.activeElement.matches('[data-cluster]')))) await press('Tab');
  assert.equal(await at(), 'core/nodes/ok1');
  await press('ArrowRight', 'ArrowRight', 'ArrowLeft');
  assert.equal(await at(), 'core/nodes/ok2');
  await press('End');
  assert.equal(await at(), 'core/nodes/unreachable');
  await press('Home');
  assert.equal(await at(), 'core/nodes/ok1');
  const top = (key) => page.$eval(`[data-key="${key}"]`, (it) => it.getBoundingClientRect());
  await press('ArrowDown');
  const below = await at();
  const [from, to] = [await top('core/nodes/ok1'), await top(below)];
  assert.ok(to.top > from.top && to.left === from.left, below);
  await press('ArrowUp');
  assert.equal(await at(), 'core/nodes/ok1');
  await press('PageDown');
  assert.equal(await at(), 'core/switches/auth');
  await press('PageDown', 'ArrowRight');
  const crashes = await at();
  assert.ok(crashes.endsWith('/nodes/crashes'), crashes);
  assert.equal(await page.evaluate(() => document.activeElement.matches(':focus-visible')), true);
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(ring, 'solid');

  // Into its details and back.
  await press('Enter');
  assert.equal(await at(), 'details-title');
  await says(page, '#details .error', 'simulated panic');
  assert.equal(await page.getAttribute(`[data-key="${crashes}"]`, 'aria-selected'), 'true');
  await press('Tab');
  assert.equal(await at(), 'ask-device');
  await press('Escape');
  assert.equal(await at(), crashes);
  assert.equal(await page.isVisible('#details'), false);

  // To the filter and back, past what does not fit.
  await press('/');
  assert.equal(await at(), 'words');
  await page.keyboard.type('core');
  assert.equal(await page.inputValue('#words'), 'core');
  await page.focus('[data-key="core/switches/too_large"]');
  await press('ArrowRight');
  assert.equal(await at(), 'core/switches/too_large', 'what is filtered out is not walked to');
  clean(page);
});
