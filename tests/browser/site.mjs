// The web server of application.html and of the official Socket.IO client that it loads.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const file = (path) => readFileSync(new URL(path, import.meta.url));

const FILES = {
  '/': { type: 'text/html', body: file('./application.html') },
  '/socket.io.min.js': { type: 'text/javascript', body: file('../node_modules/socket.io-client/dist/socket.io.min.js') },
};

export class Site {
  static async start() {
    const server = createServer((request, response) => {
      const found = FILES[new URL(request.url, 'http://site').pathname];
      if (found) response.writeHead(200, { 'content-type': found.type }).end(found.body);
      else response.writeHead(404).end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Site(server);
  }

  constructor(server) {
    this.server = server;
    this.url = `http://127.0.0.1:${server.address().port}/`;
  }

  // The application's address for a user who joins this room at this gateway.
  application(gateway, room, user) {
    return `${this.url}?${new URLSearchParams({ gateway, room, user })}`;
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }
}
