// A real Redis Cluster of the test's own: three masters, each with a replica, on free ports. To a test it is like the
// single Redis (`redis.mjs`): keys are looked for on every master, and it is paused, killed and restarted as a whole. A test
// that wants only one master away takes that one (`lose`, `masters`).
import { freePort, Redis } from './redis.mjs';
import { until } from './until.mjs';

const MASTERS = 3;
const SLOTS = 16_384;
const FORM_MS = 30_000;

// Entries of CLUSTER NODES: id, address, flags, master, …, slots
const readNodes = (text) => text.trim().split('\n').map((line) => {
  const [id, address, flags, master] = line.split(' ');
  return { id, port: Number(address.split('@')[0].split(':')[1]), flags: flags.split(','), master };
});

// Concurrent tests may choose the same port at the same moment: the second one chooses again.
async function startNode(settings, tries = 3) {
  const { durable, timeoutMs, options, credentials } = settings;
  const node = new Redis(durable, await freePort(), {
    'cluster-enabled': 'yes', 'cluster-node-timeout': String(timeoutMs), 'cluster-config-file': 'nodes.conf',
    // Its bus would else be ten thousand ports further up, where systems take ports by themselves.
    'cluster-port': await freePort(),
    ...options,
  }, credentials);
  try {
    await node.restart();
    return node;
  } catch (error) {
    if (tries > 1 && node.child.exit) return startNode(settings, tries - 1);
    throw error;
  }
}

export class RedisCluster {
  // `timeoutMs`: how long a node is away until it counts as failed. `options` and `credentials` are those of each node (redis.mjs).
  static async start({ durable = false, timeoutMs = 1500, options, credentials } = {}) {
    const settings = { durable, timeoutMs, options, credentials };
    const nodes = await Promise.all(Array.from({ length: MASTERS * 2 }, () => startNode(settings)));
    const cluster = new RedisCluster(nodes);
    try {
      await cluster.#form();
      return cluster;
    } catch (error) {
      await cluster.kill();
      throw error;
    }
  }

  constructor(nodes) {
    this.nodes = nodes;
    const [first, ...others] = nodes.map((node) => `127.0.0.1:${node.port}`);
    this.url = `redis-cluster://${first}?${others.map((address) => `node=${address}`).join('&')}`;
  }

  async #form() {
    const [first, ...others] = this.nodes;
    const masters = this.nodes.slice(0, MASTERS);
    const share = Math.ceil(SLOTS / MASTERS);
    await Promise.all(masters.map((node, index) => node.command('CLUSTER', 'ADDSLOTSRANGE', index * share, Math.min(SLOTS, (index + 1) * share) - 1)));
    // Epochs of their own from the start, or they would have to be settled first.
    await Promise.all(this.nodes.map((node, index) => node.command('CLUSTER', 'SET-CONFIG-EPOCH', index + 1)));
    for (const node of others) {
      const busPort = node.options['cluster-port'];
      await first.command('CLUSTER', 'MEET', '127.0.0.1', node.port, busPort);
    }
    const allKnown = async () => {
      const known = await Promise.all(this.nodes.map(async (node) => readNodes(await node.command('CLUSTER', 'NODES'))));
      return known.every((nodes) => nodes.length === this.nodes.length && nodes.every(({ flags }) => !flags.includes('handshake')));
    };
    await until('every node of the cluster to know every other', allKnown, { within: FORM_MS });
    await Promise.all(this.nodes.slice(MASTERS).map(async (node, index) => {
      await node.command('CLUSTER', 'REPLICATE', await masters[index].command('CLUSTER', 'MYID'));
      await until('the replica to be in step', async () => /master_link_status:up/.test(await node.command('INFO', 'replication')), { within: FORM_MS });
    }));
    await this.#healthy();
  }

  // Every living node says that every slot is served.
  #healthy() {
    const ok = async (node) => node.child.exit || /cluster_state:ok/.test(await node.command('CLUSTER', 'INFO'));
    return until('the cluster to be whole', async () => (await Promise.all(this.nodes.map(ok))).every(Boolean), { within: FORM_MS });
  }

  // The masters as the cluster has them now.
  async masters() {
    const living = this.nodes.find((node) => !node.child.exit);
    const masters = readNodes(await living.command('CLUSTER', 'NODES')).filter(({ flags }) => flags.includes('master') && !flags.includes('fail'));
    return masters.map(({ port }) => this.nodes.find((node) => node.port === port));
  }

  // The master that has this key's slot.
  async masterOf(key) {
    const [any] = await this.masters();
    const slot = await any.command('CLUSTER', 'KEYSLOT', key);
    const ranges = await any.command('CLUSTER', 'SLOTS');
    const [, , [, port]] = ranges.find(([from, to]) => from <= slot && slot <= to);
    return this.nodes.find((node) => node.port === port);
  }

  async command(name, key, ...args) {
    return (await this.masterOf(key)).command(name, key, ...args);
  }

  async keys(pattern = '*') {
    const lists = await Promise.all((await this.masters()).map((node) => node.keys(pattern)));
    return lists.flat().sort();
  }

  // It can be asked, as long as no test leaves it in pieces.
  get isUp() {
    return this.nodes.some((node) => node.isUp);
  }

  // The replica of a master.
  async replicaOf(master) {
    const id = await master.command('CLUSTER', 'MYID');
    // A master learns by gossip who replicates it.
    const replica = await until('the master to know its replica', async () => readNodes(await master.command('CLUSTER', 'NODES')).find((node) => node.master === id), { within: FORM_MS });
    return this.nodes.find((node) => node.port === replica.port);
  }

  // kill -9 of a master; resolves when its replica has taken over.
  async lose(master) {
    await master.kill();
    await until('a replica to take over', async () => {
      const masters = await this.masters();
      return masters.length === MASTERS && !masters.includes(master);
    }, { within: 2 * FORM_MS, every: 100 });
    await this.#healthy();
  }

  // Master and replica change places, as for an upgrade of the master's machine.
  async swap(master) {
    const node = await this.replicaOf(master);
    await node.command('CLUSTER', 'FAILOVER');
    await until('the replica to be master', async () => (await this.masters()).includes(node), { within: FORM_MS });
    await this.#healthy();
  }

  // After kill(): the same nodes with the same slots and what they had on disk.
  async restart() {
    await Promise.all(this.nodes.map((node) => node.restart()));
    await this.#healthy();
  }

  // After kill(): the same nodes with the same slots, and nothing in them.
  async restartEmpty() {
    await Promise.all(this.nodes.map((node) => node.restartEmpty()));
    await this.#healthy();
  }

  pause() {
    this.nodes.forEach((node) => node.pause());
  }

  resume() {
    this.nodes.forEach((node) => node.resume());
  }

  async kill() {
    await Promise.all(this.nodes.map((node) => node.kill()));
  }

  // The append-only files as they are now; returns how to put them back.
  keepData() {
    const putBack = this.nodes.map((node) => node.keepData());
    return () => putBack.forEach((put) => put());
  }

  get child() {
    return { report: () => this.nodes.map((node) => node.child.report()).join('\n') };
  }
}
