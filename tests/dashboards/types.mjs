// Type-checks dashboards against Grafana's own schema: each is written into a TypeScript file as a constant of its type.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SCRATCH = fileURLToPath(new URL('.scratch', import.meta.url));
const require = createRequire(import.meta.url);

// Enums become the values that stand in JSON; all else stays as strict as the schema has it.
const HEAD = `
import type { AnnotationQuery, Dashboard, FieldConfigSource, Panel, RowPanel } from '@grafana/schema';
import type * as Logs from '@grafana/schema/dist/esm/raw/composable/logs/panelcfg/x/LogsPanelCfg_types.gen';
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as Series from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

type Plain<T> = 0 extends 1 & T ? T
  : T extends string ? \`\${T}\`
  : T extends number ? (\`\${T}\` extends \`\${infer N extends number}\` ? N : T)
  : T extends (infer Item)[] ? Plain<Item>[]
  : T extends object ? { [Key in keyof T]: Plain<T[Key]> }
  : T;
type Only<T> = { [Key in keyof T as string extends Key ? never : Key]: T[Key] };
// What the datasource Prometheus reads of an annotation.
type Annotation = Plain<Omit<AnnotationQuery, 'target'>> & { expr: string; step: string; titleFormat: string; textFormat: string };
type Board = Omit<Plain<Dashboard>, 'annotations'> & { annotations: { list: Annotation[] } };
type Query = { refId: string; datasource: { type: 'prometheus' | 'loki'; uid: string }; expr: string; editorMode: 'code';
  legendFormat?: string; range?: boolean; instant?: boolean; format?: 'table'; exemplar?: true; queryType?: 'range' | 'instant' };
type Link = { title: string; url: string; targetBlank: boolean };
type Strict<Kind extends string, Options, Custom> = Omit<Plain<Panel>, 'type' | 'options' | 'targets' | 'fieldConfig'> & {
  type: Kind;
  options: Plain<Options>;
  targets: Query[];
  fieldConfig: Omit<Plain<FieldConfigSource>, 'defaults'> & {
    defaults: Omit<Plain<FieldConfigSource['defaults']>, 'custom' | 'links'> & { custom?: Plain<Custom>; links?: Link[] };
  };
};
type Known = {
  timeseries: Strict<'timeseries', Series.Options, Only<Series.FieldConfig>>;
  stat: Strict<'stat', Stat.Options, never>;
  logs: Strict<'logs', Logs.Options, never>;
  table: Strict<'table', Table.Options, Table.FieldConfig>;
  row: Plain<RowPanel>;
};
`;

/** The errors of tsc for the dashboards; empty if none. */
export function typeErrors(dashboards) {
  mkdirSync(SCRATCH, { recursive: true });
  const files = dashboards.map(({ path, board }, index) => {
    const file = join(SCRATCH, `dashboard-${index}.ts`);
    const panels = board.panels.map(
      (panel, at) => `export const panel${at}: Known['${panel.type}'] = ${JSON.stringify(panel, null, 1)};\n`,
    );
    const whole = `export const board: Board = ${JSON.stringify(board, null, 1)};\n`;
    writeFileSync(file, `// ${path}\n${HEAD}${whole}${panels.join('')}`);
    return file;
  });
  const options = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'esnext', '--moduleResolution', 'bundler', '--target', 'esnext'];
  const { stdout, stderr, status } = spawnSync(
    process.execPath, [require.resolve('typescript/bin/tsc'), ...options, ...files], { encoding: 'utf8', cwd: SCRATCH },
  );
  return status === 0 ? '' : stdout + stderr || 'tsc failed without output';
}
