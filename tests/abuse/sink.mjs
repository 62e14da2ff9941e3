// A process that takes telemetry, throws it away and says on GET /bytes how much it was.
import { createServer } from 'node:http';

let bytes = 0;

const server = createServer((request, response) => {
  if (request.method === 'GET') return response.end(String(bytes));
  request.on('data', (chunk) => (bytes += chunk.length));
  request.on('end', () => response.end());
});

server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`));
