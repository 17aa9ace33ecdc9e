import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { ask, cells, open, order, says, test, url } from './browser.mjs';

// The page talks to one address, behind which the service goes away and comes back elsewhere.
let service = new URL(url);
const connections = new Set();
const front = net.createServer((client) => {
  if (!service) return client.destroy();
  const upstream = net.connect(service.port, service.hostname);
  connections.add(client);
  client.on('close', () => { connections.delete(client); upstream.destroy(); });
  upstream.on('close', () => client.destroy());
  for (const socket of [client, upstream]) socket.on('error', () => {});
  client.pipe(upstream).pipe(client);
});
front.listen(0, '127.0.0.1');
await once(front, 'listening');

await test(async (browser) => {
  const page = await open(browser, {}, `http://127.0.0.1:${front.address().port}/`);
  await cells(page, { '1/nodes/1': 'unknown' });
  await ask(page);
  await cells(page, { '1/nodes/1': 'ok' });
  assert.equal(await page.isVisible('#lost'), false);

  service = null;
  await order('kill');
  for (const connection of connections) connection.destroy();
  await page.waitForSelector('#lost', { state: 'visible' });
  await says(page, '#lost-text', 'No connection to fleetcall since');
  await says(page, '#say', 'The connection to fleetcall is lost.');
  // What was known still stands.
  await cells(page, { '1/nodes/1': 'ok' });
  await page.click('#retry');
  assert.equal(await page.isVisible('#lost'), true);

  // It comes back by itself, as another process: nobody was asked by that one.
  service = new URL(await order('start'));
  await page.waitForSelector('#lost', { state: 'hidden' });
  await says(page, '#say', 'The connection to fleetcall is back.');
  await cells(page, { '1/nodes/1': 'unknown' });
  await says(page, '#summary', '3 never asked');
  await ask(page);
  await cells(page, { '1/nodes/1': 'ok', '1/nodes/3': 'ok' });
  // A browser says of each refused connection that it was; nothing else is wrong.
  assert.deepEqual(page.faults.filter((it) => !it.includes('net::ERR_')), []);
});
for (const connection of connections) connection.destroy();
front.close();
