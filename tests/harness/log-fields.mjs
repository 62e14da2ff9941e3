// What a log line is found by in Loki, according to the table of docs/reference/telemetry.md: labels, which a stream selector accepts, and
// fields, which a filter behind it takes. Both are OTLP's names with underscores.
import { read } from './repository.mjs';

const page = read('docs/reference/telemetry.md');
const rows = page.split('\n## Logs\n')[1].split('\n## ')[0].split('\n').filter((line) => line.startsWith('| '));
const named = (kind) => rows.map((row) => row.split('|')[2].trim()).filter((cell) => cell.startsWith(kind))
  .flatMap((cell) => [...cell.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name));

export const LABELS = named('label');
export const FIELDS = named('field');

// The resource attributes of which Loki makes labels unless its configuration says otherwise (distributor.otlp_config in its
// documentation), as far as services of ours may have them.
export const INDEXED = ['service.name', 'service.namespace', 'service.instance.id', 'deployment.environment', 'deployment.environment.name'];

export const inLoki = (name) => name.replaceAll('.', '_');
