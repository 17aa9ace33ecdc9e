// A page in a real Chromium that must stay without errors, and what tests look at.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(process.env.PAGE_TESTS);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

/** How long a script waits for what must come: longer than any machine takes. */
const PATIENCE_MS = 120_000;

export const url = process.argv[2];

/** Runs a test in a browser of its own, and says how it went by its exit code. */
export async function test(run) {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
      '--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage',
    ],
  });
  try {
    await run(browser);
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    await browser.close();
    process.stdin.destroy();
  }
}

/** Opens the page; `faults` gathers whatever the browser complains of, violated policies too. */
export async function open(browser, options = {}, address = url, prepare = async () => {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.faults = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) page.faults.push(message.text());
  });
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('dialog', (dialog) => page.faults.push(`a dialog: ${dialog.message()}`));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== new URL(address).origin && !request.url().startsWith('data:')) {
      page.faults.push(`asks ${request.url()}`);
    }
  });
  // Not as a script of the page, which its policy does not allow.
  await context.addInitScript({ content: axe });
  await prepare(page);
  await page.goto(address);
  return page;
}

/** Waits until the cells have these outcomes: `{ key: outcome }`. */
export async function cells(page, outcomes) {
  await page.waitForFunction((outcomes) => {
    const shown = (key) => document.querySelector(`[data-key="${key}"]`)?.dataset.o;
    return Object.entries(outcomes).every(([key, outcome]) => shown(key) === outcome);
  }, outcomes).catch(async (error) => {
    const found = await page.$$eval('.cell', (all) => all.slice(0, 50).map((it) => `${it.dataset.key} ${it.dataset.o}`));
    throw new Error(`${error.message}; wanted ${JSON.stringify(outcomes)}, found ${found.join(', ')}`);
  });
}

/** Waits until an element has this text somewhere. */
export async function says(page, selector, text) {
  await page.waitForFunction(
    ([selector, text]) => document.querySelector(selector)?.textContent.includes(text),
    [selector, text],
  ).catch(async (error) => {
    throw new Error(`${error.message}; wanted "${text}", ${selector} says: ${await page.textContent(selector)}`);
  });
}

let answers;

/** Has something done to the service or what it needs, and waits until that is done. */
export async function order(text) {
  answers ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  console.log(text);
  return (await answers.next()).value;
}

/** Asks everybody, and waits until all have answered. */
export async function ask(page) {
  await page.click('#ask');
  await says(page, '#ask', 'Ask now');
}

/** No rule of axe-core is violated, in any of its standards. */
export async function accessible(page, what) {
  const { violations, passes } = await page.evaluate(() => window.axe.run(document));
  const found = violations.map((it) => `${it.id}: ${it.nodes.map((node) => `${node.html} ${node.failureSummary}`).join('; ')}`);
  assert.deepEqual(found, [], what);
  assert.ok(passes.length > 20, `axe has looked: ${passes.length}`);
}

export function clean(page) {
  assert.deepEqual(page.faults, []);
}
