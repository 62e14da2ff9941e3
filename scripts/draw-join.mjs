// Draws the trace of a join, recorded by trace-join.mjs, as a waterfall: a band for each service, a row for each span.
//   node scripts/draw-join.mjs docs/img/join.trace.json >docs/img/join.svg
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const WIDTH = 900;
const LEFT = 350; // of the time axis
const RIGHT = 80; // for the duration of the last span
const ROW = 26;
const BAND_GAP = 10;
const TOP = 74;
const BOTTOM = 22;

// A band's bars: in light and in dark mode.
const COLOURS = [['#2563eb', '#60a5fa'], ['#b45309', '#fbbf24'], ['#7c3aed', '#a78bfa'], ['#047857', '#34d399']];

/** The SVG of a trace: a list of `{name, service, parent, start_us, duration_us}`, where `parent` is a place in the list or null. */
export function draw(trace) {
  const end = Math.max(...trace.map(endOf));
  const step = stepFor(end);
  const scale = (WIDTH - LEFT - RIGHT) / end;
  const x = (us) => LEFT + us * scale;
  const bands = bandsOf(trace);
  const height = bands.at(-1).top + bands.at(-1).spans.length * ROW + BOTTOM;
  const grid = (us) => [
    `<path class="grid" d="M${round(x(us))} ${TOP - 12}V${height - BOTTOM + 4}"/>`,
    `<text class="tick" x="${round(x(us))}" y="${TOP - 18}">${us === 0 ? '0' : duration(us)}</text>`,
  ];
  const ticks = Array.from({ length: Math.floor(end / step) + 1 }, (_, n) => n * step);
  const title = `One join as one trace: ${duration(end)} across ${bands.length} processes`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${title}</title>`,
    `<desc>${trace.map(({ service, name, duration_us: us }) => `${service}: ${name}, ${duration(us)}`).join('; ')}</desc>`,
    style(bands.length),
    `<rect class="card" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="10"/>`,
    `<text class="title" x="20" y="32">${title}</text>`,
    ...ticks.flatMap(grid),
    ...bands.flatMap((band, n) => drawBand(band, n, trace, x)),
    '</svg>',
    '',
  ].join('\n');
}

// The services in the order in which they begin to work, each with its spans and the height at which it begins.
function bandsOf(trace) {
  let top = TOP;
  return [...new Set(trace.map(({ service }) => service))].map((service) => {
    const band = { service, top, spans: trace.filter((span) => span.service === service) };
    top += band.spans.length * ROW + BAND_GAP;
    return band;
  });
}

function drawBand({ service, top, spans }, number, trace, x) {
  const name = `<text class="service" x="20" y="${top + 17}">${service}</text>`;
  return [name, ...spans.flatMap((span, row) => {
    const y = top + row * ROW;
    const width = Math.max(span.duration_us * (x(1) - x(0)), 3);
    const label = `<text class="name" x="${144 + 12 * depthWithin(span, trace)}" y="${y + 17}">${span.name}</text>`;
    const begin = x(span.start_us);
    const bar = `<rect class="band${number}" x="${round(begin)}" y="${y + 5}" width="${round(width)}" height="${ROW - 10}" rx="3"/>`;
    const time = `<text class="time" x="${round(begin + width + 6)}" y="${y + 17}">${duration(span.duration_us)}</text>`;
    return [label, bar, time];
  })];
}

// How many of a span's ancestors belong to the same service.
function depthWithin(span, trace) {
  const parent = trace[span.parent];
  return parent && parent.service === span.service ? 1 + depthWithin(parent, trace) : 0;
}

function style(bands) {
  const bars = (mode) => Array.from({ length: bands }, (_, n) => `.band${n}{fill:${COLOURS[n % COLOURS.length][mode]}}`).join('');
  return `<style>
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:#1f2328}
.title{font-size:16px;font-weight:600}.service{font-weight:600}.tick{text-anchor:middle;font-size:12px}.tick,.time{fill:#57606a}
.card{fill:#fff;stroke:#d0d7de}.grid{stroke:#d8dee4;stroke-dasharray:2 4}${bars(0)}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.tick,.time{fill:#9198a1}.card{fill:#0d1117;stroke:#3d444d}
.grid{stroke:#30363d}${bars(1)}}
</style>`;
}

// Between marks of the axis: one, two or five times a power of ten, so that there are three to eight of them and their texts fit.
function stepFor(end) {
  const power = 10 ** Math.floor(Math.log10(end / 3));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => end / step <= 8);
}

const endOf = (span) => span.start_us + span.duration_us;
const round = (value) => Math.round(value * 10) / 10;
const duration = (us) => (us < 1000 ? `${us} µs` : `${(us / 1000).toFixed(us % 1000 === 0 ? 0 : 1)} ms`);

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.stdout.write(draw(JSON.parse(readFileSync(process.argv[2], 'utf8'))));
}
