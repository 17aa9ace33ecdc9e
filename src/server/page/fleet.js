// What is known of the fleet: clusters, devices, changes and restarts. Knows no element of the page.

import { isFailure } from './format.js';

/** Changes and restarts that are kept: as many as the service keeps. */
const KEPT = 10_000;

const RUNNING = { state: 'running', restarts: 0, breaker: { state: 'closed' } };

/** Where a device stands in paths and in the page's address: `1/nodes/web01`. */
export function keyOf(view, cluster = view.cluster_id) {
  const isNode = view.node_id !== undefined;
  return `${cluster}/${isNode ? 'nodes' : 'switches'}/${isNode ? view.node_id : view.switch_id}`;
}

/** How a device's last lookup ended, in the words of `/v1/clusters`, or that it is being asked. */
export function shown(device) {
  if (device.isAsked) return 'asking';
  return hasCrashed(device) ? 'crashed' : device.outcome;
}

/** Why a device would not be asked now, beside that; `null` if it would. */
export function held(device) {
  if (device.isAsked) return null;
  if (device.state !== 'running') return device.state;
  return device.breaker === 'open' ? 'breaker_open' : null;
}

/** Whether its actor crashed after its last lookup ended; that lookup says nothing of it any more. */
export function hasCrashed(device) {
  if (device.outcome === 'crashed') return true;
  return device.exitAt !== null && (device.at === null || device.exitAt > device.at);
}

export class Fleet {
  /** In configured order: `{ id, key, state, lists: [{ kind, devices }] }`. */
  clusters = [];
  devices = new Map();
  /** Newest last. */
  changes = [];
  /** Newest last: `{ path, key, exit, restarts }`. */
  restarts = [];
  /** The last change that is known. */
  since = 0;
  /** Devices whose cells are to be drawn again. */
  dirty = new Set();
  /** Whether devices or clusters came or went. */
  isReshaped = true;
  #exits = new Map();

  /** Takes the clusters in numbers; gives the ids of all. */
  takeClusters(views) {
    const known = new Map(this.clusters.map((cluster) => [cluster.key, cluster]));
    const before = this.clusters.map((cluster) => cluster.key).join();
    this.clusters = views.map((view) => {
      const key = String(view.cluster_id);
      return known.get(key) ?? { key, state: view.state, exit: view.last_exit, tag: null, lists: [] };
    });
    const keys = this.clusters.map((cluster) => cluster.key);
    if (keys.join() === before) return;
    this.isReshaped = true;
    const left = new Set(keys);
    for (const [key, device] of this.devices) {
      if (!left.has(device.cluster)) this.devices.delete(key);
    }
  }

  /** Takes a whole cluster as it is known. */
  takeCluster(cluster, view, tag) {
    cluster.tag = tag;
    cluster.state = view.state;
    cluster.exit = view.last_exit;
    const before = cluster.lists.flatMap((list) => list.devices);
    cluster.lists = ['nodes', 'switches']
      .filter((kind) => view[kind].length > 0)
      .map((kind) => ({ kind, devices: view[kind].map((it) => this.#take(cluster.key, it)) }));
    const after = cluster.lists.flatMap((list) => list.devices);
    if (before.length === after.length && before.every((it, index) => it === after[index])) return;
    this.isReshaped = true;
    const left = new Set(after);
    for (const device of before) if (!left.has(device)) this.devices.delete(device.key);
  }

  #take(cluster, view) {
    const key = keyOf(view, cluster);
    let device = this.devices.get(key);
    if (!device) {
      const [, kind, id] = key.split('/');
      device = { key, cluster, kind, id, isAsked: false, outcome: 'unknown', took: null };
      device.at = device.exitAt = null;
      this.devices.set(key, device);
    }
    this.#result(device, view);
    this.#child(device, view);
    return device;
  }

  /** A device has answered. */
  came(view) {
    const device = this.devices.get(keyOf(view));
    if (!device) return null;
    device.isAsked = false;
    // Not what asking it came to, but why it was not asked: its last result stays.
    if (view.outcome === 'restarting' || view.outcome === 'quarantined') {
      device.state = view.outcome;
    } else if (view.outcome === 'breaker_open') {
      device.breaker = 'open';
    } else {
      this.#result(device, view);
      device.state = 'running';
      if (view.outcome === 'ok') device.breaker = 'closed';
    }
    this.dirty.add(device);
    return device;
  }

  #result(device, view) {
    const took = view.duration_ms ?? null;
    const at = view.observed_at ?? null;
    if (device.outcome === view.outcome && device.took === took && device.at === at) return;
    // What was asked for before something newer came.
    if (at !== null && device.at !== null && at < device.at) return;
    Object.assign(device, { outcome: view.outcome, took, at });
    this.dirty.add(device);
  }

  #child(device, view) {
    const { state, restarts, breaker } = view;
    const exitAt = view.last_exit?.time ?? null;
    const isNews = device.state !== state || device.breaker !== breaker.state || device.exitAt !== exitAt;
    if (isNews) this.dirty.add(device);
    Object.assign(device, { state, restarts, exitAt, breaker: breaker.state });
  }

  /** Takes the part of the supervision tree that ever failed. */
  takeTree(tree) {
    const seen = new Set();
    this.#exit('supervisor', null, tree.supervisor);
    for (const view of tree.clusters) {
      const cluster = this.clusters.find((it) => it.key === String(view.cluster_id));
      if (cluster && (cluster.state !== view.state || cluster.exit?.time !== view.last_exit?.time)) {
        cluster.state = view.state;
        cluster.exit = view.last_exit;
        this.isReshaped = true;
      }
      this.#exit(`cluster ${view.cluster_id}`, null, view);
      for (const child of [...view.nodes, ...view.switches]) {
        const device = this.devices.get(keyOf(child, view.cluster_id));
        if (!device) continue;
        seen.add(device);
        this.#child(device, child);
        this.#exit(name(device), device.key, child);
      }
    }
    for (const device of this.devices.values()) {
      if (!seen.has(device) && (device.state !== 'running' || device.breaker !== 'closed')) {
        this.#child(device, RUNNING);
      }
    }
    this.restarts.sort((a, b) => (a.exit.time < b.exit.time ? -1 : 1));
    if (this.restarts.length > KEPT) this.restarts.splice(0, this.restarts.length - KEPT);
  }

  #exit(path, key, child) {
    if (!child.last_exit || this.#exits.get(path) === child.last_exit.time) return;
    this.#exits.set(path, child.last_exit.time);
    this.restarts.push({ path, key, exit: child.last_exit, restarts: child.restarts });
  }

  /** Takes changes; gives those that are news, and the clusters that they are of. */
  takeChanges(view) {
    const news = view.changes
      .filter((change) => change.number > this.since)
      .map((change) => ({ ...change, key: keyOf(change), name: nameOf(keyOf(change)) }));
    this.since = view.next;
    this.changes.push(...news);
    if (this.changes.length > KEPT) this.changes.splice(0, this.changes.length - KEPT);
    return { news, clusters: new Set(news.map((change) => String(change.cluster_id))) };
  }

  /** The service is another one than before: its history begins anew. */
  forget() {
    this.changes = [];
    this.restarts = [];
    this.since = 0;
    this.#exits.clear();
    this.outdate();
    for (const device of this.devices.values()) device.at = null;
  }

  /** What is shown is not what the service was last heard to say: it has to say all of it again. */
  outdate() {
    for (const cluster of this.clusters) cluster.tag = null;
  }

  /** How many devices of each outcome there are, and beside that how many are left alone. */
  tally(devices = this.devices.values()) {
    const tally = new Map();
    let all = 0;
    let failed = 0;
    for (const device of devices) {
      const outcome = shown(device);
      all += 1;
      if (isFailure(outcome)) failed += 1;
      tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
      const hold = held(device);
      if (hold) tally.set(hold, (tally.get(hold) ?? 0) + 1);
    }
    return { tally, all, failed, ok: tally.get('ok') ?? 0 };
  }
}

/** A device in words: `cluster 1 node web01`. */
export function name(device) {
  return nameOf(device.key);
}

function nameOf(key) {
  const [cluster, kind, id] = key.split('/');
  return `cluster ${cluster} ${kind === 'nodes' ? 'node' : 'switch'} ${id}`;
}
