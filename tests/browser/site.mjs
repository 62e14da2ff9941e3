// The web server of a test's pages: application.html, the examples, and what they load.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

import { asModules } from './packages.mjs';

const file = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');
const TYPES = { html: 'text/html', js: 'text/javascript', mjs: 'text/javascript' };
const ADDRESS = 'http://127.0.0.1:3000'; // of the gateway, in the examples

export class Site {
  #files = new Map();

  static async start() {
    const site = new Site();
    site.server = createServer((request, response) => site.#answer(request, response));
    site.server.listen(0, '127.0.0.1');
    await once(site.server, 'listening');
    site.url = `http://127.0.0.1:${site.server.address().port}/`;
    return site;
  }

  constructor() {
    this.#files.set('/application.html', file('./application.html'));
    this.#files.set('/socket.io.min.js', file('../node_modules/socket.io-client/dist/socket.io.min.js'));
  }

  // The application's address for a user who joins this room at this gateway.
  application(gateway, room, user) {
    return `${this.url}application.html?${new URLSearchParams({ gateway, room, user })}`;
  }

  // The address of an example (`browser`), whose gateway is the given one. What its import map takes from a CDN is served from here.
  example(name, gateway, room, user) {
    const path = `/${name}/${new URL(gateway).port}/index.html`;
    const text = file(`../../examples/${name}/index.html`).replaceAll(ADDRESS, gateway);
    this.#files.set(path, text.replace(/(<script type="importmap">)(.*?)(<\/script>)/s, (_, begin, map, end) => begin + this.#local(map) + end));
    return `${this.url.slice(0, -1)}${path}?${new URLSearchParams({ room, user })}`;
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }

  // An import map with addresses of this server in place of all others.
  #local(map) {
    const { imports } = JSON.parse(map);
    const names = Object.keys(imports);
    const { shared, modules } = asModules(names.filter((name) => name !== 'socket.io-client'), '/modules/shared.mjs');
    modules['socket.io-client'] = file('../node_modules/socket.io-client/dist/socket.io.esm.min.js');
    this.#files.set('/modules/shared.mjs', shared);
    for (const name of names) this.#files.set(`/modules/${name}.mjs`, modules[name]);
    return JSON.stringify({ imports: Object.fromEntries(names.map((name) => [name, `/modules/${name}.mjs`])) });
  }

  #answer(request, response) {
    const { pathname } = new URL(request.url, 'http://site');
    const text = this.#files.get(pathname);
    if (text === undefined) return response.writeHead(404).end();
    return response.writeHead(200, { 'content-type': TYPES[pathname.split('.').at(-1)] }).end(text);
  }
}
