import assert from 'node:assert/strict';
import { accessible, ask, cells, clean, open, says, test } from './browser.mjs';

const CRASHES = 'a-cluster-with-a-long-name.in.a-rather-deep.domain.example/nodes/crashes';

/** How far two colours are apart, by WCAG 2.2. */
function contrast(a, b) {
  const luminance = (colour) => {
    const [red, green, blue] = colour.match(/[\d.]+/g).map(Number).map((it) => {
      const share = it / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

await test(async (browser) => {
  for (const colorScheme of ['light', 'dark']) {
    const page = await open(browser, { colorScheme, reducedMotion: 'reduce' });
    await cells(page, { 'core/nodes/ok1': colorScheme === 'light' ? 'unknown' : 'ok' });
    await accessible(page, `${colorScheme}, at first`);
    await ask(page);
    await cells(page, { 'core/nodes/ok1': 'ok', 'core/nodes/refused': 'refused' });
    await page.click(`[data-key="${CRASHES}"]`);
    await says(page, '#details .error', 'simulated panic');
    await accessible(page, `${colorScheme}, with a device open`);

    // axe does not see what stands in pseudo-elements and backgrounds.
    const looks = await page.evaluate(() => {
      const outcomes = [...document.querySelectorAll('.chip .mark')].map((it) => it.dataset.o);
      return outcomes.map((outcome) => {
        const cell = document.createElement('div');
        cell.className = 'cell';
        cell.dataset.o = outcome;
        document.getElementById('clusters').append(cell);
        const { color, backgroundColor, backgroundImage } = getComputedStyle(cell);
        cell.remove();
        return { outcome, color, backgroundColor, backgroundImage };
      });
    });
    assert.equal(looks.length, 15);
    for (const { outcome, color, backgroundColor } of looks) {
      const apart = contrast(color, backgroundColor);
      assert.ok(apart >= 4.5, `${colorScheme} ${outcome}: ${apart}`);
    }
    const shapes = new Set(looks.map((it) => it.backgroundImage));
    assert.equal(shapes.size, looks.length, 'each outcome has a shape of its own');
    assert.ok([...shapes].every((it) => it.includes('data:image/svg')));

    // Narrow: nothing is wider than the screen, and all of it is still accessible.
    await page.setViewportSize({ width: 320, height: 640 });
    await accessible(page, `${colorScheme}, narrow, with a device open`);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
    await page.click('#close');
    await accessible(page, `${colorScheme}, narrow`);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
    const size = await page.$eval(`[data-key="${CRASHES}"]`, (it) => it.getBoundingClientRect().height);
    assert.ok(size >= 24, `large enough for a finger: ${size}`);
    clean(page);
    await page.close();
  }
});
