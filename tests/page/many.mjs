import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { createInterface } from 'node:readline';
import { accessible, open, says, test, url } from './browser.mjs';

const DEVICES = 10_000;

// The page talks to one address, behind which the roll call's lines are held back. Meanwhile the
// service is too busy for anything else: nothing but these lines has the page draw.
let isBusy = false;
const lines = [];
let sent = 0;
let allowed = 0;
let answering = null;

/** Lets the page have so many lines of the roll call, as soon as they are there. */
function allow(count) {
  allowed = count;
  pass();
}

function pass() {
  for (; sent < Math.min(allowed, lines.length); sent += 1) answering.write(`${lines[sent]}\n`);
  // The last line is the summary.
  if (sent > DEVICES) answering.end();
}

const front = http.createServer((request, response) => {
  if (isBusy && request.url !== '/v1/collect') return response.writeHead(503).end();
  const { 'accept-encoding': _, ...headers } = request.headers;
  const upstream = http.request(new URL(request.url, url), { method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    if (request.url !== '/v1/collect') return answer.pipe(response);
    answering = response;
    answering.flushHeaders();
    createInterface({ input: answer }).on('line', (line) => {
      // Empty ones keep the connection alive.
      if (line !== '') lines.push(line);
      pass();
    });
  });
  upstream.on('error', () => response.destroy());
  request.pipe(upstream);
});
front.listen(0, '127.0.0.1');
await once(front, 'listening');

await test(async (browser) => {
  const page = await open(browser, {}, `http://127.0.0.1:${front.address().port}/`);
  await says(page, '#summary', '0 of 10,000 devices ok, 10,000 never asked');
  const count = (wanted, selector) => page.waitForFunction(
    ([wanted, selector]) => document.querySelectorAll(selector).length === wanted,
    [wanted, selector],
  );
  await count(DEVICES, '.cell');
  await page.evaluate(() => {
    window.changes = 0;
    new MutationObserver((records) => { window.changes += records.length; })
      .observe(document.body, { attributes: true, attributeFilter: ['data-o'], subtree: true });
  });
  isBusy = true;
  await page.click('#ask');
  // They fill in while answers come: what has come is shown before any more does.
  for (const came of [0, 1, 2_500, 5_000, 7_500, DEVICES]) {
    allow(came);
    await count(DEVICES - came, '.cell[data-o="asking"]');
  }
  assert.equal(await page.textContent('#ask'), 'Stop');
  isBusy = false;
  allow(DEVICES + 1);
  await says(page, '#ask', 'Ask now');
  await says(page, '#summary', '9,990 of 10,000 devices ok, 10 not');
  // That it is asked and what it answered, and nothing else.
  assert.equal(await page.evaluate(() => window.changes), 2 * DEVICES);

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
  // A browser says of each refused request that it was; nothing else is wrong.
  assert.deepEqual(page.faults.filter((it) => !it.includes('status of 503')), []);
});
front.close();
