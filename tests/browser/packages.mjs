// Packages as modules of a browser, from the tests' node_modules: what a CDN does for a page with an import map. Packages that are
// written for Node.js (CommonJS) are wrapped, together with what they require, each file once.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';

const require = createRequire(new URL('../package.json', import.meta.url));
const REQUIRED = /\brequire\(["']([^"']+)["']\)/g;

// Answers { shared, modules }: the text of the module with all files, to be served as `sharedUrl`, and for each of these names the text of
// the module that exports what `require(name)` does.
export function asModules(names, sharedUrl) {
  const files = new Map(); // path to text
  const links = {}; // path to { what it requires: path }
  for (const name of names) collect(require.resolve(name), files, links);
  return { shared: shared(files, links), modules: Object.fromEntries(names.map((name) => [name, module(name, sharedUrl)])) };
}

function collect(path, files, links) {
  if (files.has(path)) return;
  const text = readFileSync(path, 'utf8');
  files.set(path, text);
  links[path] = {};
  for (const [, name] of text.matchAll(REQUIRED)) {
    links[path][name] = require.resolve(name, { paths: [dirname(path)] });
    collect(links[path][name], files, links);
  }
}

const shared = (files, links) => `
const factories = {${[...files].map(([path, text]) => `[${JSON.stringify(path)}](module, exports, require, process) {\n${text}\n}`).join(',\n')}};
const links = ${JSON.stringify(links)};
const loaded = {};
export function load(path) {
  if (loaded[path]) return loaded[path].exports;
  const module = loaded[path] = { exports: {} };
  factories[path](module, module.exports, (name) => load(links[path][name]), { env: { NODE_ENV: 'production' } });
  return module.exports;
}
`;

const module = (name, sharedUrl) => `
import { load } from ${JSON.stringify(sharedUrl)};
const all = load(${JSON.stringify(require.resolve(name))});
export default all;
export const { ${Object.keys(require(name)).filter((key) => key !== 'default').join(', ')} } = all;
`;
