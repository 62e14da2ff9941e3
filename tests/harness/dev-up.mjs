// `./dev up` as a child of a test, and what it may not leave behind.
import { existsSync, readFileSync, readdirSync } from 'node:fs';

import { Child } from './child.mjs';
import { pathOf } from './repository.mjs';
import { until, withTimeout } from './until.mjs';

export const DEV = pathOf('dev');
// It builds first, which takes a moment even when there is nothing to build.
export const START_MS = 120_000;
export const STOP_MS = 20_000;
// Of the tests' own environment it gets what a build needs, and no setting of a service.
const BUILD = /^(PATH|HOME|USER|TMPDIR|LANG|CARGO|XDG|RUST(?!_LOG))/;

// `detached` makes it the leader of a session, as a terminal would: whatever it starts can be found by that, and a
// signal to its process group is what Ctrl-C and a closed terminal send.
export function devUp(args, settings) {
  const build = Object.entries(process.env).filter(([name]) => BUILD.test(name));
  const env = { ...Object.fromEntries(build), PORT: '0', ...settings };
  return new Child('./dev up', DEV, ['up', ...args], { detached: true, env });
}

// The processes of its session (where /proc can tell), and of those whose pids it has named.
function left(dev) {
  const named = dev.lines.flatMap((line) => line.match(/\(pid (\d+)\)/)?.[1] ?? []).map(Number);
  return [...new Set([...named.filter(isAlive), ...session(dev.pid)])];
}

function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function session(leader) {
  if (!existsSync('/proc/self/stat')) return [];
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      const [state, , , sid] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').pop().split(' ');
      return Number(sid) === leader && state !== 'Z';
    } catch {
      return false; // ended while we looked
    }
  });
}

export function nothingLeft(dev) {
  return until(`nothing to be left of ${dev.pid}`, () => left(dev).length === 0, { within: STOP_MS });
}

export async function ready(dev) {
  await withTimeout('./dev up to be ready', START_MS, dev.line((line) => line.startsWith('  Stop:') || undefined));
  const lines = dev.lines.filter((line) => !line.startsWith('dev: '));
  const urls = lines.flatMap((line) => line.match(/^ready (http:\/\/127\.0\.0\.1:\d+)$/)?.[1] ?? []);
  return { urls, pid: (name) => Number(dev.lines.join('\n').match(`dev: ${name} is ready at .* \\(pid (\\d+)\\)`)[1]) };
}

export const ended = (dev) => withTimeout('./dev up to end', STOP_MS, dev.exited);
