import assert from 'node:assert/strict';
import { accessible, clean, open, test, url } from './browser.mjs';

await test(async (browser) => {
  for (const colorScheme of ['light', 'dark']) {
    const page = await open(browser, { colorScheme, reducedMotion: 'reduce' });
    await page.click('footer a:text-is("API")');
    await page.waitForURL(`${url}docs/`);
    await accessible(page, `${colorScheme}, closed`);
    const path = page.locator('details', { has: page.locator('h3 code:text-is("/v1/report")') });
    await path.locator('summary').click();
    await path.locator('td code:text-is("max_age")').waitFor();
    await accessible(page, `${colorScheme}, with a request open`);
    await path.locator('a[href="#ReportView"]').first().click();
    await page.waitForURL(`${url}docs/#ReportView`);
    await page.setViewportSize({ width: 320, height: 640 });
    await accessible(page, `${colorScheme}, narrow`);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
    clean(page);
    await page.close();
  }
});
