// Markdown, read as GitHub and mdBook read it: links, anchors, blocks of code, tables.

const FENCE = /^( *)(`{3,}|~{3,})(.*)\n([\s\S]*?)^ *\2 *$/gm;

/** The fenced blocks of a page: language, text, line of the fence. */
export function fenced(text) {
  return [...text.matchAll(FENCE)].map(({ 1: indent, 3: language, 4: body, index }) => ({
    language: language.trim(), line: lineAt(text, index), text: body.replace(new RegExp(`^${indent}`, 'gm'), ''),
  }));
}

/** The blocks that are indented by four spaces and stand between empty lines. */
export function indented(text) {
  return [...blank(text, FENCE).matchAll(/(?<=^|\n\n)(?: {4}.*\n)+(?=\n|$)/g)].map(({ 0: body, index }) => ({
    line: lineAt(text, index), text: body.replace(/^ {4}/gm, ''),
  }));
}

/** A page without its code: what is between fences and between backticks is blank, in as many lines. */
export function prose(text) {
  return blank(blank(text, FENCE), /(?<!`)(`+)(?!`)[\s\S]*?(?<!`)\1(?!`)/g);
}

/** The targets of all links and images: target, line. */
export function links(text) {
  const found = [/\]\(<?([^()\s>]+(?:\([^()\s]*\))?)>?(?:\s+"[^"]*")?\)/g, /^\[[^\]]+\]:\s+<?(\S+?)>?$/gm, /\b(?:href|src)="([^"]+)"/g];
  const bare = prose(text);
  return found.flatMap((pattern) => [...bare.matchAll(pattern)]).map(({ 1: target, index }) => ({ target, line: lineAt(text, index) }));
}

/** The headings of a page: level, text. */
export function headings(text) {
  return [...blank(text, FENCE).matchAll(/^ {0,3}(#{1,6}) +(.+?)(?: +#+)? *$/gm)].map(([, marks, heading]) => ({ level: marks.length, text: heading }));
}

/** The anchors of a page, by GitHub's rules. */
export function anchors(text) {
  const seen = new Map();
  const ofHeadings = headings(text).map((heading) => {
    const slug = slugOf(heading.text);
    const times = seen.get(slug) ?? 0;
    seen.set(slug, times + 1);
    return times === 0 ? slug : `${slug}-${times}`;
  });
  return new Set([...ofHeadings, ...[...text.matchAll(/<a (?:id|name)="([^"]+)"/g)].map(([, name]) => name)]);
}

function slugOf(heading) {
  const plain = heading.replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/[*`]/g, '');
  return plain.toLowerCase().replace(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, '').replaceAll(' ', '-');
}

/** The rows of all tables of a page whose first cell begins with code, as lists of cells. */
export function rows(text) {
  return text.split('\n').filter((line, n, lines) => /^\| *`/.test(line) && !lines[n + 1]?.startsWith('|--'))
    .map((line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim()));
}

/** What a cell has between backticks. */
export const code = (cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, text]) => text);

function lineAt(text, index) {
  return text.slice(0, index).split('\n').length;
}

// As many characters and lines, but nothing in them.
function blank(text, pattern) {
  return text.replace(pattern, (found) => found.replace(/[^\n]/g, ' '));
}
