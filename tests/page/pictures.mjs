import { ask, cells, clean, open, says, test } from './browser.mjs';

const CRASHES = 'core/nodes/db7';

await test(async (browser) => {
  const page = await open(browser, { viewport: { width: 1200, height: 800 } });
  await cells(page, { [CRASHES]: 'unknown' });
  await ask(page);
  await ask(page);
  await cells(page, { [CRASHES]: 'crashed' });
  await page.click(`[data-key="${CRASHES}"]`);
  await says(page, '#details .feed', 'crashed');
  await says(page, '#restarts', 'panic');
  // Neither the keyboard nor the pointer stands on something.
  await page.evaluate(() => document.activeElement.blur());
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.screenshot({ path: `docs/images/status-${colorScheme}.png` });
  }
  clean(page);
});
