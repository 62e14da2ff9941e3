// A name that leads to one Redis and then to another, as DNS or a proxy does after a failover: who connected before stays where it is.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class MovingName {
  #open = new Set();

  static async of(port) {
    const name = new MovingName();
    name.target = port;
    name.server = createServer((client) => name.#carry(client));
    name.server.listen(0, '127.0.0.1');
    await once(name.server, 'listening');
    name.port = name.server.address().port;
    name.url = `redis://127.0.0.1:${name.port}`;
    return name;
  }

  // How many connections lead to a server.
  connections(port) {
    return [...this.#open].filter((one) => one.target === port).length;
  }

  close() {
    for (const { client, server } of this.#open) [client, server].forEach((end) => end.destroy());
    this.server.close();
  }

  #carry(client) {
    const one = { client, server: connect(this.target, '127.0.0.1'), target: this.target };
    this.#open.add(one);
    for (const [from, to] of [[one.client, one.server], [one.server, one.client]]) {
      from.setNoDelay(true);
      from.pipe(to);
      from.on('error', () => {});
      from.on('close', () => {
        to.destroy();
        this.#open.delete(one);
      });
    }
  }
}
