// A preprocessor of mdBook (book.toml). The site has the pages of docs/ only, so a link to another file of the repository becomes the
// file's path. Two pages of the site stand in for files outside of docs/ and get their text.
//   mdBook calls it with `supports RENDERER`, or sends [context, book] as JSON to stdin and reads the book from stdout.
import { readFileSync } from 'node:fs';
import { basename, posix } from 'node:path';
import { pathToFileURL } from 'node:url';

const SOURCE = 'docs';

/** Pages that stand in for files outside of docs/. */
export const STAND_INS = new Map([
  ['ARCHITECTURE.md', 'docs/internals/architecture.md'],
  ['CONTRIBUTING.md', 'docs/internals/contributing.md'],
]);

/** A page for the site: `text` is that of the file `from`, and is shown as the page `at`; both are paths in the repository. */
export function rewriteLinks(text, from, at) {
  return outsideCode(text, (prose) => prose.replace(/(!?)\[((?:[^[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)/g, (whole, image, label, target) => {
    if (image || /^[a-z]+:/.test(target)) return whole;
    const [path, anchor] = target.split('#');
    const hash = anchor === undefined ? '' : `#${anchor}`;
    const file = path === '' ? from : posix.join(posix.dirname(from), path);
    const page = STAND_INS.get(file) ?? file;
    if (page === at) return `[${label}](${hash || basename(at)})`;
    if (page.startsWith(`${SOURCE}/`)) return `[${label}](${posix.relative(posix.dirname(at), page)}${hash})`;
    if (/^\S+$/.test(label) && !label.includes('`') && label.endsWith(basename(file))) return `\`${label}\``;
    return label.replaceAll('`', '').includes(basename(file)) ? label : `${label} (\`${file}\`)`;
  }));
}

// Everything but fenced and indented code goes through `change`.
function outsideCode(text, change) {
  return text.split(/(^```[\s\S]*?^```$|^(?: {4}.*\n?)+)/m).map((part, index) => (index % 2 ? part : change(part))).join('');
}

function rewrite(item) {
  const chapter = item.Chapter;
  if (!chapter) return;
  if (chapter.source_path) {
    const at = posix.join(SOURCE, chapter.source_path);
    const [from] = [...STAND_INS].find(([, page]) => page === at) ?? [at];
    chapter.content = rewriteLinks(from === at ? chapter.content : readFileSync(from, 'utf8'), from, at);
  }
  chapter.sub_items.forEach(rewrite);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href && process.argv[2] !== 'supports') {
  const [, book] = JSON.parse(readFileSync(0, 'utf8'));
  (book.items ?? book.sections).forEach(rewrite); // `sections` up to mdBook 0.4
  process.stdout.write(JSON.stringify(book));
}
