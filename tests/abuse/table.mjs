// The table at the end: one line for each attack.
import { MIB } from './measure.mjs';

const count = (number) => Math.round(number).toLocaleString('en-US');
const mib = (bytes) => (bytes / MIB).toFixed(bytes < 10 * MIB ? 1 : 0);
const ms = (number) => (number === undefined ? '–' : number.toFixed(number < 10 ? 1 : 0));

function refusals(refused) {
  const entries = Object.entries(refused).sort(([, one], [, other]) => other - one);
  return entries.slice(0, 3).map(([code, times]) => `${code} ${count(times)}`).join(', ') || '–';
}

const COLUMNS = [
  ['attack', ({ name }) => name],
  ['requests', ({ tally }) => count(tally.requests)],
  ['MiB sent', ({ tally }) => mib(tally.sentBytes)],
  ['refused', ({ tally }) => refusals(tally.refused)],
  ['closed', ({ tally }) => `${count(tally.closed)}/${count(tally.opened)}`],
  ['p50 ms', ({ answers }) => ms(answers.p50)],
  ['p99 ms', ({ answers }) => ms(answers.p99)],
  ['event p99', ({ events }) => ms(events.p99)],
  ['errors', ({ errors }) => count(errors)],
  ['gateway peak', ({ memory }) => mib(memory.gateway.peak)],
  ['after', ({ memory }) => mib(memory.gateway.after)],
  ['state peak', ({ memory }) => mib(memory.state.peak)],
  ['after', ({ memory }) => mib(memory.state.after)],
  ['reaper peak', ({ memory }) => mib(memory.reaper.peak)],
  ['Redis peak', ({ memory }) => mib(memory.redis.peak)],
  ['Redis +MiB', ({ left }) => mib(left.bytes)],
  ['+keys', ({ left }) => count(left.keys)],
  ['OTLP MiB', ({ exported }) => mib(exported)],
  ['verdict', ({ failures }) => (failures.length ? `FAILED: ${[...new Set(failures.map(({ kind }) => kind))].join(', ')}` : 'held')],
];

export function table(rows) {
  const cells = [COLUMNS.map(([title]) => title), ...rows.map((row) => COLUMNS.map(([, value]) => value(row)))];
  const widths = COLUMNS.map((_, at) => Math.max(...cells.map((line) => line[at].length)));
  const line = (texts) => `| ${texts.map((text, at) => (at === 0 ? text.padEnd(widths[at]) : text.padStart(widths[at]))).join(' | ')} |`;
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`;
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].join('\n');
}
