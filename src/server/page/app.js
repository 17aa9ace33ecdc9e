// Where the page begins: asks what is known, keeps it fresh, and ties the parts together.

import { get, post, Refusal, Unreachable } from './api.js';
import { Board } from './cells.js';
import { Details } from './details.js';
import { Fleet, name } from './fleet.js';
import { count, tick, timeElement } from './format.js';
import { Link } from './link.js';
import { drawLatency, drawSimulated, drawSummary, Feeds, Legend } from './panels.js';
import { RollCall } from './rollcall.js';
import { TokenDialog } from './token.js';
import { Workers } from './workers.js';

/** How often changes and restarts are asked for. */
const POLL_MS = 2000;

/** How often everything is: others make roll calls too. */
const REFRESH_MS = 15_000;

/** Side panels are drawn again no more often than this. */
const PANELS_MS = 500;

const element = (id) => document.getElementById(id);
const fleet = new Fleet();

// --- What is said to those who do not see it, the last thing only.

let saying = 0;
function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => (element('say').textContent = text), 200);
}

function trouble(text) {
  element('trouble').hidden = text === '';
  if (element('trouble-text').textContent === text) return;
  element('trouble-text').textContent = text;
  if (text) say(text);
}
element('dismiss').addEventListener('click', () => trouble(''));

// --- Drawing: at most once a frame, the panels more seldom.

let isDrawing = false;
let panelsAt = 0;
let panelsTimer = 0;

function draw() {
  if (isDrawing) return;
  isDrawing = true;
  const now = () => {
    isDrawing = false;
    board.draw();
    const tally = fleet.tally();
    drawSummary(tally);
    legend.draw(tally.tally);
    drawPanels();
  };
  // A page that nobody sees gets no frames, but its title is seen.
  if (document.hidden) setTimeout(now, PANELS_MS);
  else requestAnimationFrame(now);
}

function drawPanels() {
  clearTimeout(panelsTimer);
  const wait = panelsAt + PANELS_MS - performance.now();
  if (wait > 0) {
    panelsTimer = setTimeout(drawPanels, wait);
    return;
  }
  panelsAt = performance.now();
  drawLatency(fleet.devices.values());
  feeds.draw(fleet);
  details.refresh();
}

// --- Errors, wherever they come from.

let isTokenWanted = false;

function failed(error) {
  if (error instanceof Unreachable) {
    link.lost();
  } else if (error instanceof Refusal && error.status === 401) {
    isTokenWanted = true;
    tokenDialog.ask();
  } else if (error instanceof Refusal) {
    trouble(`fleetcall says: ${error.message}`);
  } else {
    trouble(`This page has a fault: ${error}`);
    throw error;
  }
}

// --- Keeping fresh.

let timer = 0;
let isPolling = false;
/** The last change that this page's own roll call has told of. */
let ownChanges = 0;
let refreshedAt = -Infinity;

async function refreshClusters(which) {
  const { json } = await get('v1/clusters');
  fleet.takeClusters(json.clusters);
  drawSimulated(json);
  // One after another: the service draws few at a time.
  for (const cluster of fleet.clusters) {
    if (which && !which.has(cluster.key) && cluster.tag) continue;
    const answer = await get(`v1/clusters/${encodeURIComponent(cluster.key)}`, cluster.tag);
    // It came before what a roll call has brought since.
    if (rollCall.isRunning) return;
    if (answer) fleet.takeCluster(cluster, answer.json, answer.tag);
    draw();
  }
  if (!which) refreshedAt = performance.now();
}

/** Nothing that is known counts. */
function anew() {
  fleet.forget();
  ownChanges = 0;
  refreshedAt = -Infinity;
}

async function history() {
  try {
    const { json } = await get(fleet.since > 0 ? `v1/changes?since=${fleet.since}` : 'v1/changes');
    if (json.next >= fleet.since) return json;
  } catch (error) {
    if (!(error instanceof Refusal && error.status === 410)) throw error;
  }
  // Another process than before, or too much has happened meanwhile.
  anew();
  return (await get('v1/changes')).json;
}

async function poll() {
  clearTimeout(timer);
  if (isPolling) return;
  isPolling = true;
  let wait = POLL_MS;
  try {
    const isFirst = refreshedAt === -Infinity;
    let changes = await history();
    const wasLost = link.found();
    if (wasLost) {
      anew();
      changes = (await get('v1/changes')).json;
    }
    const { news, clusters } = fleet.takeChanges(changes);
    if (!isFirst && !wasLost && !rollCall.isRunning) tell(news);
    if (!rollCall.isRunning) {
      if (performance.now() - refreshedAt > REFRESH_MS) await refreshClusters(null);
      else if (clusters.size > 0) await refreshClusters(clusters);
    }
    fleet.takeTree((await get('v1/supervision?devices=failures')).json);
    if (isFirst) showAddress();
    element('fresh').replaceChildren('Heard of fleetcall ', timeElement(new Date().toISOString()));
    draw();
    // Beside the rest, which it does not delay.
    workers.refresh().catch(failed);
  } catch (error) {
    // Too many at once is no news; it is tried again soon.
    const isBusy = error instanceof Refusal && (error.status === 503 || error.status === 429);
    if (isBusy) wait = Math.max(wait, error.retryAfterMs);
    else failed(error);
  } finally {
    isPolling = false;
  }
  // The link tries by itself, and the dialog when it is answered.
  if (!link.isLost && !isTokenWanted) timer = setTimeout(poll, wait);
}

function tell(news) {
  const isTold = (it) => it.number > ownChanges && (it.change === 'failing' || it.change === 'recovered');
  const told = news.filter(isTold);
  if (told.length === 0) return;
  if (told.length <= 3) {
    const texts = told.map((it) => (it.change === 'failing' ? `${it.name} fails` : `${it.name} answers again`));
    say(`${texts.join(', ')}.`);
    return;
  }
  const failing = told.filter((it) => it.change === 'failing').length;
  const verb = (number, verb) => (number === 1 ? `${verb}s` : verb);
  const again = told.length - failing;
  say(`${count(failing, 'device')} ${verb(failing, 'fail')} now, ${again} ${verb(again, 'answer')} again.`);
}

// --- Asking.

async function ask(path, devices, isAutomatic = false) {
  if (rollCall.isRunning || link.isLost) return;
  trouble('');
  setAsking(true);
  try {
    const end = await rollCall.ask(path, devices);
    ownChanges = end?.changes ?? ownChanges;
    const summary = end?.summary;
    const text = summary ? `Asked ${summary.asked}: ${summary.ok} ok, ${summary.failed} not.` : 'Stopped.';
    if (!isAutomatic) say(text);
  } catch (error) {
    failed(error);
  } finally {
    setAsking(false);
  }
  if (!link.isLost) poll();
}

function setAsking(isAsking) {
  element('ask').textContent = isAsking ? 'Stop' : 'Ask now';
  document.body.toggleAttribute('data-asking', isAsking);
}

const askAll = (isAutomatic) => ask('v1/collect', fleet.devices.values(), isAutomatic);

function askCluster(key) {
  const devices = [...fleet.devices.values()].filter((device) => device.cluster === key);
  ask(`v1/clusters/${encodeURIComponent(key)}/collect`, devices);
}

function askDevice(key) {
  const device = fleet.devices.get(key);
  const path = key.split('/').map(encodeURIComponent).join('/');
  if (device) ask(`v1/clusters/${path}/collect`, [device]);
}

async function resetDevice(key) {
  const device = fleet.devices.get(key);
  const path = key.split('/').map(encodeURIComponent).join('/');
  if (!device || link.isLost) return;
  trouble('');
  try {
    const { cleared } = await post(`v1/clusters/${path}/reset`);
    say(`${name(device)}: ${cleared.length > 0 ? `cleared ${cleared.join(', ')}` : 'nothing to clear'}.`);
    fleet.outdate();
  } catch (error) {
    failed(error);
  }
  if (!link.isLost) poll();
}

element('ask').addEventListener('click', () => (rollCall.isRunning ? rollCall.stop() : askAll(false)));

let every = 0;
element('every').addEventListener('change', () => {
  clearInterval(every);
  const seconds = Number(element('every').value);
  // Not for a page that nobody sees.
  if (seconds > 0) every = setInterval(() => document.hidden || askAll(true), seconds * 1000);
});

// --- The filter, and the page's address, which says what is shown.

function filter() {
  const words = element('words').value.toLowerCase().split(/\s+/).filter(Boolean);
  board.filter({ words, kind: element('kind').value, outcomes: legend.pressed });
  saveAddress();
}

function saveAddress() {
  const address = new URLSearchParams();
  if (element('words').value) address.set('q', element('words').value);
  if (element('kind').value) address.set('kind', element('kind').value);
  if (legend.pressed.size > 0) address.set('outcome', [...legend.pressed].join());
  if (details.key) address.set('device', details.key);
  if (!element('workers-details').open) address.set('workers', 'closed');
  const text = address.toString().replaceAll('%2F', '/');
  window.history.replaceState(null, '', text ? `#${text}` : location.pathname + location.search);
}

function showAddress() {
  const address = new URLSearchParams(location.hash.slice(1));
  element('words').value = address.get('q') ?? '';
  element('kind').value = address.get('kind') ?? '';
  legend.press(new Set((address.get('outcome') ?? '').split(',').filter(Boolean)));
  element('workers-details').open = address.get('workers') !== 'closed';
  board.draw();
  const device = fleet.devices.get(address.get('device'));
  if (device && device.key !== details.key) open(device);
  filter();
}

element('filter').addEventListener('submit', (event) => event.preventDefault());
element('words').addEventListener('input', filter);
element('kind').addEventListener('change', filter);
addEventListener('hashchange', showAddress);
// Not for what the browser says while it loads: the address is still to be read.
element('workers-details').addEventListener('toggle', () => refreshedAt > -Infinity && saveAddress());

// --- One device.

function open(device) {
  details.show(device).catch(failed);
  board.select(device.key);
  saveAddress();
}

document.querySelector('.side').addEventListener('click', (event) => {
  const device = fleet.devices.get(event.target.closest('[data-device]')?.dataset.device);
  if (device) open(device);
});

const board = new Board(fleet, { open, ask: askCluster, seek: () => element('words').focus() });
const legend = new Legend(filter);
const feeds = new Feeds();
const details = new Details(fleet, {
  ask: askDevice,
  reset: resetDevice,
  failed,
  closed: () => {
    board.select(null);
    saveAddress();
    board.focus();
  },
});
const rollCall = new RollCall(fleet, draw);
const link = new Link(poll, say);
const workers = new Workers(say);
const tokenDialog = new TokenDialog(() => {
  isTokenWanted = false;
  trouble('');
  refreshedAt = -Infinity;
  poll();
});

setInterval(() => {
  tick();
  link.tick();
}, 1000);
poll();
